import assert from 'node:assert/strict';
import test from 'node:test';
import { Client } from '../../../src/samlet/web/page/engine/client.js';
import { Latest } from '../../../src/samlet/web/page/engine/latest.js';
import { isStable, stability } from '../../../src/samlet/web/page/lib/masks.js';
import { boxIou, suppress } from '../../../src/samlet/web/page/lib/suppression.js';

test('one request under way, of those that wait the latest', async () => {
  const asked = [];
  const shown = [];
  let release = () => {};
  const latest = new Latest(
    (request) => {
      asked.push(request);
      return new Promise((resolve) => {
        release = () => resolve(request * 10);
      });
    },
    (value) => shown.push(value),
  );
  for (const request of [1, 2, 3, 4]) latest.ask(request);
  assert.deepEqual(asked, [1]);
  release();
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(asked, [1, 4]);
  latest.cancel();
  release();
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(shown, [10]);
  assert.ok(!latest.busy);
});

test('a call is a promise, with progress and errors', async () => {
  const worker = new EventTarget();
  worker.postMessage = ({ id, method }) => {
    const reply = (data) => worker.dispatchEvent(Object.assign(new Event('message'), { data }));
    queueMicrotask(() => {
      reply({ id, told: 1 });
      reply(method === 'fail' ? { id, error: 'no' } : { id, value: 'yes' });
    });
  };
  const client = new Client(worker);
  const told = [];
  assert.equal(await client.call('work', {}, (value) => told.push(value)), 'yes');
  assert.deepEqual(told, [1]);
  await assert.rejects(client.call('fail'), /no/);
});

test('of masks on each other the best stays', () => {
  assert.equal(boxIou([0, 0, 10, 10], [5, 0, 10, 10]), 50 / 150);
  const kept = suppress(
    [
      { box: [0, 0, 10, 10], iou: 0.8 },
      { box: [0, 0, 10, 9], iou: 0.9 },
      { box: [50, 0, 10, 10], iou: 0.7 },
    ],
    0.7,
  );
  assert.deepEqual(kept.map(({ iou }) => iou), [0.9, 0.7]);
});

test('stability is the IoU of a mask at two levels', () => {
  assert.equal(stability(Float32Array.of(5, 2, 0.5, -0.5, -3), 0), 2 / 4);
  assert.ok(isStable(Float32Array.of(5, 2, 0.06, -0.06), 0));
  assert.ok(!isStable(Float32Array.of(5, 2, 0.04, -0.06), 0));
  assert.ok(isStable(Float32Array.of(-1, -1), 0));
});

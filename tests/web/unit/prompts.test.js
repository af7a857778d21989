import assert from 'node:assert/strict';
import test from 'node:test';
import { Frame } from '../../../src/samlet/web/page/lib/frame.js';
import { NO_PROMPTS, chooseOutput, isAmbiguous, isEmpty, ordered, toInputs } from '../../../src/samlet/web/page/lib/prompts.js';

const click = (x, y, positive = true) => ({ x, y, positive });

test('corners of a box come before clicks, in pixels of the input', () => {
  const frame = new Frame(300, 600, 512, 'longest_side');
  const prompts = { box: [60, 30, 600, 300], clicks: [click(300, 150), click(0, 0, false)] };
  const { points, labels, count } = toInputs(prompts, frame);
  assert.equal(count, 4);
  assert.deepEqual([...labels], [2n, 3n, 1n, 0n]);
  const scale = 512 / 600;
  const expected = [60, 30, 600, 300, 300, 150, 0, 0].map((value) => value * scale);
  points.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-4));
});

test('one click or a box alone is ambiguous, more is not', () => {
  assert.ok(isAmbiguous({ box: null, clicks: [click(1, 1)] }));
  assert.ok(isAmbiguous({ box: [0, 0, 1, 1], clicks: [] }));
  assert.ok(!isAmbiguous({ box: [0, 0, 1, 1], clicks: [click(1, 1)] }));
  assert.ok(!isAmbiguous({ box: null, clicks: [click(1, 1), click(2, 2)] }));
  assert.ok(isEmpty(NO_PROMPTS) && !isEmpty({ box: null, clicks: [click(1, 1)] }));
});

test('the best of three for what is ambiguous, else the single mask, or the one that is wanted', () => {
  const one = { box: null, clicks: [click(1, 1)] };
  const two = { box: null, clicks: [click(1, 1), click(2, 2)] };
  assert.equal(chooseOutput(one, [0.99, 0.5, 0.9, 0.7], () => true, null), 2);
  assert.equal(chooseOutput(two, [0.1, 0.5, 0.9, 0.7], () => true, null), 0);
  assert.equal(chooseOutput(two, [0.1, 0.5, 0.9, 0.7], () => false, null), 2);
  assert.equal(chooseOutput(one, [0.99, 0.5, 0.9, 0.7], () => true, 0), 1);
});

test('a box that is drawn backwards, over the edge', () => {
  assert.deepEqual(ordered([90, -5, 10, 40], 80, 60), [10, 0, 80, 40]);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { History } from '../../../src/samlet/web/page/lib/history.js';
import { NOTHING, activate, activeThing, added, answered, removed, renamed } from '../../../src/samlet/web/page/lib/objects.js';

const prompts = { box: null, clicks: [{ x: 1, y: 2, positive: true }] };
const answer = { lowRes: new Float32Array(1), rows: 1, columns: 1, iou: 0.9, output: null };

test('answers make an object, then change it, then another', () => {
  const one = answered(NOTHING, prompts, answer, null);
  assert.equal(activeThing(one).name, 'object 1');
  const same = answered(one, prompts, answer, 2);
  assert.equal(same.things.length, 1);
  assert.equal(activeThing(same).output, 2);
  const two = answered(activate(same, null), prompts, answer, null);
  assert.deepEqual(two.things.map(({ id }) => id), [1, 2]);
  assert.notEqual(two.things[0].colour, two.things[1].colour);
  assert.equal(NOTHING.things.length, 0);
});

test('ids are never used twice', () => {
  const gone = removed(answered(NOTHING, prompts, answer, null), 1);
  assert.equal(gone.active, null);
  assert.equal(activeThing(answered(gone, prompts, answer, null)).id, 2);
});

test('many at once are all there and none is active', () => {
  const many = added(NOTHING, [{ answer }, { answer }, { answer }]);
  assert.equal(many.things.length, 3);
  assert.equal(many.active, null);
});

test('a name is trimmed, an empty one changes nothing', () => {
  const one = answered(NOTHING, prompts, answer, null);
  assert.equal(renamed(one, 1, '  dog ').things[0].name, 'dog');
  assert.equal(renamed(one, 1, '  '), one);
  assert.equal(renamed(one, 9, 'dog'), one);
});

test('undo and redo walk through commits, a new commit ends the future', () => {
  const history = new History(0);
  for (const value of [1, 2, 3]) history.commit(value);
  history.undo();
  history.undo();
  assert.equal(history.value, 1);
  history.redo();
  assert.equal(history.value, 2);
  history.amend(5);
  history.commit(5);
  assert.ok(history.canRedo);
  history.commit(6);
  assert.ok(!history.canRedo);
  history.undo();
  assert.equal(history.value, 5);
});

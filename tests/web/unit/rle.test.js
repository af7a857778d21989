import assert from 'node:assert/strict';
import test from 'node:test';
import { fromCounts, fromText, toCounts, toRle, toText } from '../../../src/samlet/web/page/lib/rle.js';
import { drawn, scattered } from './drawing.js';

test('runs go down the columns and begin with zeros', () => {
  assert.deepEqual(toCounts(drawn('#.', '#.', '.#')), [0, 2, 3, 1]);
  assert.deepEqual(toCounts(drawn('..', '..')), [4]);
  assert.deepEqual(toCounts(drawn('##', '##')), [0, 4]);
});

test('text as pycocotools writes it', () => {
  // pycocotools.mask.encode of the same masks, and of a run that needs several groups.
  assert.deepEqual(toRle(drawn('.....', '.###.', '.#.#.', '.###.', '....#')), { size: [5, 5], counts: '632NO0123N' });
  assert.equal(toText([100000, 3, 70000]), 'PeQ33`[T2');
});

test('there and back', () => {
  for (const [width, height, share] of [[1, 1, 1], [7, 3, 0.5], [64, 40, 0.02], [40, 64, 0.98], [33, 65, 0]]) {
    const mask = scattered(width, height, 7, share);
    const counts = toCounts(mask);
    assert.deepEqual(fromText(toText(counts)), counts);
    assert.deepEqual(fromCounts(counts, width, height), mask);
    assert.equal(counts.reduce((sum, count) => sum + count), width * height);
  }
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { Frame } from '../../../src/samlet/web/page/lib/frame.js';
import { interpolate, upscale } from '../../../src/samlet/web/page/lib/interpolate.js';
import { preprocess } from '../../../src/samlet/web/page/lib/preprocess.js';
import { resample, taps } from '../../../src/samlet/web/page/lib/resample.js';

const grey = (width, height, value) => ({ data: new Uint8ClampedArray(4 * width * height).fill(value), width, height });

test('the longest side fills the input, halves are rounded up', () => {
  assert.deepEqual(new Frame(300, 600, 512, 'longest_side').resized, [256, 512]);
  assert.deepEqual(new Frame(1, 4000, 512, 'longest_side').resized, [1, 512]);
  assert.deepEqual(new Frame(3, 1024, 512, 'longest_side').resized, [2, 512]);
  assert.deepEqual(new Frame(300, 600, 512, 'stretch_antialiased').resized, [512, 512]);
});

test('weights of every pixel sum to one, also where a picture grows', () => {
  for (const [from, to] of [[1000, 512], [512, 1000], [3, 1], [1, 5], [7, 7]]) {
    const { starts, counts, weights, most } = taps(from, to);
    for (let i = 0; i < to; i++) {
      const sum = weights.subarray(i * most, i * most + counts[i]).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(sum - 1) < 1e-5);
      assert.ok(starts[i] >= 0 && starts[i] + counts[i] <= from && counts[i] <= most);
    }
  }
});

test('an even picture stays even, the same size stays the same', () => {
  const { data } = grey(37, 21, 90);
  assert.ok(resample(data, 37, 21, 16, 9, true).every((value) => value === 90));
  const noise = Uint8ClampedArray.from({ length: 4 * 30 }, (_, i) => (i * 37) % 256);
  const same = resample(noise, 6, 5, 6, 5, true);
  for (let i = 0; i < 30; i++) for (let c = 0; c < 3; c++) assert.equal(same[i * 3 + c], noise[i * 4 + c]);
});

test('normalised where the photograph is, zero in the padding', () => {
  const model = { size: 64, resize: 'longest_side', mean: [10, 20, 30], std: [2, 4, 5] };
  const { pixels, frame } = preprocess(grey(80, 40, 50), model);
  assert.deepEqual(frame.resized, [32, 64]);
  assert.equal(pixels.length, 3 * 64 * 64);
  assert.equal(pixels[0], 20);
  assert.equal(pixels[64 * 64 + 31 * 64 + 63], 7.5);
  assert.equal(pixels[32 * 64], 0);
});

test('what this page cannot resize is refused', () => {
  assert.throws(() => preprocess(grey(4, 4, 0), { size: 64, resize: 'stretch', mean: [], std: [] }), /EfficientSAM/);
});

test('a slope stays a slope between the centres of pixels', () => {
  const slope = Float32Array.from({ length: 16 }, (_, i) => i % 4);
  const found = interpolate(slope, 4, 4, 8, 8);
  assert.deepEqual([...found.subarray(0, 8)], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]);
  const cut = interpolate(slope, 4, 4, 8, 8, 2, 3);
  assert.deepEqual([...cut], [0, 0.25, 0.75, 0, 0.25, 0.75]);
});

test('logits lie where the photograph lies, without the padding', () => {
  const frame = new Frame(50, 100, 64, 'longest_side');
  const lowRes = Float32Array.from({ length: 16 * 16 }, (_, i) => (i >= 8 * 16 ? -100 : i % 16 < 8 ? 1 : -1));
  const logits = upscale(lowRes, 16, 16, frame);
  assert.equal(logits.length, 5000);
  assert.ok(logits[25 * 100 + 40] > 0 && logits[25 * 100 + 60] < 0);
  assert.ok(logits[40 * 100 + 10] > 0);
});

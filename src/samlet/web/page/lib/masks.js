/**
 * @typedef {object} Bitmap a mask
 * @property {Uint8Array} data 1 inside, 0 outside, row by row
 * @property {number} width
 * @property {number} height
 */

/**
 * @param {Float32Array} logits height × width
 * @param {number} width
 * @param {number} height
 * @param {number} threshold
 * @returns {Bitmap}
 */
export function toMask(logits, width, height, threshold) {
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) data[i] = logits[i] > threshold ? 1 : 0;
  return { data, width, height };
}

/**
 * Pixels of a mask.
 * @param {Bitmap} mask
 */
export function area(mask) {
  let count = 0;
  for (const value of mask.data) count += value;
  return count;
}

/**
 * The smallest box around a mask, x, y, width, height; zeros for an empty one.
 * @param {Bitmap} mask
 * @returns {[number, number, number, number]}
 */
export function boundingBox(mask) {
  let [x0, y0, x1, y1] = [mask.width, mask.height, -1, -1];
  for (let y = 0, at = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++, at++) {
      if (!mask.data[at]) continue;
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      y1 = y;
    }
  }
  return x1 < 0 ? [0, 0, 0, 0] : [x0, y0, x1 - x0 + 1, y1 - y0 + 1];
}

/**
 * A part of a mask.
 *
 * @param {Bitmap} mask
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @returns {Bitmap}
 */
export function cut(mask, x, y, width, height) {
  const data = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const from = (y + row) * mask.width + x;
    data.set(mask.data.subarray(from, from + width), row * width);
  }
  return { data, width, height };
}

/**
 * IoU of a mask at logits one above and one below the threshold.
 *
 * @param {Float32Array} logits
 * @param {number} threshold
 * @param {number} [offset]
 */
export function stability(logits, threshold, offset = 1) {
  let inner = 0;
  let outer = 0;
  for (const value of logits) {
    if (value > threshold + offset) inner++;
    if (value > threshold - offset) outer++;
  }
  return inner / Math.max(outer, 1);
}

const NEAR = 0.05;
const STABLE = 0.98;

/**
 * Whether SAM 2 trusts its single mask: its area hardly changes around the threshold.
 *
 * @param {Float32Array} logits
 * @param {number} threshold
 */
export function isStable(logits, threshold) {
  let inner = 0;
  let outer = 0;
  for (const value of logits) {
    if (value > threshold + NEAR) inner++;
    if (value > threshold - NEAR) outer++;
  }
  return inner >= STABLE * outer;
}

import { load } from './loading.js';

/**
 * @typedef {import('./segmenter.js').Segmenter} Segmenter
 */

export const LEAST_IOU = 0.99;

/**
 * Whether the backend computes right: the masks of one click on a bundled photograph beside those that were stored when
 * the page was made.
 *
 * @param {Segmenter} segmenter
 * @param {URL} base of the page
 * @returns {Promise<number>} mean IoU of the masks; 0 where something is no number
 */
export async function check(segmenter, base) {
  const { reference, threshold } = segmenter.model;
  const [stored, picture] = await Promise.all([
    load(new URL(`model/${reference.file}`, base)),
    fetch(new URL(`photos/${reference.photograph}`, base)).then((response) => response.blob()),
  ]);
  const bitmap = await createImageBitmap(picture, { imageOrientation: 'from-image', colorSpaceConversion: 'none' });
  await segmenter.setBitmap(bitmap);
  const { frame } = segmenter;
  if (!frame) throw new Error('the photograph was not encoded');
  const point = Float32Array.from(frame.toInput(...reference.click));
  const { lowRes } = await segmenter.decode(point, BigInt64Array.of(1n), 1);
  return meanIou(lowRes, new Float32Array(stored.buffer), reference.shape[0], threshold);
}

/**
 * @param {Float32Array} found logits (masks, cells)
 * @param {Float32Array} expected
 * @param {number} masks
 * @param {number} threshold
 */
export function meanIou(found, expected, masks, threshold) {
  if (found.length !== expected.length || !found.every(Number.isFinite)) return 0;
  const cells = found.length / masks;
  let sum = 0;
  for (let mask = 0; mask < masks; mask++) {
    let both = 0;
    let either = 0;
    for (let i = mask * cells; i < (mask + 1) * cells; i++) {
      const [a, b] = [found[i] > threshold, expected[i] > threshold];
      if (a && b) both++;
      if (a || b) either++;
    }
    sum += either ? both / either : 1;
  }
  return sum / masks;
}

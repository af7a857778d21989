/**
 * @typedef {import('./types.js').Prompts} Prompts
 * @typedef {import('./frame.js').Frame} Frame
 */

const FIRST_CORNER = 2n;

/** @type {Prompts} */
export const NO_PROMPTS = Object.freeze({ clicks: Object.freeze([]), box: null });

/** @param {Prompts} prompts */
export function isEmpty(prompts) {
  return prompts.clicks.length === 0 && prompts.box === null;
}

/**
 * Whether prompts leave open what is meant: one click, or a box alone. The best of three masks is taken then, and the
 * single mask otherwise, as `samlet segment` does.
 *
 * @param {Prompts} prompts
 */
export function isAmbiguous(prompts) {
  return prompts.box === null ? prompts.clicks.length === 1 : prompts.clicks.length === 0;
}

/**
 * A box with its corners in order, inside the photograph.
 *
 * @param {import('./types.js').Box} box
 * @param {number} width
 * @param {number} height
 * @returns {import('./types.js').Box}
 */
export function ordered(box, width, height) {
  const across = [box[0], box[2]].map((x) => Math.min(Math.max(x, 0), width)).sort((a, b) => a - b);
  const down = [box[1], box[3]].map((y) => Math.min(Math.max(y, 0), height)).sort((a, b) => a - b);
  return [across[0], down[0], across[1], down[1]];
}

/**
 * Prompts as the decoder takes them: the corners of the box first, then the clicks.
 *
 * @param {Prompts} prompts
 * @param {Frame} frame
 * @returns {{points: Float32Array, labels: BigInt64Array, count: number}} points (1, count, 2), labels (1, count)
 */
export function toInputs(prompts, frame) {
  /** @type {number[]} */
  const points = [];
  /** @type {bigint[]} */
  const labels = [];
  if (prompts.box) {
    const [x0, y0, x1, y1] = prompts.box;
    points.push(...frame.toInput(x0, y0), ...frame.toInput(x1, y1));
    labels.push(FIRST_CORNER, FIRST_CORNER + 1n);
  }
  for (const click of prompts.clicks) {
    points.push(...frame.toInput(click.x, click.y));
    labels.push(click.positive ? 1n : 0n);
  }
  return { points: Float32Array.from(points), labels: BigInt64Array.from(labels), count: labels.length };
}

/**
 * Which of a prompt's outputs is shown.
 *
 * @param {Prompts} prompts
 * @param {ArrayLike<number>} iou predicted, single mask first
 * @param {() => boolean} trustsSingle whether the first output is a mask that answers by itself
 * @param {number | null} wanted 0, 1, 2 for one of the three; null for the page's choice
 */
export function chooseOutput(prompts, iou, trustsSingle, wanted) {
  if (wanted !== null) return 1 + wanted;
  if (!isAmbiguous(prompts) && trustsSingle()) return 0;
  let best = 1;
  for (let i = 2; i < iou.length; i++) if (iou[i] > iou[best]) best = i;
  return best;
}

import { area, boundingBox, stability } from '../lib/masks.js';
import { suppress } from '../lib/suppression.js';

/**
 * @typedef {import('./segmenter.js').Segmenter} Segmenter
 * @typedef {import('../lib/types.js').Answer} Answer
 * @typedef {{answer: Answer, box: readonly number[], iou: number, point: [number, number], area: number}} Found
 */

const TOGETHER = 4;
const MOST_OVERLAP = 0.7;
const LEAST_AREA = 0.0005; // of the photograph: specks are no objects

/**
 * All masks of the photograph, from a grid of clicks (Kirillov et al., "Segment Anything", 2023, section 5): those of
 * high predicted IoU that are stable, one of those that lie on each other.
 *
 * @param {Segmenter} segmenter
 * @param {{side: number, iou: number, stability: number}} options points on a side of the grid, and what masks must
 *   reach: predicted IoU and stability
 * @param {(told: {done: number, of: number}) => void} tell
 * @param {() => boolean} isStopped asked between batches
 * @returns {Promise<{found: Found[], prompts: number, stopped: boolean, milliseconds: number}>}
 */
export async function findEverything(segmenter, options, tell, isStopped) {
  const { frame } = segmenter;
  if (!frame) throw new Error('no photograph is encoded yet');
  const start = performance.now();
  const points = grid(options.side, frame.width, frame.height);
  /** @type {Found[]} */
  let found = [];
  let done = 0;
  while (done < points.length && !isStopped()) {
    const part = points.slice(done, done + TOGETHER);
    const inputs = Float32Array.from(part.flatMap(([x, y]) => frame.toInput(x, y)));
    const { lowRes, iou, outputs } = await segmenter.decode(inputs, new BigInt64Array(part.length).fill(1n), 1);
    const cells = segmenter.side * segmenter.side;
    for (let prompt = 0; prompt < part.length; prompt++) {
      for (let output = 1; output < outputs; output++) {
        const at = prompt * outputs + output;
        if (iou[at] <= options.iou) continue;
        const logits = lowRes.slice(at * cells, (at + 1) * cells);
        if (stability(logits, segmenter.model.threshold) < options.stability) continue;
        const candidate = judge(segmenter, logits, iou[at], part[prompt]);
        if (candidate) found.push(candidate);
      }
    }
    found = suppress(found, MOST_OVERLAP);
    done += part.length;
    tell({ done, of: points.length });
    await pause();
  }
  return { found, prompts: done, stopped: done < points.length, milliseconds: performance.now() - start };
}

/**
 * A mask as a candidate; null for a speck.
 *
 * @param {Segmenter} segmenter
 * @param {Float32Array} lowRes
 * @param {number} iou
 * @param {[number, number]} point
 * @returns {Found | null}
 */
function judge(segmenter, lowRes, iou, point) {
  const answer = { lowRes, rows: segmenter.side, columns: segmenter.side, iou, output: null };
  const mask = segmenter.draw(answer, ...coarse(segmenter));
  const covered = area(mask) / mask.data.length;
  return covered < LEAST_AREA ? null : { answer, box: boundingBox(mask), iou, point, area: covered };
}

/**
 * Height and width at which masks are judged: that of the low-res logits.
 * @param {Segmenter} segmenter
 * @returns {[number, number]}
 */
function coarse(segmenter) {
  const { frame, side } = segmenter;
  if (!frame) throw new Error('no photograph is encoded yet');
  const scale = Math.min(1, side / Math.max(frame.width, frame.height));
  return [Math.max(1, Math.round(frame.height * scale)), Math.max(1, Math.round(frame.width * scale))];
}

/**
 * Cell centres of an even grid over the photograph.
 *
 * @param {number} side
 * @param {number} width
 * @param {number} height
 * @returns {[number, number][]}
 */
export function grid(side, width, height) {
  return Array.from({ length: side * side }, (_, i) => [
    (((i % side) + 0.5) * width) / side,
    ((Math.floor(i / side) + 0.5) * height) / side,
  ]);
}

/** Let messages in, such as that to stop. */
function pause() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });
}

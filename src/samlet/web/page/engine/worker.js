/** The thread in which everything is computed. Requests are `{id, method, args}`, replies `{id, value | error | told}`. */
import { LEAST_IOU, check } from './checking.js';
import { findEverything } from './everything.js';
import { loadJson } from './loading.js';
import { Segmenter } from './segmenter.js';
import { kindHere, openSessions, threadsHere } from './sessions.js';

/**
 * @typedef {import('../lib/types.js').Answer} Answer
 * @typedef {import('../lib/types.js').Prompts} Prompts
 * @typedef {(value: any) => void} Tell
 */

/** @type {Segmenter | null} */
let segmenter = null;
let stopped = false;

/**
 * A GPU computes only after its masks have been compared; one that gives others, or none, is left alone.
 *
 * @param {Segmenter} wanted
 * @param {URL} root
 * @returns {Promise<{chosen: Segmenter, remark: string}>}
 */
async function checked(wanted, root) {
  if (wanted.sessions.kind === 'WebAssembly') return { chosen: wanted, remark: '' };
  const iou = await check(wanted, root).catch(() => 0);
  const found = `mask IoU with the stored masks ${iou.toFixed(3)}, expected ${LEAST_IOU}`;
  if (iou >= LEAST_IOU) return { chosen: wanted, remark: `WebGPU was checked: ${found}.` };
  await wanted.sessions.encoder.release().catch(() => {});
  const chosen = new Segmenter(wanted.model, await wanted.sessions.plain());
  return { chosen, remark: `WebGPU is there but computes other masks (${found}), so WebAssembly does the work.` };
}

/** @type {WeakMap<object, Transferable[]>} buffers that go with an answer and are not copied */
const moved = new WeakMap();

/**
 * @template {object} Value
 * @param {Value} value
 * @param {...Transferable} buffers
 */
function moving(value, ...buffers) {
  moved.set(value, buffers);
  return value;
}

function ready() {
  if (!segmenter) throw new Error('the model is not loaded yet');
  return segmenter;
}

/** @type {Record<string, (args: any, tell: Tell) => Promise<any>>} */
const methods = {
  /**
   * Fetch and open the model.
   *
   * @param {{base: string, threads: number | null, backend: import('./sessions.js').Kind | null}} args null for what fits
   * @param {Tell} tell
   */
  async open({ base, threads, backend }, tell) {
    const start = performance.now();
    const root = new URL(base);
    const [model, kind] = await Promise.all([loadJson(new URL('model/model.json', root)), backend ?? kindHere()]);
    let bytes = 0;
    let fetched = start;
    const sessions = await openSessions(root, kind, threads ?? threadsHere(), (more) => {
      bytes += more;
      fetched = performance.now();
      tell({ bytes });
    });
    const opened = performance.now();
    const { chosen, remark } = await checked(new Segmenter(model, sessions), root);
    segmenter = chosen;
    const { kind: name, threads: used } = chosen.sessions;
    return {
      model,
      backend: { name, threads: used, isolated: self.crossOriginIsolated, remark },
      times: { fetch: fetched - start, open: opened - fetched, check: performance.now() - opened },
    };
  },

  /** @param {{bitmap: ImageBitmap}} args which is closed */
  async encode({ bitmap }) {
    return ready().setBitmap(bitmap);
  },

  /**
   * The mask for prompts, its logits and its pixels at the size that is shown.
   * @param {{prompts: Prompts, output: number | null, height: number, width: number}} args
   */
  async ask({ prompts, output, height, width }) {
    const start = performance.now();
    const answer = await ready().ask(prompts, output);
    const decoded = performance.now();
    const mask = ready().draw(answer, height, width);
    const times = { decode: decoded - start, draw: performance.now() - decoded };
    return moving({ answer, mask, times }, answer.lowRes.buffer, mask.data.buffer);
  },

  /** @param {{answer: Answer, height?: number, width?: number}} args */
  async draw({ answer, height, width }) {
    const mask = ready().draw(answer, height, width);
    return moving({ mask }, mask.data.buffer);
  },

  /**
   * @param {{side: number, iou: number, stability: number}} args see `findEverything`
   * @param {Tell} tell
   */
  async everything(args, tell) {
    stopped = false;
    return findEverything(ready(), args, tell, () => stopped);
  },

  async stop() {
    stopped = true;
  },
};

self.addEventListener('message', async (event) => {
  const { id, method, args } = event.data;
  /** @type {(message: any, buffers?: Transferable[]) => void} */
  const post = (message, buffers = []) => /** @type {any} */ (self).postMessage(message, buffers);
  try {
    const value = await methods[method](args, (told) => post({ id, told }));
    post({ id, value }, moved.get(value));
  } catch (error) {
    post({ id, error: error instanceof Error ? error.message : String(error) });
  }
});

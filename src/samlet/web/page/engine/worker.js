/** The thread in which everything is computed. Requests are `{id, method, args}`, replies `{id, value | error | told}`. */
import { boundingBox } from '../lib/masks.js';
import { findEverything } from './everything.js';
import { load, loadJson } from './loading.js';
import { Segmenter } from './segmenter.js';
import { openSessions, threadsHere } from './sessions.js';

/**
 * @typedef {import('../lib/types.js').Answer} Answer
 * @typedef {import('../lib/types.js').Prompts} Prompts
 * @typedef {(value: any) => void} Tell
 */

/** @type {Segmenter | null} */
let segmenter = null;
let stopped = false;

function ready() {
  if (!segmenter) throw new Error('the model is not loaded yet');
  return segmenter;
}

/** @type {Record<string, (args: any, tell: Tell) => Promise<any>>} */
const methods = {
  /**
   * @param {{base: string, threads: number | null}} args
   * @param {Tell} tell
   */
  async open({ base, threads }, tell) {
    const start = performance.now();
    const root = new URL(base);
    const model = await loadJson(new URL('model/model.json', root));
    let bytes = 0;
    let fetched = start;
    const sessions = await openSessions(root, threads ?? threadsHere(), (more) => {
      bytes += more;
      fetched = performance.now();
      tell({ bytes });
    });
    segmenter = new Segmenter(model, sessions);
    return {
      model,
      backend: { name: 'WebAssembly', threads: sessions.threads, isolated: self.crossOriginIsolated },
      times: { fetch: fetched - start, open: performance.now() - fetched },
    };
  },

  /** @param {{bitmap: ImageBitmap}} args which is closed */
  async encode({ bitmap }) {
    const start = performance.now();
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('this browser gives no canvas to a worker');
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const picture = context.getImageData(0, 0, width, height);
    const read = performance.now() - start;
    return { read, ...(await ready().setPicture(picture)) };
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
    return { answer, mask, times: { decode: decoded - start, draw: performance.now() - decoded } };
  },

  /** @param {{answer: Answer, height?: number, width?: number}} args */
  async draw({ answer, height, width }) {
    const mask = ready().draw(answer, height, width);
    return { mask, box: boundingBox(mask) };
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

  /** The model's own answer to a question, stored when the page was made; see `Model.reference`. */
  async reference() {
    const { model } = ready();
    const data = await load(new URL(`../model/${model.reference.file}`, import.meta.url));
    return new Float32Array(data.buffer);
  },
};

self.addEventListener('message', async (event) => {
  const { id, method, args } = event.data;
  /** @type {(message: any, moved?: Transferable[]) => void} */
  const post = (message, moved = []) => /** @type {any} */ (self).postMessage(message, moved);
  try {
    const value = await methods[method](args, (told) => post({ id, told }));
    post({ id, value });
  } catch (error) {
    post({ id, error: error instanceof Error ? error.message : String(error) });
  }
});

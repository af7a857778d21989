import { upscale } from '../lib/interpolate.js';
import { isStable, stability, toMask } from '../lib/masks.js';
import { preprocess } from '../lib/preprocess.js';
import { chooseOutput, toInputs } from '../lib/prompts.js';

/**
 * @typedef {import('../lib/types.js').Prompts} Prompts
 * @typedef {import('../lib/types.js').Answer} Answer
 * @typedef {import('../lib/types.js').Model} Model
 * @typedef {import('./sessions.js').Sessions} Sessions
 * @typedef {import('onnxruntime-web').Tensor} Values
 */

/** One photograph at a time: encoded once, then asked. */
export class Segmenter {
  /**
   * @param {Model} model
   * @param {Sessions} sessions
   */
  constructor(model, sessions) {
    this.model = model;
    this.sessions = sessions;
    this.side = (4 * model.size) / model.stride;
    /** @type {import('../lib/frame.js').Frame | null} */
    this.frame = null;
    /** @type {Record<string, Values>} */
    this.maps = {};
    this.noMask = new Float32Array(this.side * this.side);
  }

  /**
   * Another photograph.
   *
   * @param {ImageBitmap} bitmap which is closed
   * @returns {Promise<{read: number, prepare: number, encode: number}>} milliseconds
   */
  async setBitmap(bitmap) {
    const start = performance.now();
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('this browser gives no canvas to a worker');
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const picture = context.getImageData(0, 0, width, height);
    const read = performance.now();
    const { pixels, frame } = preprocess(picture, this.model);
    const prepared = performance.now();
    const { size } = this.model;
    const image = new this.sessions.Tensor('float32', pixels, [1, 3, size, size]);
    for (const map of Object.values(this.maps)) map.dispose();
    this.maps = /** @type {Record<string, Values>} */ (await this.sessions.encoder.run({ image }));
    this.frame = frame;
    return { read: read - start, prepare: prepared - read, encode: performance.now() - prepared };
  }

  /**
   * All outputs to prompts of equal length.
   *
   * @param {Float32Array} points (prompts, count, 2), pixels of the encoder's input
   * @param {BigInt64Array} labels (prompts, count)
   * @param {number} count clicks and corners a prompt
   * @returns {Promise<{lowRes: Float32Array, iou: Float32Array, outputs: number}>} low-res logits
   *   (prompts, outputs, side, side), predicted IoU (prompts, outputs)
   */
  async decode(points, labels, count) {
    const prompts = labels.length / count;
    /** @type {Record<string, Values>} */
    const all = {
      ...this.maps,
      points: new this.sessions.Tensor('float32', points, [prompts, count, 2]),
      labels: new this.sessions.Tensor('int64', labels, [prompts, count]),
      mask: new this.sessions.Tensor('float32', this.noMask, [1, 1, this.side, this.side]),
      has_mask: new this.sessions.Tensor('float32', new Float32Array(1), [1]),
      original_size: new this.sessions.Tensor('int64', new BigInt64Array(2).fill(BigInt(this.side)), [2]),
    };
    const { decoder } = this.sessions;
    const wanted = Object.fromEntries(decoder.inputNames.map((name) => [name, all[name]]));
    const answer = await decoder.run(wanted, ['low_res', 'iou']);
    const lowRes = /** @type {Float32Array} */ (answer.low_res.data);
    let iou = /** @type {Float32Array} */ (answer.iou.data);
    if (this.model.score === 'stability') {
      const cells = this.side * this.side;
      iou = iou.map((_, i) => stability(lowRes.subarray(i * cells, (i + 1) * cells), this.model.threshold));
    }
    return { lowRes, iou, outputs: iou.length / prompts };
  }

  /**
   * The mask of an object.
   *
   * @param {Prompts} prompts
   * @param {number | null} output see `chooseOutput`
   * @returns {Promise<Answer>}
   */
  async ask(prompts, output) {
    if (!this.frame) throw new Error('no photograph is encoded yet');
    const { points, labels, count } = toInputs(prompts, this.frame);
    const { lowRes, iou } = await this.decode(points, labels, count);
    const cells = this.side * this.side;
    const { single, threshold } = this.model;
    const trusts = () => single === 'first' || (single === 'stable' && isStable(lowRes.subarray(0, cells), threshold));
    const chosen = chooseOutput(prompts, iou, trusts, output);
    return {
      lowRes: lowRes.slice(chosen * cells, (chosen + 1) * cells),
      rows: this.side,
      columns: this.side,
      iou: iou[chosen],
      output: chosen === 0 ? null : chosen - 1,
    };
  }

  /**
   * A mask in pixels of the photograph, or of a smaller picture of it.
   *
   * @param {Answer} answer
   * @param {number} [height]
   * @param {number} [width]
   */
  draw(answer, height, width) {
    if (!this.frame) throw new Error('no photograph is encoded yet');
    const rows = height ?? this.frame.height;
    const columns = width ?? this.frame.width;
    const logits = upscale(answer.lowRes, answer.rows, answer.columns, this.frame, rows, columns);
    return toMask(logits, columns, rows, this.model.threshold);
  }
}

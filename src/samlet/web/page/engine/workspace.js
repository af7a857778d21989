import { History } from '../lib/history.js';
import { NOTHING, activate, activeThing, added, answered, removed, renamed } from '../lib/objects.js';
import { NO_PROMPTS, isEmpty, ordered } from '../lib/prompts.js';
import { Latest } from './latest.js';

/**
 * @typedef {import('../lib/types.js').Answer} Answer
 * @typedef {import('../lib/types.js').Prompts} Prompts
 * @typedef {import('../lib/types.js').Thing} Thing
 * @typedef {import('../lib/types.js').Model} Model
 * @typedef {import('../lib/masks.js').Bitmap} Bitmap
 * @typedef {import('../lib/objects.js').Objects} Objects
 * @typedef {import('./client.js').Client} Client
 * @typedef {{name: string, bitmap: ImageBitmap, width: number, height: number}} Photograph
 * @typedef {{mask: Bitmap, answer: Answer, prompts: Prompts}} Preview
 */

const SHOWN = 1024; // pixels: the longest side of masks on the screen
const OUTPUTS = 3;

/**
 * How sure masks of everything mode must be: stability, and predicted IoU as a share of what `samlet segment
 * --everything` asks, whose thresholds are those of `sure`.
 */
const SURENESS = Object.freeze({
  sure: { iou: 1, stability: 0.95 },
  likely: { iou: 0.9, stability: 0.9 },
  any: { iou: 0.75, stability: 0.8 },
});

/**
 * One photograph and what was found on it. Tells of changes by events: `photograph`, `change`, `preview`, `times`.
 */
export class Workspace extends EventTarget {
  /**
   * @param {Client} client
   * @param {Model} model
   */
  constructor(client, model) {
    super();
    this.client = client;
    this.model = model;
    /** @type {Photograph | null} */
    this.photograph = null;
    /** @type {History<Objects>} */
    this.history = new History(NOTHING);
    /** @type {Preview | null} */
    this.preview = null;
    /** @type {Record<string, number>} milliseconds by part */
    this.times = {};
    this.encoded = false;
    /** @type {WeakMap<Answer, Bitmap>} */
    this.masks = new WeakMap();
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve();
    this.previews = new Latest(
      (/** @type {Prompts} */ prompts) => this.request(prompts, null),
      ({ mask, answer }, prompts) => this.show({ mask, answer, prompts }),
    );
  }

  get objects() {
    return this.history.value;
  }

  get active() {
    return activeThing(this.objects);
  }

  /** Height and width of masks on the screen. */
  get shown() {
    const { width, height } = this.open;
    const scale = Math.min(1, SHOWN / Math.max(width, height));
    return { height: Math.max(1, Math.round(height * scale)), width: Math.max(1, Math.round(width * scale)) };
  }

  /** The photograph that is there. */
  get open() {
    if (!this.photograph) throw new Error('open a photograph first');
    return this.photograph;
  }

  /**
   * Another photograph: shown at once, then encoded.
   * @param {Photograph} photograph
   */
  async setPhotograph(photograph) {
    this.stopPreview();
    this.photograph?.bitmap.close();
    this.photograph = photograph;
    this.encoded = false;
    this.history.reset(NOTHING);
    this.tell('photograph');
    this.tell('change');
    await this.inTurn(async () => {
      if (this.photograph !== photograph) return;
      const bitmap = await createImageBitmap(photograph.bitmap);
      const times = await this.client.call('encode', { bitmap }, undefined, [bitmap]);
      this.note(times);
      if (this.photograph !== photograph) return;
      this.encoded = true;
      this.tell('photograph');
    });
  }

  /**
   * A click for the active object, or for a new one.
   *
   * @param {number} x
   * @param {number} y
   * @param {boolean} positive
   */
  click(x, y, positive) {
    return this.inTurn(() => this.commit(this.withClick(x, y, positive)));
  }

  /**
   * A box for the active object; its clicks go.
   * @param {import('../lib/types.js').Box} box
   */
  box(box) {
    const { width, height } = this.open;
    const prompts = { clicks: [], box: ordered(box, width, height) };
    return this.inTurn(() => this.commit(prompts));
  }

  /** Another of the three masks that the prompts may mean: the one after that which is shown. */
  other() {
    return this.inTurn(async () => {
      const thing = this.active;
      if (!thing || isEmpty(thing.prompts)) return;
      const shown = thing.answer?.output ?? null;
      await this.commit(thing.prompts, shown === null ? 0 : (shown + 1) % OUTPUTS);
    });
  }

  /**
   * What a click would give, shown when it is there; of many asked in a row only the latest.
   *
   * @param {number} x
   * @param {number} y
   * @param {boolean} positive
   */
  askPreview(x, y, positive) {
    if (this.encoded && (positive || this.active)) this.previews.ask(this.withClick(x, y, positive));
  }

  stopPreview() {
    this.previews.cancel();
    this.show(null);
  }

  newObject() {
    this.change(activate(this.objects, null), false);
  }

  /** @param {number} id */
  select(id) {
    this.change(activate(this.objects, id), false);
  }

  /**
   * @param {number} id
   * @param {string} name
   */
  rename(id, name) {
    this.change(renamed(this.objects, id, name));
  }

  /** @param {number} id */
  remove(id) {
    this.change(removed(this.objects, id));
  }

  undo() {
    this.history.undo();
    this.changed();
  }

  redo() {
    this.history.redo();
    this.changed();
  }

  /**
   * All masks of the photograph, as new objects.
   *
   * @param {number} side points on a side of the grid
   * @param {keyof typeof SURENESS} sureness
   * @param {(told: {done: number, of: number}) => void} tell
   * @returns {Promise<{count: number, prompts: number, stopped: boolean, milliseconds: number}>}
   */
  async everything(side, sureness, tell) {
    const { photograph } = this;
    this.stopPreview();
    const { iou, stability } = SURENESS[sureness];
    const wanted = { side, iou: iou * this.model.everything_iou, stability };
    const { found, prompts, stopped, milliseconds } = await this.client.call('everything', wanted, tell);
    if (this.photograph !== photograph) return { count: 0, prompts, stopped, milliseconds };
    const fresh = [...found].sort((a, b) => b.area - a.area);
    await Promise.all(fresh.map((one) => this.maskOf(one.answer)));
    if (fresh.length) this.change(added(this.objects, fresh));
    return { count: found.length, prompts, stopped, milliseconds };
  }

  stopEverything() {
    return this.client.call('stop');
  }

  /**
   * A mask at the size that is shown; asked for once.
   * @param {Answer} answer
   * @returns {Promise<Bitmap>}
   */
  async maskOf(answer) {
    const known = this.masks.get(answer);
    if (known) return known;
    const { mask } = await this.client.call('draw', { answer, ...this.shown });
    this.masks.set(answer, mask);
    return mask;
  }

  /**
   * An object at the size of the photograph.
   *
   * @param {Thing} thing
   * @returns {Promise<import('../lib/formats.js').Labelled>}
   */
  async labelled(thing) {
    if (!thing.answer) throw new Error(`${thing.name} has no mask`);
    const { mask } = await this.client.call('draw', { answer: thing.answer });
    return { name: thing.name, colour: thing.colour, iou: thing.answer.iou, mask };
  }

  /** Share of the photograph that an object covers. @param {Thing} thing */
  share(thing) {
    const mask = thing.answer && this.masks.get(thing.answer);
    if (!mask) return 0;
    let inside = 0;
    for (const value of mask.data) inside += value;
    return inside / mask.data.length;
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {boolean} positive
   * @returns {Prompts}
   */
  withClick(x, y, positive) {
    const before = this.active?.prompts ?? NO_PROMPTS;
    return { ...before, clicks: [...before.clicks, { x, y, positive }] };
  }

  /**
   * @param {Prompts} prompts
   * @param {number | null} [output]
   */
  async commit(prompts, output = null) {
    if (!this.encoded) return;
    const { preview } = this;
    const seen = output === null && preview !== null && same(preview.prompts, prompts);
    const { answer } = seen ? preview : await this.request(prompts, output);
    this.stopPreview();
    this.change(answered(this.objects, prompts, answer, output));
  }

  /**
   * @param {Prompts} prompts
   * @param {number | null} output
   * @returns {Promise<{answer: Answer, mask: Bitmap}>}
   */
  async request(prompts, output) {
    const { answer, mask, times } = await this.client.call('ask', { prompts, output, ...this.shown });
    this.masks.set(answer, mask);
    this.note(times);
    return { answer, mask };
  }

  /**
   * One after the other, also where an earlier one failed.
   *
   * @template Value
   * @param {() => Promise<Value>} run
   * @returns {Promise<Value>}
   */
  inTurn(run) {
    const mine = this.last.catch(() => {}).then(run);
    this.last = mine;
    return mine;
  }

  /**
   * @param {Objects} objects
   * @param {boolean} [undoable]
   */
  change(objects, undoable = true) {
    if (undoable) this.history.commit(objects);
    else this.history.amend(objects);
    this.changed();
  }

  changed() {
    this.stopPreview();
    this.tell('change');
  }

  /** @param {Preview | null} preview */
  show(preview) {
    if (preview === this.preview) return;
    this.preview = preview;
    this.tell('preview');
  }

  /** @param {Record<string, number>} times */
  note(times) {
    this.times = { ...this.times, ...times };
    this.tell('times');
  }

  /** @param {string} name */
  tell(name) {
    this.dispatchEvent(new Event(name));
  }
}

/**
 * Whether two prompts ask the same.
 * @param {Prompts} a
 * @param {Prompts} b
 */
function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

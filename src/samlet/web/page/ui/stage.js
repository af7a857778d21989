import { channels, colourOf } from '../lib/colours.js';
import { boundingBox, cut } from '../lib/masks.js';

/**
 * @typedef {import('../engine/workspace.js').Workspace} Workspace
 * @typedef {import('../lib/masks.js').Bitmap} Bitmap
 * @typedef {{canvas: HTMLCanvasElement, x: number, y: number, colour: string}} Painted the box around a mask, in colour
 */

const SHARPEST = 2048; // pixels: the longest side of the photograph on the screen
const MOST_ZOOM = 16;
const MARGIN = 12;
const INSIDE = 96; // of 255: how much of a mask's colour covers the photograph
const EDGE = 2; // pixels of a mask: how wide its edge is
const SVG = 'http://www.w3.org/2000/svg';

/** The photograph with its masks, clicks and boxes, and where it lies on the screen. */
export class Stage {
  /**
   * @param {HTMLElement} root
   * @param {Workspace} workspace
   */
  constructor(root, workspace) {
    this.root = root;
    this.workspace = workspace;
    this.sheet = /** @type {HTMLElement} */ (root.querySelector('#sheet'));
    this.picture = /** @type {HTMLCanvasElement} */ (root.querySelector('#picture'));
    this.masks = /** @type {HTMLCanvasElement} */ (root.querySelector('#masks'));
    this.marks = /** @type {SVGSVGElement} */ (root.querySelector('#marks'));
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    /** @type {import('../lib/types.js').Box | null} a box that is being drawn */
    this.rubber = null;
    /** @type {{x: number, y: number} | null} the keyboard's cross-hair */
    this.cross = null;
    /** @type {WeakMap<Bitmap, Painted>} */
    this.painted = new WeakMap();
    workspace.addEventListener('photograph', () => this.showPicture());
    workspace.addEventListener('change', () => this.draw());
    workspace.addEventListener('preview', () => this.draw());
    new ResizeObserver(() => this.fit()).observe(root);
  }

  showPicture() {
    const { photograph } = this.workspace;
    if (!photograph) return;
    const { width, height, bitmap } = photograph;
    const scale = Math.min(1, SHARPEST / Math.max(width, height));
    this.picture.width = Math.round(width * scale);
    this.picture.height = Math.round(height * scale);
    const context = /** @type {CanvasRenderingContext2D} */ (this.picture.getContext('2d'));
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, this.picture.width, this.picture.height);
    const { shown } = this.workspace;
    this.masks.width = shown.width;
    this.masks.height = shown.height;
    this.sheet.style.width = `${width}px`;
    this.sheet.style.height = `${height}px`;
    this.marks.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const fresh = this.sheet.hidden || this.fitted !== photograph;
    this.sheet.hidden = false;
    this.fitted = photograph;
    this.cross = null;
    if (fresh) this.fit();
    this.draw();
  }

  /** The whole photograph, in the middle. */
  fit() {
    const { photograph } = this.workspace;
    if (!photograph) return;
    const { clientWidth, clientHeight } = this.root;
    const across = (clientWidth - 2 * MARGIN) / photograph.width;
    const down = (clientHeight - 2 * MARGIN) / photograph.height;
    this.scale = Math.max(Math.min(across, down), 1e-3);
    this.left = (clientWidth - photograph.width * this.scale) / 2;
    this.top = (clientHeight - photograph.height * this.scale) / 2;
    this.place();
  }

  /**
   * Larger or smaller, about a place on the screen.
   *
   * @param {number} factor
   * @param {number} clientX
   * @param {number} clientY
   */
  zoom(factor, clientX, clientY) {
    const box = this.root.getBoundingClientRect();
    const [x, y] = [clientX - box.left, clientY - box.top];
    const scale = Math.min(Math.max(this.scale * factor, this.smallest()), MOST_ZOOM);
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.place();
  }

  /**
   * @param {number} dx pixels of the screen
   * @param {number} dy
   */
  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.place();
  }

  smallest() {
    const { width, height } = this.workspace.open;
    return Math.min(this.root.clientWidth / width, this.root.clientHeight / height, 1) / 2;
  }

  /**
   * A place on the screen in pixels of the photograph.
   *
   * @param {number} clientX
   * @param {number} clientY
   * @returns {{x: number, y: number, inside: boolean}}
   */
  toPhotograph(clientX, clientY) {
    const box = this.root.getBoundingClientRect();
    const x = (clientX - box.left - this.root.clientLeft - this.left) / this.scale;
    const y = (clientY - box.top - this.root.clientTop - this.top) / this.scale;
    const { photograph } = this.workspace;
    const inside = photograph !== null && x >= 0 && y >= 0 && x < photograph.width && y < photograph.height;
    return { x, y, inside };
  }

  place() {
    this.sheet.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.scale})`;
    this.drawMarks();
  }

  draw() {
    this.drawMarks();
    void this.drawMasks();
  }

  async drawMasks() {
    const { workspace } = this;
    if (!workspace.photograph) return;
    const { objects, preview, active } = workspace;
    const things = objects.things.filter((thing) => thing.answer);
    const bitmaps = await Promise.all(
      things.map((thing) => workspace.maskOf(/** @type {import('../lib/types.js').Answer} */ (thing.answer))),
    );
    if (objects !== workspace.objects || preview !== workspace.preview) return; // a later call draws
    const context = /** @type {CanvasRenderingContext2D} */ (this.masks.getContext('2d'));
    context.clearRect(0, 0, this.masks.width, this.masks.height);
    things.forEach((thing, i) => {
      if (preview && thing === active) return;
      context.globalAlpha = active && thing !== active ? 0.75 : 1;
      put(context, this.paint(bitmaps[i], thing.colour));
    });
    context.globalAlpha = 0.8;
    if (preview) put(context, this.paint(preview.mask, active?.colour ?? colourOf(objects.next)));
  }

  /**
   * A mask in a colour, its edge strong.
   *
   * @param {Bitmap} mask
   * @param {string} colour
   * @returns {Painted}
   */
  paint(mask, colour) {
    const known = this.painted.get(mask);
    if (known?.colour === colour) return known;
    const [x, y, width, height] = boundingBox(mask);
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    if (width) canvas.getContext('2d')?.putImageData(coloured(cut(mask, x, y, width, height), colour), 0, 0);
    const made = { canvas, x, y, colour };
    this.painted.set(mask, made);
    return made;
  }

  drawMarks() {
    const unit = 1 / this.scale;
    const { active } = this.workspace;
    const prompts = active?.prompts;
    const parts = [];
    const box = this.rubber ?? prompts?.box;
    if (box) {
      const [x0, x1] = [box[0], box[2]].sort((a, b) => a - b);
      const [y0, y1] = [box[1], box[3]].sort((a, b) => a - b);
      for (const [stroke, width] of [['#000', 4], [active && !this.rubber ? active.colour : '#fff', 2]]) {
        parts.push(element('rect', { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: 'none', stroke, 'stroke-width': Number(width) * unit }));
      }
    }
    for (const click of prompts?.clicks ?? []) parts.push(...mark(click, unit));
    if (this.cross) {
      const { x, y } = this.cross;
      for (const [stroke, width] of [['#000', 4], ['#fff', 2]]) {
        const d = `M${x - 16 * unit} ${y}H${x + 16 * unit}M${x} ${y - 16 * unit}V${y + 16 * unit}`;
        parts.push(element('path', { d, fill: 'none', stroke, 'stroke-width': Number(width) * unit }));
      }
    }
    this.marks.replaceChildren(...parts);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Painted} painted
 */
function put(context, { canvas, x, y }) {
  if (canvas.width) context.drawImage(canvas, x, y);
}

/**
 * @param {Bitmap} mask
 * @param {string} colour
 */
function coloured({ data, width, height }, colour) {
  const [r, g, b] = channels(colour);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const plain = (INSIDE << 24) | (b << 16) | (g << 8) | r;
  const edge = (255 << 24) | (b << 16) | (g << 8) | r;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!data[at]) continue;
      const within =
        x >= EDGE && x < width - EDGE && y >= EDGE && y < height - EDGE &&
        data[at - EDGE] && data[at + EDGE] && data[at - EDGE * width] && data[at + EDGE * width];
      pixels[at] = within ? plain : edge;
    }
  }
  return image;
}

/**
 * @param {import('../lib/types.js').Click} click
 * @param {number} unit pixels of the photograph in one of the screen
 */
function mark(click, unit) {
  const { x, y, positive } = click;
  const arm = 3.6 * unit;
  const d = `M${x - arm} ${y}H${x + arm}${positive ? `M${x} ${y - arm}V${y + arm}` : ''}`;
  const fill = positive ? '#15803d' : '#b91c1c';
  return [
    element('circle', { cx: x, cy: y, r: 8 * unit, fill, stroke: '#fff', 'stroke-width': 2 * unit }),
    element('path', { d, stroke: '#fff', 'stroke-width': 2 * unit }),
  ];
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

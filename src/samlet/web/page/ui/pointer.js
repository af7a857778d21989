/**
 * @typedef {import('./stage.js').Stage} Stage
 * @typedef {'add' | 'remove' | 'box'} Tool
 */

const DRAG = 6; // pixels of the screen from which a press is a drag
const RIGHT = 2;
const MIDDLE = 1;

/**
 * Mouse, pen and fingers on the stage: click, right click, drag a box, zoom and move.
 */
export class Pointer {
  /**
   * @param {Stage} stage
   * @param {object} to
   * @param {() => Tool} to.tool
   * @param {(x: number, y: number, positive: boolean) => void} to.click
   * @param {(box: import('../lib/types.js').Box) => void} to.box
   */
  constructor(stage, to) {
    this.stage = stage;
    this.to = to;
    /** @type {Map<number, {x: number, y: number}>} */
    this.down = new Map();
    /** @type {{x: number, y: number, button: number, mode: 'press' | 'box' | 'move' | 'pinch'} | null} */
    this.press = null;
    const { root } = stage;
    root.addEventListener('pointerdown', (event) => this.start(event));
    root.addEventListener('pointermove', (event) => this.move(event));
    root.addEventListener('pointerup', (event) => this.end(event, true));
    root.addEventListener('pointercancel', (event) => this.end(event, false));
    root.addEventListener('pointerleave', () => stage.workspace.stopPreview());
    root.addEventListener('contextmenu', (event) => event.preventDefault());
    root.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
  }

  /** @param {PointerEvent} event */
  start(event) {
    if (!this.stage.workspace.photograph) return;
    this.stage.root.setPointerCapture(event.pointerId);
    this.stage.cross = null;
    this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const second = this.down.size > 1;
    this.press = { x: event.clientX, y: event.clientY, button: event.button, mode: second ? 'pinch' : 'press' };
    if (second) this.stage.rubber = null;
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { stage, press } = this;
    const before = this.down.get(event.pointerId);
    if (!before || !press) {
      if (event.pointerType !== 'touch') this.hover(event);
      return;
    }
    if (press.mode === 'pinch') this.pinch(event, before);
    const far = Math.hypot(event.clientX - press.x, event.clientY - press.y) > DRAG;
    if (press.mode === 'press' && far) press.mode = this.draws(event, press.button) ? 'box' : 'move';
    if (press.mode === 'move') stage.move(event.clientX - before.x, event.clientY - before.y);
    if (press.mode === 'box') {
      const [a, b] = [stage.toPhotograph(press.x, press.y), stage.toPhotograph(event.clientX, event.clientY)];
      stage.rubber = [a.x, a.y, b.x, b.y];
      stage.workspace.stopPreview();
      stage.drawMarks();
    }
    this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /**
   * @param {PointerEvent} event
   * @param {boolean} meant
   */
  end(event, meant) {
    const { stage, press } = this;
    this.down.delete(event.pointerId);
    if (!press) return;
    const { rubber } = stage;
    stage.rubber = null;
    if (meant && press.mode === 'box' && rubber) this.to.box(rubber);
    if (meant && press.mode === 'press' && press.button !== MIDDLE) {
      const { x, y, inside } = stage.toPhotograph(event.clientX, event.clientY);
      const negative = press.button === RIGHT || this.to.tool() === 'remove';
      if (inside) this.to.click(x, y, !negative);
    }
    stage.drawMarks();
    if (!this.down.size) this.press = null;
  }

  /**
   * Whether a drag draws a box. A finger moves the photograph instead unless the tool is the box.
   * @param {PointerEvent} event
   * @param {number} button
   */
  draws(event, button) {
    return button === 0 && (event.pointerType !== 'touch' || this.to.tool() === 'box');
  }

  /**
   * @param {PointerEvent} event
   * @param {{x: number, y: number}} before
   */
  pinch(event, before) {
    const other = [...this.down].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const was = Math.hypot(before.x - other.x, before.y - other.y);
    const now = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    const middle = [(event.clientX + other.x) / 2, (event.clientY + other.y) / 2];
    if (was > 0) this.stage.zoom(now / was, middle[0], middle[1]);
    this.stage.move((event.clientX - before.x) / 2, (event.clientY - before.y) / 2);
  }

  /** @param {PointerEvent} event */
  hover(event) {
    const { x, y, inside } = this.stage.toPhotograph(event.clientX, event.clientY);
    const { workspace } = this.stage;
    if (!inside || this.to.tool() === 'box') workspace.stopPreview();
    else workspace.askPreview(x, y, this.to.tool() !== 'remove');
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!this.stage.workspace.photograph) return;
    event.preventDefault();
    this.stage.zoom(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 500)), event.clientX, event.clientY);
  }
}

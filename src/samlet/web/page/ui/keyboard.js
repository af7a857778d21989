const STEP = 1 / 64; // of the photograph's longer side
const LEAP = 5;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Keys of the page. Letters and undo work everywhere but in fields; the cross-hair only on the stage.
 *
 * @param {import('./stage.js').Stage} stage
 * @param {Record<string, () => void>} actions by the key that starts them, `undo` and `redo` among them
 * @param {(x: number, y: number, positive: boolean) => void} click
 */
export function listenToKeys(stage, actions, click) {
  document.addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest('input, select, textarea, dialog')) return;
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      const name = key === 'y' || (key === 'z' && event.shiftKey) ? 'redo' : key === 'z' ? 'undo' : null;
      if (name) {
        event.preventDefault();
        actions[name]();
      }
      return;
    }
    if (event.altKey) return;
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  stage.root.addEventListener('keydown', (event) => {
    const { photograph } = stage.workspace;
    if (!photograph) return;
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      const step = STEP * Math.max(photograph.width, photograph.height) * (event.shiftKey ? LEAP : 1);
      const from = stage.cross ?? { x: photograph.width / 2, y: photograph.height / 2 };
      stage.cross = {
        x: Math.min(Math.max(from.x + dx * step, 0), photograph.width - 1),
        y: Math.min(Math.max(from.y + dy * step, 0), photograph.height - 1),
      };
      stage.drawMarks();
      stage.workspace.askPreview(stage.cross.x, stage.cross.y, true);
    } else if (stage.cross && (event.key === 'Enter' || event.key === ' ')) {
      click(stage.cross.x, stage.cross.y, true);
    } else if (stage.cross && (event.key === '-' || event.key === '−')) {
      click(stage.cross.x, stage.cross.y, false);
    } else {
      return;
    }
    event.preventDefault();
  });
}

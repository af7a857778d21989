import { toCoco, toLabelme, toSvg } from '../lib/formats.js';
import { boundingBox } from '../lib/masks.js';

/**
 * @typedef {import('../engine/workspace.js').Workspace} Workspace
 * @typedef {import('../lib/masks.js').Bitmap} Bitmap
 */

/** @type {Record<string, (workspace: Workspace) => Promise<{blob: Blob, ending: string}>>} */
export const SAVES = {
  async cutout(workspace) {
    const { bitmap } = workspace.open;
    const { active } = workspace;
    const wanted = active ? [active] : workspace.objects.things;
    const masks = await Promise.all(wanted.map(async (thing) => (await workspace.labelled(thing)).mask));
    const blob = await cutOut(bitmap, masks);
    return { blob, ending: `${active ? active.name.replaceAll(/[^\p{L}\p{N}]+/gu, '-') : 'objects'}.png` };
  },
  async coco(workspace) {
    return { blob: json(toCoco(workspace.open, await all(workspace))), ending: 'coco.json' };
  },
  async svg(workspace) {
    return { blob: new Blob([toSvg(workspace.open, await all(workspace))], { type: 'image/svg+xml' }), ending: 'svg' };
  },
  async labelme(workspace) {
    return { blob: json(await toLabelme(workspace.open, await all(workspace))), ending: 'json' };
  },
};

/**
 * Save what stands on the photograph under its name.
 *
 * @param {Workspace} workspace
 * @param {string} format of `SAVES`
 * @returns {Promise<string>} name of the file
 */
export async function save(workspace, format) {
  if (!workspace.objects.things.length) throw new Error('there is no object yet; click on something first');
  const { blob, ending } = await SAVES[format](workspace);
  const name = `${workspace.open.name.replace(/\.\w+$/, '')}.${ending}`;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}

/** @param {Workspace} workspace */
async function all(workspace) {
  const found = [];
  for (const thing of workspace.objects.things) found.push(await workspace.labelled(thing));
  return found;
}

/** @param {unknown} content */
function json(content) {
  return new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: 'application/json' });
}

/**
 * The photograph where any mask is, as small as that allows; the rest is transparent.
 *
 * @param {ImageBitmap} bitmap
 * @param {readonly Bitmap[]} masks at its size
 * @returns {Promise<Blob>} PNG
 */
async function cutOut(bitmap, masks) {
  const { width, height } = masks[0];
  const data = new Uint8Array(width * height);
  for (const mask of masks) for (let i = 0; i < data.length; i++) data[i] |= mask.data[i];
  const [x, y, across, down] = boundingBox({ data, width, height });
  if (!across) throw new Error('the mask is empty; click on something else');
  const canvas = document.createElement('canvas');
  canvas.width = across;
  canvas.height = down;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.drawImage(bitmap, -x, -y);
  const image = context.getImageData(0, 0, across, down);
  for (let row = 0, at = 3; row < down; row++) {
    for (let column = 0; column < across; column++, at += 4) {
      if (!data[(y + row) * width + x + column]) image.data[at] = 0;
    }
  }
  context.putImageData(image, 0, 0);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the cut-out cannot be written'))), 'image/png'),
  );
}

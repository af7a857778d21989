/** Where photographs come from: those of the page, files, drops, the clipboard, the camera. */

/**
 * @typedef {import('../engine/workspace.js').Photograph} Photograph
 * @typedef {{name: string, width: number, height: number, clicks: [number, number][]}} Bundled
 */

const MOST_PIXELS = 12e6; // a phone's memory holds a few pictures of that size

/**
 * Decode a photograph, upright, its colours as they are stored.
 *
 * @param {Blob} blob
 * @param {string} name
 * @returns {Promise<{photograph: Photograph, note: string}>} the note is empty where nothing was changed
 */
export async function decode(blob, name) {
  /** @type {ImageBitmapOptions} */
  const options = { imageOrientation: 'from-image', colorSpaceConversion: 'none' };
  let bitmap = await createImageBitmap(blob, options).catch(() => {
    throw new Error(`${name} is no picture that this browser can read; try a JPEG, PNG or WebP`);
  });
  let note = '';
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    const scale = Math.sqrt(MOST_PIXELS / (width * height));
    const size = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale) };
    const smaller = await createImageBitmap(bitmap, { ...size, resizeQuality: 'high' });
    bitmap.close();
    bitmap = smaller;
    note = `${width} × ${height} pixels are many: scaled to ${bitmap.width} × ${bitmap.height}, and so are all masks`;
  }
  return { photograph: { name, bitmap, width: bitmap.width, height: bitmap.height }, note };
}

/**
 * The page's own photographs, as small pictures to pick.
 *
 * @param {HTMLElement} root
 * @param {(url: URL, name: string) => void} pick
 * @returns {Promise<Bundled[]>}
 */
export async function showGallery(root, pick) {
  const response = await fetch('photos/photos.json');
  /** @type {Bundled[]} */
  const bundled = (await response.json()).photographs;
  for (const { name } of bundled) {
    const button = document.createElement('button');
    button.type = 'button';
    button.setAttribute('aria-label', `Open ${name}`);
    button.dataset.name = `${name}.jpg`;
    const picture = document.createElement('img');
    picture.src = `photos/${name}.small.jpg`;
    picture.alt = '';
    button.append(picture);
    button.addEventListener('click', () => pick(new URL(`photos/${name}.jpg`, document.baseURI), `${name}.jpg`));
    root.append(button);
  }
  return bundled;
}

/**
 * Files that are picked, dropped or pasted.
 *
 * @param {HTMLInputElement} input
 * @param {HTMLElement} hint shown while something is dragged over the page
 * @param {(blob: Blob, name: string) => void} pick
 */
export function listenToFiles(input, hint, pick) {
  /** @param {Iterable<File> | null | undefined} files */
  const first = (files) => {
    const file = [...(files ?? [])].find((one) => one.type.startsWith('image/') || /\.\w+$/.test(one.name));
    if (file) pick(file, file.name || 'pasted.png');
    return Boolean(file);
  };
  input.addEventListener('change', () => {
    first(input.files);
    input.value = '';
  });
  let depth = 0;
  const show = (/** @type {number} */ change) => {
    depth = Math.max(0, depth + change);
    hint.hidden = depth === 0;
  };
  addEventListener('dragenter', () => show(1));
  addEventListener('dragleave', () => show(-1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    show(-depth);
    first(event.dataTransfer?.files);
  });
  addEventListener('paste', (event) => {
    if (first(event.clipboardData?.files)) event.preventDefault();
  });
}

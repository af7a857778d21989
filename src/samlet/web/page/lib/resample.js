/**
 * Where each pixel of a resized row comes from: a triangle filter that widens as the picture shrinks, so that nothing
 * is skipped. Pillow's bilinear filter and torch's antialiased one are both this.
 *
 * @param {number} from pixels before
 * @param {number} to pixels after
 * @returns {{starts: Int32Array, counts: Int32Array, weights: Float32Array, most: number}} `most` weights a pixel
 */
export function taps(from, to) {
  const scale = from / to;
  const widening = Math.max(scale, 1);
  const most = Math.ceil(widening) * 2 + 1;
  const starts = new Int32Array(to);
  const counts = new Int32Array(to);
  const weights = new Float32Array(to * most);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - widening + 0.5));
    const end = Math.min(from, Math.floor(centre + widening + 0.5));
    let sum = 0;
    for (let k = first; k < end; k++) {
      const weight = Math.max(0, 1 - Math.abs((k - centre + 0.5) / widening));
      weights[i * most + k - first] = weight;
      sum += weight;
    }
    for (let k = 0; k < end - first; k++) weights[i * most + k] /= sum;
    starts[i] = first;
    counts[i] = end - first;
  }
  return { starts, counts, weights, most };
}

/**
 * Resize a picture.
 *
 * @param {Uint8ClampedArray} rgba width × height pixels
 * @param {number} width
 * @param {number} height
 * @param {number} newWidth
 * @param {number} newHeight
 * @param {boolean} whole round to whole numbers after each direction, as Pillow does with 8 bits
 * @returns {Float32Array} red, green, blue in 0…255, pixel by pixel
 */
export function resample(rgba, width, height, newWidth, newHeight, whole) {
  const across = taps(width, newWidth);
  const down = taps(height, newHeight);
  const between = new Float32Array(newWidth * height * 3);
  for (let y = 0, out = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++, out += 3) {
      let r = 0;
      let g = 0;
      let b = 0;
      let at = (y * width + across.starts[x]) * 4;
      for (let k = 0; k < across.counts[x]; k++, at += 4) {
        const weight = across.weights[x * across.most + k];
        r += weight * rgba[at];
        g += weight * rgba[at + 1];
        b += weight * rgba[at + 2];
      }
      between[out] = whole ? Math.round(r) : r;
      between[out + 1] = whole ? Math.round(g) : g;
      between[out + 2] = whole ? Math.round(b) : b;
    }
  }
  const row = newWidth * 3;
  const found = new Float32Array(row * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const target = found.subarray(y * row, (y + 1) * row);
    for (let k = 0; k < down.counts[y]; k++) {
      const weight = down.weights[y * down.most + k];
      const at = (down.starts[y] + k) * row;
      for (let i = 0; i < row; i++) target[i] += weight * between[at + i];
    }
    if (whole) for (let i = 0; i < row; i++) target[i] = Math.round(target[i]);
  }
  return found;
}

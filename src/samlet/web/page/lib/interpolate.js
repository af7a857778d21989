/**
 * Bilinear interpolation between the centres of pixels, as torch's with `align_corners=False`.
 *
 * @param {Float32Array} values rows × columns
 * @param {number} rows
 * @param {number} columns
 * @param {number} height of the result before it is cut
 * @param {number} width
 * @param {number} [keptHeight] rows of the result that are wanted, from the top
 * @param {number} [keptWidth]
 * @returns {Float32Array} keptHeight × keptWidth
 */
export function interpolate(values, rows, columns, height, width, keptHeight = height, keptWidth = width) {
  const found = new Float32Array(keptHeight * keptWidth);
  const left = new Int32Array(keptWidth);
  const right = new Int32Array(keptWidth);
  const share = new Float32Array(keptWidth);
  for (let x = 0; x < keptWidth; x++) {
    const at = Math.max(0, ((x + 0.5) * columns) / width - 0.5);
    left[x] = Math.min(columns - 1, Math.floor(at));
    right[x] = Math.min(columns - 1, left[x] + 1);
    share[x] = at - left[x];
  }
  const line = new Float32Array(columns);
  for (let y = 0, out = 0; y < keptHeight; y++) {
    const at = Math.max(0, ((y + 0.5) * rows) / height - 0.5);
    const top = Math.min(rows - 1, Math.floor(at));
    const bottom = Math.min(rows - 1, top + 1);
    const part = at - top;
    for (let x = 0; x < columns; x++) {
      const above = values[top * columns + x];
      line[x] = above + part * (values[bottom * columns + x] - above);
    }
    for (let x = 0; x < keptWidth; x++, out++) {
      const before = line[left[x]];
      found[out] = before + share[x] * (line[right[x]] - before);
    }
  }
  return found;
}

/**
 * Low-res logits of a mask to logits on the photograph, by way of the encoder's input.
 *
 * @param {Float32Array} lowRes rows × columns
 * @param {number} rows
 * @param {number} columns
 * @param {import('./frame.js').Frame} frame
 * @param {number} [height] of the result; that of the photograph if left out
 * @param {number} [width]
 * @returns {Float32Array} height × width
 */
export function upscale(lowRes, rows, columns, frame, height = frame.height, width = frame.width) {
  if (frame.resize !== 'longest_side') return interpolate(lowRes, rows, columns, height, width);
  const [inside, across] = frame.resized;
  const cut = interpolate(lowRes, rows, columns, frame.size, frame.size, inside, across);
  return inside === height && across === width ? cut : interpolate(cut, inside, across, height, width);
}

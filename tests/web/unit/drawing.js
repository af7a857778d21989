/** Small masks. */
/**
 * A mask drawn with characters, `#` inside.
 * @param {...string} rows
 */
export function drawn(...rows) {
  const data = Uint8Array.from(rows.join(''), (sign) => (sign === '#' ? 1 : 0));
  return { data, width: rows[0].length, height: rows.length };
}

/**
 * Masks that are the same on every run.
 *
 * @param {number} width
 * @param {number} height
 * @param {number} seed
 * @param {number} share of pixels inside
 */
export function scattered(width, height, seed, share) {
  let state = seed;
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = state / 2 ** 32 < share ? 1 : 0;
  }
  return { data, width, height };
}

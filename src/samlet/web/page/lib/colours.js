/** Distinct for most eyes, on bright and dark photographs. */
export const COLOURS = Object.freeze([
  '#2f9bff',
  '#ff8a1f',
  '#1fc28b',
  '#f2447b',
  '#a86bff',
  '#ffd02e',
  '#12c6d8',
  '#ff5a3c',
  '#8fd32f',
  '#e07ae8',
]);

/**
 * The colour of the object with a number, from 1 on.
 * @param {number} number
 */
export function colourOf(number) {
  return COLOURS[(number - 1) % COLOURS.length];
}

/**
 * @param {string} colour `#rrggbb`
 * @returns {[number, number, number]}
 */
export function channels(colour) {
  const value = Number.parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

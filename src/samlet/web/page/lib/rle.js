/** COCO's run-length encoding: runs down the columns, zeros first. */

/**
 * @param {import('./masks.js').Bitmap} mask
 * @returns {number[]} lengths of runs, of zeros and ones by turns
 */
export function toCounts(mask) {
  const { data, width, height } = mask;
  const counts = [];
  let value = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0, at = x; y < height; y++, at += width) {
      if (data[at] !== value) {
        counts.push(run);
        value = data[at];
        run = 0;
      }
      run++;
    }
  }
  counts.push(run);
  return counts;
}

/**
 * @param {readonly number[]} counts
 * @param {number} width
 * @param {number} height
 * @returns {import('./masks.js').Bitmap}
 */
export function fromCounts(counts, width, height) {
  const data = new Uint8Array(width * height);
  let at = 0;
  counts.forEach((count, i) => {
    for (let k = 0; k < count; k++, at++) if (i % 2) data[(at % height) * width + Math.floor(at / height)] = 1;
  });
  return { data, width, height };
}

/**
 * COCO's text for runs: each, or from the fourth on its difference from the last but one, in groups of five bits from
 * the lowest on; a sixth bit says that more groups follow, and 48 makes a character of it.
 *
 * @param {readonly number[]} counts
 */
export function toText(counts) {
  let text = '';
  counts.forEach((count, i) => {
    let rest = i > 2 ? count - counts[i - 2] : count;
    for (let more = true; more; ) {
      const group = rest & 31;
      rest >>= 5;
      more = group & 16 ? rest !== -1 : rest !== 0;
      text += String.fromCharCode(48 + (more ? group | 32 : group));
    }
  });
  return text;
}

/**
 * @param {string} text
 * @returns {number[]}
 */
export function fromText(text) {
  /** @type {number[]} */
  const counts = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    let group = 32;
    while (group & 32) {
      group = text.charCodeAt(at++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    }
    if (group & 16) value |= -1 << shift;
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  return counts;
}

/**
 * @param {import('./masks.js').Bitmap} mask
 * @returns {{size: [number, number], counts: string}} size is height, width
 */
export function toRle(mask) {
  return { size: [mask.height, mask.width], counts: toText(toCounts(mask)) };
}

/**
 * @typedef {[number, number][]} Ring corners x, y; the last is joined to the first
 * @typedef {{outer: Ring, holes: Ring[]}} Polygon
 */

const STEPS = Object.freeze([
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
]);

/**
 * The outlines of a mask along the edges of its pixels, each region with its holes. Pixels that touch at a corner alone
 * belong to different regions.
 *
 * @param {import('./masks.js').Bitmap} mask
 * @returns {Polygon[]}
 */
export function toPolygons(mask) {
  const { width, height } = mask;
  const inside = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < width && y < height && mask.data[y * width + x] === 1;
  // Every pixel's upper edge that nothing lies above starts one ring; the mask is on the right hand of the way.
  const seen = new Uint8Array((width + 1) * (height + 1));
  /** @type {Polygon[]} */
  const polygons = [];
  /** @type {{ring: Ring, x: number, y: number}[]} */
  const holes = [];
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(x, y) || inside(x, y - 1) || seen[y * (width + 1) + x]) continue;
      const ring = trace(x, y, inside, (cx, cy) => {
        seen[cy * (width + 1) + cx] = 1;
      });
      if (signedArea(ring) > 0) polygons.push({ outer: ring, holes: [] });
      else holes.push({ ring, x: x + 0.5, y: y - 0.5 });
    }
  }
  for (const hole of holes) {
    const around = polygons.filter((polygon) => contains(polygon.outer, hole.x, hole.y));
    around.sort((a, b) => signedArea(a.outer) - signedArea(b.outer));
    around[0]?.holes.push(hole.ring);
  }
  return polygons;
}

/**
 * @param {number} startX
 * @param {number} startY
 * @param {(x: number, y: number) => boolean} inside
 * @param {(x: number, y: number) => void} mark told of every upper edge that the ring goes along
 * @returns {Ring}
 */
function trace(startX, startY, inside, mark) {
  /** @type {Ring} */
  const ring = [];
  let [x, y, way] = [startX, startY, 0];
  do {
    if (way === 0) mark(x, y);
    x += STEPS[way][0];
    y += STEPS[way][1];
    const turned = turn(x, y, way, inside);
    if (turned !== way) ring.push([x, y]);
    way = turned;
  } while (x !== startX || y !== startY || way !== 0);
  return ring;
}

/**
 * The way on from a corner: right where the mask ends ahead, left where it goes on to the left.
 *
 * @param {number} x
 * @param {number} y
 * @param {number} way
 * @param {(x: number, y: number) => boolean} inside
 */
function turn(x, y, way, inside) {
  const right = [
    [0, 0],
    [-1, 0],
    [-1, -1],
    [0, -1],
  ][way];
  const left = [
    [0, -1],
    [0, 0],
    [-1, 0],
    [-1, -1],
  ][way];
  if (!inside(x + right[0], y + right[1])) return (way + 1) % 4;
  return inside(x + left[0], y + left[1]) ? (way + 3) % 4 : way;
}

/**
 * Area of a ring, positive where it goes clockwise as the eye sees it, y downwards.
 * @param {Ring} ring
 */
export function signedArea(ring) {
  let sum = 0;
  for (let i = 0; i < ring.length; i++) {
    const [x0, y0] = ring[i];
    const [x1, y1] = ring[(i + 1) % ring.length];
    sum += x0 * y1 - x1 * y0;
  }
  return sum / 2;
}

/**
 * @param {Ring} ring
 * @param {number} x
 * @param {number} y
 */
function contains(ring, x, y) {
  let within = false;
  for (let i = 0; i < ring.length; i++) {
    const [x0, y0] = ring[i];
    const [x1, y1] = ring[(i + 1) % ring.length];
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) within = !within;
  }
  return within;
}

/**
 * Fewer corners: none that is left out lies further than the tolerance from the line that stays (Douglas and Peucker,
 * 1973). At least three remain.
 *
 * @param {Ring} ring
 * @param {number} tolerance pixels
 * @returns {Ring}
 */
export function simplify(ring, tolerance) {
  if (ring.length <= 4 || tolerance <= 0) return ring;
  let far = 0;
  for (let i = 1; i < ring.length; i++) if (distance(ring[i], ring[0]) > distance(ring[far], ring[0])) far = i;
  const closed = [...ring, ring[0]];
  const keep = new Uint8Array(closed.length);
  keep[0] = keep[far] = 1;
  /** @type {[number, number][]} */
  const open = [
    [0, far],
    [far, ring.length],
  ];
  while (open.length) {
    const [from, to] = /** @type {[number, number]} */ (open.pop());
    let [worst, most] = [-1, tolerance];
    for (let i = from + 1; i < to; i++) {
      const off = offLine(closed[i], closed[from], closed[to]);
      if (off > most) [worst, most] = [i, off];
    }
    if (worst < 0) continue;
    keep[worst] = 1;
    open.push([from, worst], [worst, to]);
  }
  const found = ring.filter((_, i) => keep[i]);
  return found.length >= 3 ? found : ring;
}

/**
 * @param {[number, number]} a
 * @param {[number, number]} b
 */
function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

/**
 * Distance of a point from a stretch of line.
 * @param {[number, number]} point
 * @param {[number, number]} from
 * @param {[number, number]} to
 */
function offLine(point, from, to) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  if (!length) return distance(point, from);
  const along = ((point[0] - from[0]) * dx + (point[1] - from[1]) * dy) / length;
  const at = Math.min(1, Math.max(0, along));
  return distance(point, [from[0] + at * dx, from[1] + at * dy]);
}

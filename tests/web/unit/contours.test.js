import assert from 'node:assert/strict';
import test from 'node:test';
import { signedArea, simplify, toPolygons } from '../../../src/samlet/web/page/lib/contours.js';
import { area } from '../../../src/samlet/web/page/lib/masks.js';
import { drawn, scattered } from './drawing.js';

/** Fill polygons again, by the parity of edges to the left of each pixel's centre. */
function filled(polygons, width, height) {
  const data = new Uint8Array(width * height);
  const rings = polygons.flatMap(({ outer, holes }) => [outer, ...holes]);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let crossings = 0;
      for (const ring of rings) {
        ring.forEach(([x0, y0], i) => {
          const [x1, y1] = ring[(i + 1) % ring.length];
          if (x0 === x1 && x0 <= x && Math.min(y0, y1) <= y && Math.max(y0, y1) > y) crossings++;
        });
      }
      data[y * width + x] = crossings % 2;
    }
  }
  return { data, width, height };
}

test('a ring with a hole, and a pixel that touches it at a corner', () => {
  const polygons = toPolygons(drawn('.....', '.###.', '.#.#.', '.###.', '....#'));
  assert.equal(polygons.length, 2);
  assert.equal(polygons[0].holes.length, 1);
  assert.equal(signedArea(polygons[0].outer), 9);
  assert.equal(signedArea(polygons[0].holes[0]), -1);
  assert.equal(signedArea(polygons[1].outer), 1);
});

test('an island in a hole belongs to no hole', () => {
  const polygons = toPolygons(drawn('#####', '#...#', '#.#.#', '#...#', '#####'));
  assert.deepEqual(polygons.map(({ holes }) => holes.length).sort(), [0, 1]);
});

test('any mask comes back from its outlines, and areas add up', () => {
  for (const share of [0.1, 0.5, 0.9, 1]) {
    const mask = scattered(31, 23, 5, share);
    const polygons = toPolygons(mask);
    assert.deepEqual(filled(polygons, 31, 23), mask);
    const total = polygons.flatMap(({ outer, holes }) => [outer, ...holes]).reduce((sum, ring) => sum + signedArea(ring), 0);
    assert.equal(total, area(mask));
  }
  assert.deepEqual(toPolygons(scattered(9, 9, 1, 0)), []);
});

test('corners within the tolerance go, others stay', () => {
  const stairs = [[0, 0], [40, 0], [40, 40]];
  for (let i = 39; i > 0; i--) stairs.push([i, i + 1], [i, i]);
  assert.equal(simplify(stairs, 1.5).length, 3);
  assert.equal(simplify(stairs, 0).length, stairs.length);
  const square = [[0, 0], [10, 0], [10, 10], [0, 10]];
  assert.deepEqual(simplify(square, 3), square);
});

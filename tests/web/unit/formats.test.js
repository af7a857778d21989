import assert from 'node:assert/strict';
import test from 'node:test';
import { inflateSync } from 'node:zlib';
import { toCoco, toLabelme, toSvg } from '../../../src/samlet/web/page/lib/formats.js';
import { cut } from '../../../src/samlet/web/page/lib/masks.js';
import { fromCounts, fromText } from '../../../src/samlet/web/page/lib/rle.js';
import { drawn } from './drawing.js';

const photograph = { name: 'a.jpg', width: 6, height: 5 };
const ring = { name: 'ring <1>', colour: '#112233', iou: 0.75, mask: drawn('......', '.###..', '.#.#..', '.###..', '......') };
const block = { name: 'block', colour: '#445566', iou: 0.5, mask: drawn('......', '......', '......', '......', '...###') };

test('COCO holds every mask, objects of a name share a category', () => {
  const coco = toCoco(photograph, [ring, block, { ...block, iou: 0.4 }]);
  assert.deepEqual(coco.categories.map(({ name }) => name), ['ring <1>', 'block']);
  assert.deepEqual(coco.annotations.map(({ category_id: id }) => id), [1, 2, 2]);
  const [first] = coco.annotations;
  assert.equal(first.area, 8);
  assert.deepEqual(first.bbox, [1, 1, 3, 3]);
  assert.deepEqual(fromCounts(fromText(first.segmentation.counts), 6, 5), ring.mask);
});

test('SVG has a path an object with its holes, and names that cannot break it', () => {
  const svg = toSvg(photograph, [ring, block]);
  assert.equal(svg.match(/<path /g).length, 2);
  assert.equal(svg.match(/M/g).length, 3);
  assert.ok(svg.includes('ring &#60;1&#62;') && svg.includes('evenodd'));
});

test('labelme has polygons, and a mask where there are holes', async () => {
  const { shapes, imageHeight } = await toLabelme(photograph, [ring, block]);
  assert.equal(imageHeight, 5);
  assert.deepEqual(shapes.map(({ shape_type: type }) => type), ['mask', 'polygon']);
  assert.deepEqual(shapes[0].points, [[1, 1], [3, 3]]);
  assert.equal(shapes[1].points.length, 4);
  const png = Buffer.from(shapes[0].mask, 'base64');
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20), png[24], png[25]], [3, 3, 8, 0]);
  const start = png.indexOf('IDAT') + 4;
  const lines = inflateSync(png.subarray(start, start + png.readUInt32BE(start - 8)));
  assert.deepEqual([...lines], [0, 255, 255, 255, 0, 255, 0, 255, 0, 255, 255, 255]);
});

test('a part of a mask', () => {
  assert.deepEqual(cut(ring.mask, 2, 1, 2, 2), drawn('##', '.#'));
});

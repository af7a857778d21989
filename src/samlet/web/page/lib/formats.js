/** Objects of a photograph in the files of other tools. */
import { simplify, toPolygons } from './contours.js';
import { area, boundingBox, cut } from './masks.js';
import { base64, greyPng } from './png.js';
import { toRle } from './rle.js';

/**
 * @typedef {import('./masks.js').Bitmap} Bitmap
 * @typedef {{name: string, colour: string, iou: number, mask: Bitmap}} Labelled an object at the photograph's size
 * @typedef {{name: string, width: number, height: number}} Photograph
 */

const TOLERANCE = 1; // pixels: how far polygons may leave the mask's edge
const LABELME = '5.8.1'; // the version whose layout this is

/**
 * COCO's JSON; objects of equal names share a category.
 *
 * @param {Photograph} photograph
 * @param {readonly Labelled[]} objects
 */
export function toCoco(photograph, objects) {
  const names = [...new Set(objects.map((object) => object.name))];
  return {
    info: { description: `masks of ${photograph.name}, made with samlet` },
    images: [{ id: 1, file_name: photograph.name, width: photograph.width, height: photograph.height }],
    categories: names.map((name, i) => ({ id: i + 1, name })),
    annotations: objects.map((object, i) => ({
      id: i + 1,
      image_id: 1,
      category_id: names.indexOf(object.name) + 1,
      segmentation: toRle(object.mask),
      area: area(object.mask),
      bbox: boundingBox(object.mask),
      iscrowd: 0,
      score: object.iou,
    })),
  };
}

/**
 * One path an object, its holes cut out, in pixels of the photograph.
 *
 * @param {Photograph} photograph
 * @param {readonly Labelled[]} objects
 */
export function toSvg(photograph, objects) {
  const { width, height } = photograph;
  const paths = objects.map((object) => {
    const rings = toPolygons(object.mask).flatMap((polygon) => [polygon.outer, ...polygon.holes]);
    const way = rings.map((ring) => `M${simplify(ring, TOLERANCE).map((corner) => corner.join(' ')).join('L')}Z`);
    const style = `fill="${object.colour}" fill-opacity="0.5" fill-rule="evenodd"`;
    return `  <path ${style} d="${way.join('')}"><title>${escape(object.name)}</title></path>\n`;
  });
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n${paths.join('')}</svg>\n`;
}

/**
 * labelme's JSON. Its polygons have no holes: an object with holes is a shape of type `mask`, any other a polygon for
 * each of its regions, joined by a group.
 *
 * @param {Photograph} photograph
 * @param {readonly Labelled[]} objects
 */
export async function toLabelme(photograph, objects) {
  const shapes = [];
  for (const [group, object] of objects.entries()) {
    const common = { label: object.name, group_id: group + 1, description: '', flags: {} };
    const polygons = toPolygons(object.mask);
    if (polygons.some((polygon) => polygon.holes.length)) {
      const [x, y, width, height] = boundingBox(object.mask);
      const mask = base64(await greyPng(cut(object.mask, x, y, width, height)));
      const corners = [
        [x, y],
        [x + width - 1, y + height - 1],
      ];
      shapes.push({ ...common, points: corners, shape_type: 'mask', mask });
      continue;
    }
    for (const polygon of polygons) {
      shapes.push({ ...common, points: simplify(polygon.outer, TOLERANCE), shape_type: 'polygon', mask: null });
    }
  }
  return {
    version: LABELME,
    flags: {},
    shapes,
    imagePath: photograph.name,
    imageData: null,
    imageHeight: photograph.height,
    imageWidth: photograph.width,
  };
}

/** @param {string} text */
function escape(text) {
  return text.replace(/[<>&"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

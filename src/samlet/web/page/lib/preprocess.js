import { Frame } from './frame.js';
import { resample } from './resample.js';

/**
 * A photograph as the encoder takes it: resized, normalised, padded with zeros. The same numbers as
 * `samlet.data.transforms.preprocess`.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA
 * @param {Pick<import('./types.js').Model, 'size' | 'resize' | 'mean' | 'std'>} model
 * @returns {{pixels: Float32Array, frame: Frame}} pixels (3, size, size)
 */
export function preprocess(picture, model) {
  if (model.resize === 'stretch') throw new Error('the model resizes as EfficientSAM does, which this page cannot');
  const frame = new Frame(picture.height, picture.width, model.size, model.resize);
  const [height, width] = frame.resized;
  const whole = model.resize === 'longest_side';
  const values = resample(picture.data, picture.width, picture.height, width, height, whole);
  const plane = model.size * model.size;
  const pixels = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const mean = model.mean[channel];
    const std = model.std[channel];
    for (let y = 0; y < height; y++) {
      const target = channel * plane + y * model.size;
      let at = y * width * 3 + channel;
      for (let x = 0; x < width; x++, at += 3) pixels[target + x] = (values[at] - mean) / std;
    }
  }
  return { pixels, frame };
}

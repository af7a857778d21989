// Asks a model that `samlet export --to transformers.js` wrote, through transformers.js itself, in node or in a browser.

/**
 * Answers to several requests on one image.
 *
 * A request is {points: [[[x, y], …], …]} or {boxes: [[x0, y0, x1, y1], …]}, pixels of the image. Its answer has `iou`
 * (prompts by three), `masks` (for each prompt the best mask as runs of equal pixels, row by row, the first run being
 * background), `size` (height, width), `seconds` and `kind`, the class that loaded the model.
 */
export async function ask(transformers, name, dtype, picture, requests) {
  const { AutoProcessor, RawImage, Sam2Model, SamModel } = transformers;
  const processor = await AutoProcessor.from_pretrained(name);
  const image = await RawImage.read(picture);
  const fine = processor.constructor.name.startsWith("Sam2");
  const model = await (fine ? Sam2Model : SamModel).from_pretrained(name, { dtype });
  const answers = [];
  for (const request of requests) {
    const start = performance.now();
    const inputs = await processor(image, asInputs(request, fine));
    const { pred_masks, iou_scores } = await model(inputs);
    const sizes = [inputs.original_sizes, inputs.reshaped_input_sizes];
    const [full] = await processor.post_process_masks(pred_masks, ...sizes);
    const seconds = (performance.now() - start) / 1000;
    answers.push({ ...best(full, iou_scores.data), seconds, kind: fine ? "Sam2Model" : "SamModel" });
  }
  return answers;
}

function asInputs({ points, boxes }, fine) {
  if (points) return { input_points: points };
  if (fine) return { input_boxes: [boxes] };
  // A SamModel's graph has no boxes of its own: their corners are points of labels 2 and 3.
  const corners = boxes.map(([x0, y0, x1, y1]) => [[x0, y0], [x1, y1]]);
  return { input_points: corners, input_labels: corners.map(() => [2, 3]) };
}

/** Of each prompt the scores of its masks, and the mask of the highest. */
function best({ dims: [count, outputs, height, width], data }, scores) {
  const iou = [];
  const masks = [];
  for (let prompt = 0; prompt < count; prompt += 1) {
    const own = Array.from(scores.slice(prompt * outputs, (prompt + 1) * outputs));
    const from = (prompt * outputs + own.indexOf(Math.max(...own))) * height * width;
    iou.push(own);
    masks.push(runs(data.subarray(from, from + height * width)));
  }
  return { iou, masks, size: [height, width] };
}

function runs(values) {
  const found = [];
  let [value, count] = [0, 0];
  for (const one of values) {
    if (one !== value) {
      found.push(count);
      [value, count] = [one, 0];
    }
    count += 1;
  }
  found.push(count);
  return found;
}

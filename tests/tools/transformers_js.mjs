// Asks a folder that `samlet export --to transformers.js` wrote, through transformers.js itself, and prints one JSON line.
//
// node transformers_js.mjs MODEL_FOLDER DTYPE IMAGE PROMPTS
//
// PROMPTS is JSON: {"points": [[[x, y], …], …]} or {"boxes": [[x0, y0, x1, y1], …]}, pixels of the image. The answer has
// `iou` (prompts by three), `masks` (for each prompt the best mask as runs of equal pixels, row by row, the first run
// being background), `size` (height, width) and `seconds`.
import path from "node:path";
import { AutoProcessor, RawImage, Sam2Model, SamModel, env } from "@huggingface/transformers";

const [folder, dtype, picture, text] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(path.resolve(folder));
const name = path.basename(path.resolve(folder));

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

const processor = await AutoProcessor.from_pretrained(name);
const image = await RawImage.read(picture);
const prompts = JSON.parse(text);
const fine = processor.constructor.name.startsWith("Sam2");
const model = await (fine ? Sam2Model : SamModel).from_pretrained(name, { dtype });

const start = performance.now();
let inputs;
if (prompts.points) {
  inputs = await processor(image, { input_points: prompts.points });
} else if (fine) {
  inputs = await processor(image, { input_boxes: [prompts.boxes] });
} else {
  // A SamModel's graph has no boxes of its own: their corners are points of labels 2 and 3.
  const corners = prompts.boxes.map(([x0, y0, x1, y1]) => [[x0, y0], [x1, y1]]);
  inputs = await processor(image, { input_points: corners, input_labels: corners.map(() => [2, 3]) });
}
const { pred_masks, iou_scores } = await model(inputs);
const full = await processor.post_process_masks(pred_masks, inputs.original_sizes, inputs.reshaped_input_sizes);
const seconds = (performance.now() - start) / 1000;
const [count, outputs, height, width] = full[0].dims;
const iou = [];
const masks = [];
for (let prompt = 0; prompt < count; prompt += 1) {
  const scores = Array.from(iou_scores.data.slice(prompt * outputs, (prompt + 1) * outputs));
  const best = scores.indexOf(Math.max(...scores));
  const from = (prompt * outputs + best) * height * width;
  iou.push(scores);
  masks.push(runs(full[0].data.subarray(from, from + height * width)));
}
process.stdout.write(JSON.stringify({ iou, masks, size: [height, width], seconds }) + "\n");

// Asks a folder that `samlet export --to transformers.js` wrote, in node, and prints one JSON line; see ask.mjs.
//
// node transformers_js.mjs MODEL_FOLDER DTYPE IMAGE PROMPTS…
//
// Each of PROMPTS is JSON; the line is a list with an answer for each.
import path from "node:path";
import * as transformers from "@huggingface/transformers";
import { ask } from "./ask.mjs";

const [folder, dtype, picture, ...prompts] = process.argv.slice(2);
transformers.env.allowRemoteModels = false;
transformers.env.localModelPath = path.dirname(path.resolve(folder));
const name = path.basename(path.resolve(folder));
const answers = await ask(transformers, name, dtype, picture, prompts.map((text) => JSON.parse(text)));
process.stdout.write(JSON.stringify(answers) + "\n");

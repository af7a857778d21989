// As transformers_js.mjs, in headless Chromium, from a server on this machine. The page fetches from nowhere else.
//
// node transformers_js_browser.mjs MODEL_FOLDER DTYPE IMAGE PROMPTS…
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { launch, newPage } from "../web/browser/browser.mjs";

const [folder, dtype, picture, ...prompts] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const packages = path.join(here, "node_modules");
const PLACES = {
  model: path.resolve(folder),
  transformers: path.join(packages, "@huggingface", "transformers", "dist"),
  ort: path.join(packages, "onnxruntime-web", "dist"),
  common: path.join(packages, "onnxruntime-common", "dist", "esm"),
  tools: here,
  pictures: path.dirname(path.resolve(picture)),
};
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const PAGE = `<!doctype html><script type="importmap">{"imports": {
  "@huggingface/transformers": "/transformers/transformers.web.js",
  "onnxruntime-web/webgpu": "/ort/ort.webgpu.bundle.min.mjs",
  "onnxruntime-common": "/common/index.js"
}}</script>`;

const server = createServer((request, response) => {
  const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const [, place, ...rest] = decodeURIComponent(new URL(request.url, "http://localhost").pathname).split("/");
  if (!place) {
    response.writeHead(200, { "Content-Type": "text/html", ...isolated }).end(PAGE);
    return;
  }
  const file = path.join(PLACES[place] ?? "", ...rest);
  if (!PLACES[place] || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": TYPES[path.extname(file)] ?? "application/octet-stream", ...isolated });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await launch();
try {
  const page = await newPage(browser);
  const elsewhere = [];
  page.on("request", (request) => {
    if (request.url().startsWith("http") && !request.url().startsWith(url)) elsewhere.push(request.url());
  });
  await page.goto(url);
  const asked = { dtype, picture: `/pictures/${path.basename(picture)}`, prompts: prompts.map((text) => JSON.parse(text)) };
  const answers = await page.evaluate(inPage, asked);
  if (elsewhere.length) throw new Error(`fetched from elsewhere: ${elsewhere.join(", ")}`);
  process.stdout.write(JSON.stringify(answers) + "\n");
} finally {
  await browser.close();
  server.close();
}

async function inPage(asked) {
  const transformers = await import("@huggingface/transformers");
  const { ask } = await import("/tools/ask.mjs");
  Object.assign(transformers.env, { allowLocalModels: true, allowRemoteModels: false, localModelPath: "/", useBrowserCache: false });
  transformers.env.backends.onnx.wasm.wasmPaths = "/ort/";
  return ask(transformers, "model", asked.dtype, asked.picture, asked.prompts);
}

/**
 * Masks of a page, asked in the browser: reads {url, backend, photographs: [{path, prompts: [...]}]} as JSON and writes
 * {backend, photographs: [{encode, answers: [{iou, rle}]}]}, RLE at the size of the photograph.
 */
import { readFileSync } from 'node:fs';
import { launch, newPage } from './browser.mjs';

const asked = JSON.parse(readFileSync(0, 'utf8'));
const browser = await launch(asked.arguments ?? []);
try {
  const page = await newPage(browser, { serviceWorkers: 'block' });
  await page.goto(new URL('runtime/LICENSE', asked.url).href); // a document of the same origin without the page in it
  const photographs = asked.photographs.map(({ path, prompts }) => ({
    data: readFileSync(path).toString('base64'),
    prompts,
  }));
  const found = await page.evaluate(answers, { url: asked.url, backend: asked.backend ?? null, photographs });
  process.stdout.write(JSON.stringify(found));
} finally {
  await browser.close();
}

async function answers({ url, backend, photographs }) {
  const { Client } = await import(`${url}engine/client.js`);
  const { decode } = await import(`${url}ui/photographs.js`);
  const { toRle } = await import(`${url}lib/rle.js`);
  const client = new Client(new Worker(`${url}engine/worker.js`, { type: 'module' }));
  const opened = await client.call('open', { base: url, threads: null, backend });
  const found = [];
  for (const { data, prompts } of photographs) {
    const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
    const { photograph } = await decode(new Blob([bytes]), 'photograph');
    const { width, height, bitmap } = photograph;
    const encode = await client.call('encode', { bitmap }, undefined, [bitmap]);
    const all = [];
    for (const one of prompts) {
      const { answer, mask, times } = await client.call('ask', { prompts: one, output: null, width, height });
      all.push({ iou: answer.iou, rle: toRle(mask), times });
    }
    found.push({ encode, answers: all });
  }
  return { backend: opened.backend, photographs: found };
}

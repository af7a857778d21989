/**
 * How long a person waits on a page, in seconds, or what it holds in memory, in bytes: reads {what, url, query,
 * photograph, large, clicks} as JSON, where `what` is `times` or `memory`.
 */
import { readFileSync } from 'node:fs';
import { launch, newPage, open } from './browser.mjs';

const asked = JSON.parse(readFileSync(0, 'utf8'));
const browser = await launch();
try {
  const page = await newPage(browser, { viewport: { width: 1280, height: 800 } });
  process.stdout.write(JSON.stringify(await (asked.what === 'memory' ? memory(page) : times(page))));
} finally {
  await browser.close();
}

async function times(page) {
  let start = performance.now();
  await open(page, asked.url + asked.query);
  const firstVisit = (performance.now() - start) / 1000;
  await page.locator('#offline', { hasText: 'Works offline' }).waitFor();
  start = performance.now();
  await page.reload();
  await page.locator('#message', { hasText: 'is ready' }).waitFor();
  const nextVisit = (performance.now() - start) / 1000;
  const dropped = await page.evaluate(drop, { ...file(asked.photograph), clicks: asked.clicks });
  const parts = await page.evaluate(timesShown);
  const everything = await page.evaluate(findAll);
  const large = await page.evaluate(drop, { ...file(asked.large), clicks: [asked.clicks[0]] });
  const backend = await page.evaluate(() => document.querySelector('#backend').textContent.trim());
  return { backend, firstVisit, nextVisit, dropped, parts, everything, large };
}

/** After a photograph of 12 megapixels and a few objects. Chromium takes a minute to count. */
async function memory(page) {
  await open(page, asked.url + asked.query);
  await page.evaluate(drop, { ...file(asked.large), clicks: asked.clicks });
  return held(page);
}

function file(path) {
  return { data: readFileSync(path).toString('base64') };
}

/** Bytes of the page as the browser counts them, and of its process alone. */
async function held(page) {
  const { bytes } = await page.evaluate(() => performance.measureUserAgentSpecificMemory());
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  let process = 0;
  for (const { type, id } of processInfo) {
    if (type !== 'renderer') continue;
    const text = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
    const private_ = [...text.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, match) => sum + 1024 * match[1], 0);
    process = Math.max(process, private_);
  }
  return { page: bytes, process };
}

/** Drop a photograph, click as soon as that is possible, then click elsewhere; each until the mask is on the screen. */
async function drop({ data, clicks }) {
  const stage = document.querySelector('#stage');
  const message = document.querySelector('#message');
  const frame = () =>
    new Promise((resolve) => {
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel(); // its message comes after the frame is painted
        port1.onmessage = resolve;
        port2.postMessage(null);
      });
    });
  const said = (pattern) =>
    new Promise((resolve) => {
      const watcher = new MutationObserver(() => {
        if (!pattern.test(message.textContent)) return;
        watcher.disconnect();
        resolve();
      });
      watcher.observe(message, { childList: true, characterData: true, subtree: true });
    });
  const press = async (x, y) => {
    const sheet = document.querySelector('#sheet');
    const box = sheet.getBoundingClientRect();
    const [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
    const done = said(/^object \d/);
    const event = { clientX, clientY, pointerId: 1, pointerType: 'mouse', button: 0, bubbles: true };
    stage.setPointerCapture = () => {};
    stage.dispatchEvent(new PointerEvent('pointerdown', event));
    stage.dispatchEvent(new PointerEvent('pointerup', event));
    await done;
    await frame();
  };
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], `photograph${bytes.length}.jpg`, { type: 'image/jpeg' }));
  const ready = said(/is ready|scaled to/);
  const start = performance.now();
  dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  await ready;
  await press(...clicks[0]);
  const first = (performance.now() - start) / 1000;
  const later = [];
  for (const [x, y] of clicks.slice(1)) {
    document.querySelector('#new').click();
    await frame();
    const from = performance.now();
    await press(x, y);
    later.push((performance.now() - from) / 1000);
  }
  return { first, later };
}

function timesShown() {
  const names = [...document.querySelectorAll('#times dt')].map((one) => one.textContent);
  const values = [...document.querySelectorAll('#times dd')].map((one) => parseFloat(one.textContent) / 1000);
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

async function findAll() {
  document.querySelector('#everything').click();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const found = /(\d+) objects? found \((\d+) clicks, ([\d.]+) s/.exec(document.querySelector('#message').textContent);
    if (found) return { objects: Number(found[1]), clicks: Number(found[2]), seconds: Number(found[3]) };
  }
}

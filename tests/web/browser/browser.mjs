/** Chromium with a page of samlet in it. */
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

/** Milliseconds that anything may take: machines may be slow and busy, and what never comes is told all the same. */
export const PATIENCE = 900_000;

/** @param {string[]} [more] arguments */
export function launch(more = []) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, headless: true, args: [...ARGUMENTS, ...more], timeout: PATIENCE });
}

/**
 * A page in a context of its own. SAMLET_SLOWER is how many times slower its processor shall seem.
 *
 * @param {import('playwright-core').Browser} browser
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const rate = Number(process.env.SAMLET_SLOWER ?? 1);
  if (rate > 1) {
    const session = await context.newCDPSession(page);
    await session.send('Emulation.setCPUThrottlingRate', { rate });
  }
  return page;
}

/** Open the page and wait until its first photograph is encoded. */
export async function open(page, url) {
  await page.goto(url);
  await ready(page);
}

/** Ask until the answer is what is wanted, or patience ends; the last answer. */
export async function until(ask, wanted) {
  const end = Date.now() + PATIENCE / 5;
  let found = await ask();
  while (!wanted(found) && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found = await ask();
  }
  return found;
}

/** Wait until the photograph is encoded. */
export async function ready(page) {
  await page.locator('#loading').waitFor({ state: 'hidden' });
  await page.locator('#message', { hasText: 'is ready' }).waitFor();
}

/** A place on the screen of a pixel of the photograph. */
export function place(page, x, y) {
  return page.evaluate(
    ([px, py]) => {
      const sheet = document.querySelector('#sheet');
      const box = sheet.getBoundingClientRect();
      const scale = box.width / sheet.offsetWidth;
      return { x: box.left + px * scale, y: box.top + py * scale };
    },
    [x, y],
  );
}

/** Click on a pixel of the photograph and wait for the answer. */
export async function click(page, x, y, options = {}) {
  const before = await page.locator('#message').innerText();
  const at = await place(page, x, y);
  await page.mouse.click(at.x, at.y, options);
  await page.waitForFunction((text) => document.querySelector('#message').innerText !== text, before);
}

/** Drag from one pixel of the photograph to another and wait for the answer. */
export async function drag(page, from, to) {
  const before = await page.locator('#message').innerText();
  const [a, b] = [await place(page, ...from), await place(page, ...to)];
  await page.mouse.move(a.x, a.y);
  await page.mouse.down();
  await page.mouse.move((a.x + b.x) / 2, (a.y + b.y) / 2);
  await page.mouse.move(b.x, b.y);
  await page.mouse.up();
  await page.waitForFunction((text) => document.querySelector('#message').innerText !== text, before);
}

/** Away from the photograph, so that no preview is drawn. Frames may be late: what is painted is asked with `until`. */
export function away(page) {
  return page.mouse.move(2, 2);
}

/** The colour and opacity of the masks at a pixel of the photograph. */
export function colourAt(page, x, y) {
  return page.evaluate(
    ([px, py]) => {
      const canvas = document.querySelector('#masks');
      const scale = canvas.width / document.querySelector('#sheet').offsetWidth;
      return [...canvas.getContext('2d').getImageData(Math.floor(px * scale), Math.floor(py * scale), 1, 1).data];
    },
    [x, y],
  );
}

/** Whether a mask comes to cover a pixel of the photograph, or to leave it. */
export async function isCovered(page, [x, y], wanted = true) {
  const painted = ([, , , alpha]) => alpha > 0;
  const colour = await until(() => colourAt(page, x, y), (one) => painted(one) === wanted);
  return painted(colour);
}

/** How many pixels the masks on the screen cover. */
export function covered(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector('#masks');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i]) count++;
    return count;
  });
}

/** Chromium with a page of samlet in it. */
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

/** @param {string[]} [more] arguments */
export function launch(more = []) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, headless: true, args: [...ARGUMENTS, ...more] });
}

/** Open the page and wait until its first photograph is encoded. */
export async function open(page, url) {
  await page.goto(url);
  await ready(page);
}

/** Ask until the answer is what is wanted, or for a minute; the last answer. Machines may be slow. */
export async function until(ask, wanted) {
  const end = Date.now() + 60_000;
  let found = await ask();
  while (!wanted(found) && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found = await ask();
  }
  return found;
}

/** Wait until the photograph is encoded. */
export async function ready(page) {
  await page.locator('#loading').waitFor({ state: 'hidden', timeout: 300_000 });
  await page.locator('#message', { hasText: 'is ready' }).waitFor({ timeout: 300_000 });
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

/** Away from the photograph, so that no preview is drawn. */
export async function away(page) {
  await page.mouse.move(2, 2);
  await page.waitForTimeout(250);
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

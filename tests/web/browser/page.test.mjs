/**
 * The page in a real browser. SAMLET_PAGE is its address on a server that isolates it, SAMLET_PLAIN on one that does
 * not, SAMLET_SMALL that of a page with a tiny model, which stands in SAMLET_SMALL_FOLDER and is
 * changed; files that are saved go to SAMLET_OUT, for others to read.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, beforeEach, afterEach, describe, test } from 'node:test';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  away, click, colourAt, covered, drag, isCovered, launch, newPage, open, place, ready, until,
} from './browser.mjs';

const URL_ISOLATED = process.env.SAMLET_PAGE;
const URL_PLAIN = process.env.SAMLET_PLAIN;
const URL_SMALL = process.env.SAMLET_SMALL;
const SMALL = process.env.SAMLET_SMALL_FOLDER;
const OUT = process.env.SAMLET_OUT;
const DOG = [214, 250];
const OTHER_DOG = [305, 415];
const FIRST_LOAD = 15e6;
// On a busy machine a service worker may start later than the page waits for it. Then the newer page comes with the next
// visit.
const VISITS = 5;
const NEWER = 60_000; // milliseconds

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** A page whose errors fail the test. */
async function fresh(options = {}) {
  const page = await newPage(browser, { viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...options });
  page.problems = [];
  page.hosts = new Set();
  page.on('pageerror', (error) => page.problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && page.problems.push(message.text()));
  page.on('request', (request) => request.url().startsWith('http') && page.hosts.add(new URL(request.url()).host));
  return page;
}

async function shot(page, name) {
  if (OUT) await page.screenshot({ path: path.join(OUT, `${name}.png`) });
}

describe('on a desk', () => {
  let page;
  before(async () => {
    page = await fresh();
    await open(page, URL_ISOLATED);
  });
  after(() => page.context().close());
  beforeEach(async () => {
    await page.locator('.gallery [data-name="astronaut.jpg"]').click();
    await page.locator('#message', { hasText: 'astronaut.jpg is ready' }).waitFor();
    await page.locator('.gallery [data-name="dogs.jpg"]').click();
    await page.locator('#message', { hasText: 'dogs.jpg is ready' }).waitFor();
    await page.locator('[data-tool=add]').click();
  });
  afterEach(() => assert.deepEqual(page.problems, []));

  test('loads from one place alone, isolated, in few bytes', async () => {
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    assert.deepEqual([...page.hosts], [new URL(URL_ISOLATED).host]);
    const listing = await page.evaluate(async () => (await fetch('files.json')).json());
    assert.ok(listing.first_load_bytes <= FIRST_LOAD, `${listing.first_load_bytes} bytes`);
    assert.match(await page.locator('#backend').innerText(), /WebAssembly|WebGPU/);
  });

  test('a pointer shows a preview, a click makes a mask', async () => {
    const at = await place(page, ...DOG);
    await page.mouse.move(at.x, at.y);
    assert.ok(await isCovered(page, DOG), 'a preview');
    assert.equal(await page.locator('.objects li').count(), 0);
    await away(page);
    assert.equal(await until(() => covered(page), (share) => share === 0), 0);
    await click(page, ...DOG);
    await away(page);
    assert.ok(await isCovered(page, DOG));
    assert.ok(!(await isCovered(page, [40, 700], false)));
    assert.match(await page.locator('#message').innerText(), /object 1: \d+\.\d %/);
    assert.equal(await page.locator('#marks circle').count(), 1);
  });

  test('a right click and the remove tool take away', async () => {
    await click(page, ...DOG);
    await away(page);
    await click(page, 225, 330, { button: 'right' });
    await away(page);
    assert.equal(await page.locator('.objects li').count(), 1);
    assert.ok(!(await isCovered(page, [225, 330], false)));
    await page.keyboard.press('s');
    await click(page, 250, 300);
    assert.equal(await page.locator('#marks circle[fill="#b91c1c"]').count(), 2);
  });

  test('a box', async () => {
    await drag(page, [160, 180], [290, 340]);
    await away(page);
    assert.ok(await isCovered(page, DOG));
    assert.equal(await page.locator('#marks rect').count(), 2);
    await page.locator('[data-tool=box]').click();
    await page.keyboard.press('n');
    await drag(page, [400, 520], [240, 340]);
    await away(page);
    assert.equal(await page.locator('.objects li').count(), 2);
    assert.ok(await isCovered(page, OTHER_DOG));
  });

  test('two objects, rename, delete, undo, redo', async () => {
    await click(page, ...DOG);
    await page.locator('#new').click();
    await click(page, ...OTHER_DOG);
    await away(page);
    assert.ok((await isCovered(page, DOG)) && (await isCovered(page, OTHER_DOG)));
    const [first, second] = [await colourAt(page, ...DOG), await colourAt(page, ...OTHER_DOG)];
    assert.notDeepEqual(first.slice(0, 3), second.slice(0, 3));
    await page.locator('.objects input').first().fill('upper dog');
    await page.keyboard.press('Enter');
    await page.locator('.objects .delete').last().click();
    await away(page);
    assert.ok(!(await isCovered(page, OTHER_DOG, false)));
    await page.keyboard.press('Control+z');
    await away(page);
    assert.ok(await isCovered(page, OTHER_DOG));
    for (let i = 0; i < 3; i++) await page.locator('#undo').click();
    await away(page);
    assert.equal(await until(() => covered(page), (share) => share === 0), 0);
    assert.ok(await page.locator('#undo').isDisabled());
    for (let i = 0; i < 3; i++) await page.keyboard.press('Control+Shift+z');
    assert.equal(await page.locator('.objects input').first().inputValue(), 'upper dog');
  });

  test('the three masks of a click', async () => {
    await click(page, ...DOG);
    await away(page);
    assert.ok(await isCovered(page, DOG));
    const sizes = new Set([await covered(page)]);
    for (let i = 0; i < 2; i++) {
      await page.locator('#other').click();
      sizes.add(await until(() => covered(page), (share) => share > 0 && !sizes.has(share)));
    }
    assert.equal(sizes.size, 3, 'each press shows one that was not shown yet, whichever was the first');
  });

  test('everything, with progress, cancelled and whole', async () => {
    await page.locator('#density').selectOption('32');
    await page.locator('#everything').click();
    await page.waitForFunction(() => Number(document.querySelector('#everything-bar').getAttribute('value')) > 0);
    await page.locator('#everything-stop').click();
    await page.locator('#message', { hasText: 'Cancelled' }).waitFor();
    await page.locator('#density').selectOption('8');
    await page.locator('#everything').click();
    await page.locator('#message', { hasText: /^\d+ objects? found \(64 clicks/ }).waitFor();
    assert.ok((await page.locator('.objects li').count()) > 2);
    await shot(page, 'everything');
    await page.locator('#undo').click();
  });

  test('keys alone', async () => {
    await page.locator('#stage').focus();
    for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowUp');
    await page.keyboard.press('Shift+ArrowLeft');
    await page.keyboard.press('Enter');
    await page.locator('#message', { hasText: 'object 1' }).waitFor();
    const share = await page.locator('#message').innerText();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('-');
    await page.waitForFunction((text) => document.querySelector('#message').innerText !== text, share);
    assert.equal(await page.locator('#marks circle').count(), 2);
    await page.keyboard.press('Delete');
    assert.equal(await page.locator('.objects li').count(), 0);
  });

  test('zoom keeps places', async () => {
    const at = await place(page, ...DOG);
    await page.mouse.move(at.x, at.y);
    await page.mouse.wheel(0, -600);
    const then = await place(page, ...DOG);
    assert.ok(Math.hypot(at.x - then.x, at.y - then.y) < 2);
    await click(page, ...DOG);
    assert.ok(Math.abs(Number(await page.locator('#marks circle').getAttribute('cx')) - DOG[0]) < 2);
    await page.locator('#fit').click();
  });

  test('saves what others read', async () => {
    await click(page, ...DOG);
    await page.locator('.objects input').first().fill('dog');
    await page.keyboard.press('Enter');
    await page.keyboard.press('n');
    await click(page, 480, 120);
    await page.locator('.swatch').first().click();
    for (const format of ['cutout', 'coco', 'svg', 'labelme']) {
      const coming = page.waitForEvent('download');
      await page.locator(`[data-save=${format}]`).click();
      const file = await coming;
      assert.match(file.suggestedFilename(), /^dogs\.(dog\.png|coco\.json|svg|json)$/);
      await file.saveAs(path.join(OUT, file.suggestedFilename()));
    }
    const coco = JSON.parse(readFileSync(path.join(OUT, 'dogs.coco.json'), 'utf8'));
    assert.deepEqual(coco.categories.map(({ name }) => name), ['dog', 'object 2']);
  });

  test('files of one\'s own, dropped, pasted, from the camera, and what is no picture', async () => {
    const broken = { name: 'broken.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') };
    await page.locator('#file').setInputFiles(broken);
    await page.locator('#message.error', { hasText: 'broken.jpg is no picture' }).waitFor();
    const [width, height] = [4200, 3000];
    await page.evaluate(
      async ([w, h]) => {
        const canvas = new OffscreenCanvas(w, h);
        const context = canvas.getContext('2d');
        context.fillStyle = 'teal';
        context.fillRect(0, 0, w, h);
        context.fillStyle = 'gold';
        context.fillRect(w / 4, h / 4, w / 2, h / 2);
        const file = new File([await canvas.convertToBlob()], 'large.png', { type: 'image/png' });
        const data = new DataTransfer();
        data.items.add(file);
        dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
      },
      [width, height],
    );
    await page.locator('#message', { hasText: 'scaled to' }).waitFor();
    await page.evaluate(async () => {
      const canvas = new OffscreenCanvas(300, 200);
      canvas.getContext('2d').fillRect(50, 50, 100, 100);
      const data = new DataTransfer();
      data.items.add(new File([await canvas.convertToBlob()], 'pasted.png', { type: 'image/png' }));
      dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }));
    });
    await page.locator('#message', { hasText: 'pasted.png is ready' }).waitFor();
    await page.locator('#camera').click();
    await page.waitForFunction(() => document.querySelector('#camera-video').videoWidth > 0);
    await page.locator('#camera-take').click();
    await page.locator('#message', { hasText: 'camera.png is ready' }).waitFor();
  });

  test('dark and light, and names for those who do not see it', async () => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.locator('#theme').click();
    assert.notEqual(await ground(), light);
    await page.waitForTimeout(300);
    await shot(page, 'dark');
    await page.locator('#theme').click();
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input:not([hidden]), select, progress, dialog, [role=application]')]
        .filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length))
        .map((one) => one.outerHTML),
    );
    assert.deepEqual(nameless, []);
  });
});

test('without a network after the first visit', async () => {
  const page = await fresh();
  await open(page, URL_ISOLATED);
  await page.locator('#offline', { hasText: 'Works offline' }).waitFor();
  await page.context().setOffline(true);
  await page.reload();
  await ready(page);
  await click(page, ...DOG);
  assert.match(await page.locator('#message').innerText(), /object 1/);
  await page.locator('.gallery [data-name="tulips.jpg"]').click();
  await page.locator('#message', { hasText: 'tulips.jpg is ready' }).waitFor();
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test('from a server that does not isolate, the service worker does', async () => {
  const page = await fresh();
  await open(page, URL_PLAIN);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  await page.context().close();
});

test('without isolation: one thread, and the page says so', async () => {
  const page = await fresh({ serviceWorkers: 'block' });
  await open(page, URL_PLAIN);
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  assert.match(await page.locator('#backend').innerText(), /1 thread$/);
  await page.locator('#about summary').click();
  assert.match(await page.locator('#note').innerText(), /not cross-origin isolated/);
  await click(page, ...DOG);
  assert.match(await page.locator('#message').innerText(), /object 1/);
  await page.context().close();
});

test('on a phone: fingers, and nothing wider than the screen', async () => {
  const page = await fresh({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  await open(page, URL_ISOLATED);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, 'no sideways scrolling');
  const at = await place(page, ...DOG);
  await page.touchscreen.tap(at.x, at.y);
  await page.locator('#message', { hasText: 'object 1' }).waitFor();
  await page.locator('[data-tool=remove]').tap();
  const off = await place(page, 225, 330);
  await page.touchscreen.tap(off.x, off.y);
  await page.locator('#marks circle >> nth=1').waitFor();
  await page.waitForTimeout(300);
  await shot(page, 'phone');
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

describe('WebGPU, in software', () => {
  let other;
  before(async () => {
    other = await launch(['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']);
  });
  after(() => other.close());

  /** What the page says of its backend. */
  async function told(query, prepare = () => {}) {
    const page = await newPage(other, { serviceWorkers: 'block' });
    await prepare(page);
    await open(page, URL_SMALL + query);
    await page.locator('#about summary').click();
    const found = { head: await page.locator('#backend').innerText(), note: await page.locator('#note').innerText() };
    await page.context().close();
    return found;
  }

  test('is not used of its own accord', async () => {
    assert.match((await told('')).head, /^WebAssembly/);
  });

  test('is used after its masks were compared', async () => {
    const { head, note } = await told('?backend=WebGPU');
    assert.match(head, /^WebGPU/);
    assert.match(note, /WebGPU was checked: mask IoU with the stored masks (0\.99|1\.0)/);
  });

  test('is left alone where it gives other masks', async () => {
    const wrong = (page) =>
      page.route('**/reference.f32.gz', async (route) => {
        const bytes = new Uint8Array(await (await route.fetch()).body());
        const logits = new Float32Array(new Uint8Array(gunzipSync(bytes)).buffer);
        await route.fulfill({ body: gzipSync(Buffer.from(logits.map((value) => -value).buffer)) });
      });
    const { head, note } = await told('?backend=WebGPU', wrong);
    assert.match(head, /^WebAssembly/);
    assert.match(note, /computes other masks/);
  });
});

test('where everything mode finds nothing, the page says what to choose', async () => {
  const page = await fresh({ serviceWorkers: 'block' });
  await page.route('**/model/model.json', async (route) => {
    const model = await (await route.fetch()).json();
    await route.fulfill({ json: { ...model, everything_iou: 10 } }); // no mask is as good
  });
  await open(page, URL_SMALL);
  await page.locator('#density').selectOption('8');
  const said = { sure: /^0 objects.*choose “likely” or “any”\.$/, likely: /^0 objects.*: choose “any”\.$/, any: /^0 objects.*s\)\.$/ };
  for (const [sureness, words] of Object.entries(said)) {
    await page.locator('#sureness').selectOption(sureness);
    await page.locator('#everything').click();
    await page.locator('#message', { hasText: words }).waitFor();
  }
  assert.ok(await page.locator('#undo').isDisabled());
  await page.context().close();
});

test('a newer page takes the place of the old one', async () => {
  const page = await fresh();
  await open(page, URL_SMALL);
  await page.locator('#offline', { hasText: 'Works offline' }).waitFor();
  const [listing, index] = ['files.json', 'index.html'].map((name) => path.join(SMALL, name));
  const files = JSON.parse(readFileSync(listing, 'utf8'));
  writeFileSync(index, readFileSync(index, 'utf8').replace('<title>samlet:', '<title>newer:'));
  writeFileSync(listing, JSON.stringify({ ...files, version: 'newer' }));
  const isNewer = () => document.title.startsWith('newer');
  for (let visit = 0; visit < VISITS; visit += 1) {
    await page.goto(URL_SMALL);
    const came = page.waitForFunction(isNewer, null, { timeout: NEWER });
    if (await came.then(() => true, () => false)) break;
  }
  assert.ok(await page.evaluate(isNewer), 'the newer page');
  await ready(page);
  assert.equal((await page.evaluate(() => caches.keys())).join(), 'samlet newer');
  await page.context().close();
});

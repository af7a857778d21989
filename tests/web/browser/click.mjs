/** One click on the page at SAMLET_PAGE: prints what it says, what it could not fetch, and whether it works offline. */
import { click, launch, newPage, open } from './browser.mjs';

const browser = await launch();
try {
  const page = await newPage(browser);
  const [problems, missing] = [[], []];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('response', (response) => response.status() >= 400 && missing.push(response.url()));
  page.on('requestfailed', (request) => missing.push(request.url()));
  await open(page, process.env.SAMLET_PAGE);
  await click(page, 214, 250);
  const message = await page.locator('#message').innerText();
  await page.locator('#offline', { hasText: 'Works offline' }).waitFor();
  const offline = await page.locator('#offline').innerText();
  process.stdout.write(JSON.stringify({ message, problems, missing, offline }));
} finally {
  await browser.close();
}

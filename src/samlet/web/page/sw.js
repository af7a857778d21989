/**
 * The service worker: every file of the page is fetched once and kept, and every answer carries the headers that
 * cross-origin isolation asks for. A page with other files has another version, and with it another cache.
 */
const worker = /** @type {any} */ (self);
const CACHE = `samlet ${new URL(location.href).searchParams.get('version')}`;
const LISTING = 'files.json';
const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

worker.addEventListener('install', (/** @type {any} */ event) => {
  event.waitUntil(worker.skipWaiting());
});

worker.addEventListener('activate', (/** @type {any} */ event) => {
  event.waitUntil(takeOver());
});

worker.addEventListener('fetch', (/** @type {any} */ event) => {
  const { request } = event;
  const url = new URL(request.url);
  const own = request.method === 'GET' && url.href.startsWith(worker.registration.scope);
  if (own) event.respondWith(answer(url));
});

worker.addEventListener('message', (/** @type {any} */ event) => {
  if (event.data === 'claim') event.waitUntil(worker.clients.claim());
  if (event.data === 'keep') event.waitUntil(keep().then((kept) => event.ports[0].postMessage(kept ? 'kept' : 'not')));
});

async function takeOver() {
  for (const name of await caches.keys()) {
    if (name.startsWith('samlet ') && name !== CACHE) await caches.delete(name);
  }
  await worker.clients.claim();
}

/** @param {URL} url */
async function answer(url) {
  const cache = await caches.open(CACHE);
  const key = keyOf(url);
  const known = await cache.match(key);
  const isListing = key.endsWith(`/${LISTING}`);
  if (known && !isListing) return isolated(known);
  try {
    const response = await fetch(key, { cache: 'no-cache' });
    if (response.ok) await cache.put(key, response.clone());
    return isolated(response);
  } catch (error) {
    if (known) return isolated(known);
    throw error;
  }
}

/** The address without a query; that of a folder is its index. @param {URL} url */
function keyOf(url) {
  return url.origin + (url.pathname.endsWith('/') ? `${url.pathname}index.html` : url.pathname);
}

/** @param {Response} response */
function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

/** Fetch what is not kept yet, but for the runtime, of which this browser needs one build, kept when it was opened. */
async function keep() {
  const { files } = await (await answer(new URL(LISTING, worker.registration.scope))).json();
  for (const { path } of files) {
    if (path.startsWith('runtime/ort.')) continue;
    const response = await answer(new URL(path, worker.registration.scope));
    if (!response.ok) return false;
    await response.body?.cancel();
  }
  return true;
}

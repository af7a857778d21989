const PATIENCE = 4000; // milliseconds until the page does without a service worker
const RELOADED = 'samlet-reloaded';

/**
 * Start the service worker, which keeps all files for use without a network and makes the page cross-origin isolated
 * where the server does not, so that threads can be used. For the latter the page is loaded once more.
 *
 * @returns {Promise<'kept' | 'none' | 'reloading'>}
 */
export async function startOffline() {
  if (!('serviceWorker' in navigator) || !isSecureContext) return 'none';
  try {
    const { version } = await (await fetch('files.json')).json();
    await navigator.serviceWorker.register(`sw.js?version=${version}`);
    const controlled = await Promise.race([controller(), wait(PATIENCE)]);
    if (!controlled) return 'none';
    if (!crossOriginIsolated && !sessionStorage.getItem(RELOADED)) {
      sessionStorage.setItem(RELOADED, 'yes');
      location.reload();
      return 'reloading';
    }
    return 'kept';
  } catch {
    return 'none';
  }
}

/** Ask the service worker to keep what was not needed yet. @returns {Promise<boolean>} whether all is kept */
export async function keepAll() {
  const worker = navigator.serviceWorker?.controller;
  if (!worker) return false;
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    port1.onmessage = (event) => resolve(event.data === 'kept');
  });
  worker.postMessage('keep', [port2]);
  return /** @type {Promise<boolean>} */ (answer);
}

/** @returns {Promise<boolean>} */
function controller() {
  if (navigator.serviceWorker.controller) return Promise.resolve(true);
  return new Promise((resolve) =>
    navigator.serviceWorker.addEventListener('controllerchange', () => resolve(true), { once: true }),
  );
}

/**
 * @param {number} milliseconds
 * @returns {Promise<boolean>}
 */
function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(() => resolve(false), milliseconds));
}

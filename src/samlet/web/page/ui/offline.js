const PATIENCE = 10_000; // milliseconds until the page does without a service worker, until the next visit
const RELOADED = 'samlet-reloaded';

/**
 * Start the service worker, which keeps all files for use without a network and makes the page cross-origin isolated
 * where the server does not, so that threads can be used. For the latter the page is loaded once more, and so it is
 * where a newer page has come.
 *
 * @returns {Promise<'kept' | 'none' | 'reloading'>}
 */
export async function startOffline() {
  if (!('serviceWorker' in navigator) || !isSecureContext) return 'none';
  try {
    const { version } = await (await fetch('files.json')).json();
    const script = new URL(`sw.js?version=${version}`, document.baseURI).href;
    const before = navigator.serviceWorker.controller?.scriptURL;
    const controlled = before === script ? Promise.resolve(true) : takesOver();
    const { active } = await navigator.serviceWorker.register(script);
    active?.postMessage('claim'); // a page that was loaded past its service worker has none
    if (!(await Promise.race([controlled, wait(PATIENCE)]))) return 'none';
    const renewed = before !== undefined && before !== script;
    const bare = !crossOriginIsolated && !sessionStorage.getItem(RELOADED);
    if (!renewed && !bare) return 'kept';
    sessionStorage.setItem(RELOADED, 'yes');
    location.reload();
    return 'reloading';
  } catch {
    return 'none';
  }
}

/**
 * Ask the service worker to keep what was not needed yet. One that starts slowly is waited for.
 * @returns {Promise<boolean>} whether all is kept
 */
export async function keepAll() {
  const { serviceWorker } = navigator;
  if (!(await serviceWorker?.getRegistration())) return false;
  const late = takesOver();
  if (!serviceWorker.controller) await late;
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    port1.onmessage = (event) => resolve(event.data === 'kept');
  });
  serviceWorker.controller?.postMessage('keep', [port2]);
  return /** @type {Promise<boolean>} */ (answer);
}

/** @returns {Promise<boolean>} */
function takesOver() {
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

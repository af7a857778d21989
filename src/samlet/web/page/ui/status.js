/** @typedef {import('../lib/types.js').Model} Model */

/** @type {Record<string, string>} */
const PARTS = {
  fetch: 'fetching runtime and model',
  open: 'opening the model',
  check: 'checking the backend',
  read: 'reading the photograph',
  prepare: 'resizing the photograph',
  encode: 'encoder, once a photograph',
  decode: 'decoder, each click',
  draw: 'drawing, each click',
};

/**
 * One line for people, read out by screen readers.
 *
 * @param {HTMLElement} root
 * @param {string} text
 * @param {boolean} [isError]
 */
export function say(root, text, isError = false) {
  root.textContent = text;
  root.classList.toggle('error', isError);
}

/**
 * What computes, and how it is set up.
 *
 * @param {{name: string, threads: number, isolated: boolean, remark: string}} backend
 * @param {Model} model
 * @returns {{head: string, note: string}}
 */
export function describe(backend, model) {
  const threads = backend.threads === 1 ? '1 thread' : `${backend.threads} threads`;
  const alone = backend.isolated ? '' : ' The page is not cross-origin isolated, so it runs in one thread.';
  return {
    head: `${backend.name === 'WebGPU' ? 'WebGPU and WebAssembly' : backend.name}, ${threads}`,
    note: `${model.name} at ${model.size} px, ${model.weights} weights, made with samlet ${model.samlet}.${alone} ${backend.remark}`,
  };
}

/**
 * @param {HTMLElement} root a description list
 * @param {Record<string, number>} times milliseconds by part
 */
export function showTimes(root, times) {
  const rows = Object.entries(PARTS)
    .filter(([name]) => name in times && !(name === 'check' && times[name] < 1))
    .flatMap(([name, what]) => {
      const term = document.createElement('dt');
      term.textContent = what;
      const value = document.createElement('dd');
      value.textContent = `${Math.round(times[name])} ms`;
      return [term, value];
    });
  root.replaceChildren(...rows);
}

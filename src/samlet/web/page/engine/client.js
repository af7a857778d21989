/** The worker as a page sees it: a call is a promise. */
export class Client {
  /** @param {Worker} worker */
  constructor(worker) {
    this.worker = worker;
    this.next = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, tell: (told: any) => void}>} */
    this.waiting = new Map();
    worker.addEventListener('message', (event) => this.receive(event.data));
    worker.addEventListener('error', (event) => this.fail(event.message || 'the worker could not be started'));
  }

  /**
   * @param {string} method
   * @param {any} [args]
   * @param {(told: any) => void} [tell] progress
   * @param {Transferable[]} [moved]
   * @returns {Promise<any>}
   */
  call(method, args = {}, tell = () => {}, moved = []) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, tell });
      this.worker.postMessage({ id, method, args }, moved);
    });
  }

  /** @param {{id: number, value?: any, error?: string, told?: any}} message */
  receive(message) {
    const entry = this.waiting.get(message.id);
    if (!entry) return;
    if ('told' in message) {
      entry.tell(message.told);
      return;
    }
    this.waiting.delete(message.id);
    if (message.error === undefined) entry.resolve(message.value);
    else entry.reject(new Error(message.error));
  }

  /** @param {string} reason */
  fail(reason) {
    for (const entry of this.waiting.values()) entry.reject(new Error(reason));
    this.waiting.clear();
  }
}

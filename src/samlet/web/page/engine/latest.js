/**
 * At most one request under way, and of those that come meanwhile only the latest: what a pointer that moves asks for.
 *
 * @template Request, Value
 */
export class Latest {
  /**
   * @param {(request: Request) => Promise<Value>} run
   * @param {(value: Value, request: Request) => void} show told of every answer that nobody cancelled
   */
  constructor(run, show) {
    this.run = run;
    this.show = show;
    this.busy = false;
    /** @type {{request: Request} | null} */
    this.next = null;
    this.round = 0;
  }

  /** @param {Request} request */
  ask(request) {
    this.next = { request };
    if (!this.busy) void this.work();
  }

  /** Nothing that was asked is wanted any more. */
  cancel() {
    this.next = null;
    this.round++;
  }

  async work() {
    this.busy = true;
    while (this.next) {
      const { request } = this.next;
      const { round } = this;
      this.next = null;
      try {
        const value = await this.run(request);
        if (round === this.round) this.show(value, request);
      } catch {
        // A preview that fails is not shown; a click on the same place says why.
      }
    }
    this.busy = false;
  }
}

const MOST_STEPS = 100;

/**
 * A value with its past and future.
 * @template Value
 */
export class History {
  /** @param {Value} value */
  constructor(value) {
    /** @type {Value[]} */
    this.past = [];
    this.value = value;
    /** @type {Value[]} */
    this.future = [];
  }

  /**
   * A step that can be undone; the same value again is none.
   * @param {Value} value
   */
  commit(value) {
    if (value === this.value) return;
    this.past = [...this.past, this.value].slice(-MOST_STEPS);
    this.value = value;
    this.future = [];
  }

  /**
   * A change that no undo stops at, such as a selection.
   * @param {Value} value
   */
  amend(value) {
    this.value = value;
  }

  get canUndo() {
    return this.past.length > 0;
  }

  get canRedo() {
    return this.future.length > 0;
  }

  undo() {
    const before = this.past.pop();
    if (before === undefined) return;
    this.future.push(this.value);
    this.value = before;
  }

  redo() {
    const after = this.future.pop();
    if (after === undefined) return;
    this.past.push(this.value);
    this.value = after;
  }

  /**
   * Begin anew.
   * @param {Value} value
   */
  reset(value) {
    this.past = [];
    this.value = value;
    this.future = [];
  }
}

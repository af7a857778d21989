/** How a photograph lies in the encoder's square input: at the top left, padded at the right and bottom. */
export class Frame {
  /**
   * @param {number} height of the photograph, pixels
   * @param {number} width
   * @param {number} size side of the encoder's input, pixels
   * @param {import('./types.js').Model['resize']} resize
   */
  constructor(height, width, size, resize) {
    this.height = height;
    this.width = width;
    this.size = size;
    this.resize = resize;
  }

  /** Height and width of the photograph inside the input. */
  get resized() {
    if (this.resize !== 'longest_side') return [this.size, this.size];
    const scale = this.size / Math.max(this.height, this.width);
    return [this.height, this.width].map((side) => Math.max(1, Math.floor(side * scale + 0.5)));
  }

  /**
   * Pixels of the photograph to pixels of the input.
   * @param {number} x
   * @param {number} y
   * @returns {[number, number]}
   */
  toInput(x, y) {
    const [height, width] = this.resized;
    return [(x * width) / this.width, (y * height) / this.height];
  }
}

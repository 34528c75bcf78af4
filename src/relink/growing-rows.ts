const FIRST_ROWS = 256;

/** Rows of 32-bit words that grow, zero at first. */
export class GrowingRows {
  readonly #words: number;
  #view: Uint32Array;
  #count = 0;

  constructor(words: number) {
    this.#words = words;
    this.#view = new Uint32Array(words * FIRST_ROWS);
  }

  get count(): number {
    return this.#count;
  }

  /** The words of all rows and of rows to come; valid until the next is added. */
  get view(): Uint32Array {
    return this.#view;
  }

  /** @returns where the new row begins in `view` */
  add(): number {
    const at = this.#count * this.#words;
    this.#count++;
    if (at + this.#words > this.#view.length) {
      const larger = new Uint32Array(this.#view.length * 2);
      larger.set(this.#view);
      this.#view = larger;
    }
    return at;
  }

  /** The words of the rows that there are. */
  get held(): Uint32Array {
    return this.#view.subarray(0, this.#count * this.#words);
  }

  clear(): void {
    this.held.fill(0);
    this.#count = 0;
  }
}

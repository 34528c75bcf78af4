/** What threads count while they work. */
export type RelinkTally = {
  names: number;
  directories: number;
  readBytes: number;
  readInodes: number;
  /** Names exchanged so far. */
  replacedNames: number;
  /** Directories that lie on another filesystem or behind a mount. */
  foreignDirectories: number;
  failures: number;
};

export const zeroTally = (): RelinkTally => ({
  names: 0,
  directories: 0,
  readBytes: 0,
  readInodes: 0,
  replacedNames: 0,
  foreignDirectories: 0,
  failures: 0,
});

const fields = Object.keys(zeroTally()) as (keyof RelinkTally)[];

/** One row a thread in shared memory; the main thread sums them. */
export class SharedTally {
  readonly #values: Float64Array;

  static allocate(rows: number): SharedArrayBuffer {
    return new SharedArrayBuffer(rows * fields.length * 8);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#values = new Float64Array(memory);
  }

  sum(): RelinkTally {
    const total = zeroTally();
    this.#values.forEach((value, at) => (total[fields[at % fields.length] as keyof RelinkTally] += value));
    return total;
  }

  /** Adds what a thread has counted since its last call, and zeroes it. */
  flush(row: number, tally: RelinkTally): void {
    fields.forEach((field, column) => {
      const at = row * fields.length + column;
      this.#values[at] = (this.#values[at] as number) + tally[field];
      tally[field] = 0;
    });
  }
}

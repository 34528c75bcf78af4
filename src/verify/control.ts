const STOP = 0;
const WORDS = 16;

/** Words that all threads share: the stop flag, and time slots for --bwlimit. */
export class Control {
  readonly #words: Int32Array;
  readonly #nextSlotNs: BigInt64Array;

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(WORDS * 4 + 8);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS);
    this.#nextSlotNs = new BigInt64Array(memory, WORDS * 4, 1);
  }

  stop(): void {
    Atomics.store(this.#words, STOP, 1);
    Atomics.notify(this.#words, STOP);
  }
  get isStopped(): boolean {
    return Atomics.load(this.#words, STOP) !== 0;
  }

  /** Sleeps until the bytes just read fit under `bytesPerSecond`, counted over all threads. */
  pace(bytes: number, bytesPerSecond: number): void {
    const costNs = BigInt(Math.ceil((bytes / bytesPerSecond) * 1e9));
    const nowNs = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
    for (;;) {
      const next = Atomics.load(this.#nextSlotNs, 0);
      const start = next > nowNs ? next : nowNs;
      if (Atomics.compareExchange(this.#nextSlotNs, 0, next, start + costNs) !== next) continue;
      const waitMs = Number(start - nowNs) / 1e6;
      // Until then, or until the run is stopped.
      if (waitMs > 1) Atomics.wait(this.#words, STOP, 0, waitMs);
      return;
    }
  }
}

/** What is counted while trees are read. `target…` is of the tree that was made, the others of the source. */
export type Tally = {
  names: number;
  targetNames: number;
  directories: number;
  inodes: number;
  targetInodes: number;
  /** Sizes of regular files, each inode counted once. */
  contentBytes: number;
  readBytes: number;
  /** Source inodes that share a target inode with another one that equals them. */
  merged: number;
  objects: number;
  /** Objects that no name outside the store has. */
  unnamedObjects: number;
  /** Names in the snapshots that are an inode of the store. */
  knownNames: number;
};

export const zeroTally = (): Tally => ({
  names: 0,
  targetNames: 0,
  directories: 0,
  inodes: 0,
  targetInodes: 0,
  contentBytes: 0,
  readBytes: 0,
  merged: 0,
  objects: 0,
  unnamedObjects: 0,
  knownNames: 0,
});

const columns = Object.keys(zeroTally()) as (keyof Tally)[];

/** Tallies in shared memory: each worker adds to its own row, the main thread sums them. */
export class SharedTallies {
  readonly #values: Float64Array;

  static allocate(workers: number): SharedArrayBuffer {
    return new SharedArrayBuffer(workers * columns.length * 8);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#values = new Float64Array(memory);
  }

  sum(): Tally {
    const total = zeroTally();
    this.#values.forEach((value, at) => (total[columns[at % columns.length] as keyof Tally] += value));
    return total;
  }

  /** Adds what a worker has counted since its last call, and zeroes it. */
  flush(worker: number, tally: Tally): void {
    columns.forEach((name, column) => {
      const at = worker * columns.length + column;
      this.#values[at] = (this.#values[at] as number) + tally[name];
      tally[name] = 0;
    });
  }
}

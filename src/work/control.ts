import { zeroCounters, type Counters } from "../report/events.ts";

const WANTED = 0;
const STOP = 1;
const SERIAL = 2;
const INGESTS = 3;
const WORDS = 16;

/** Words that all threads share: wishes for tasks, the stop flag, serial numbers, and time slots for --bwlimit. */
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

  /** How often workers should give part of their work away: as many times as there are idle workers. */
  setWanted(count: number): void {
    Atomics.store(this.#words, WANTED, count);
  }

  /** Whether some worker is idle. */
  get isWished(): boolean {
    return Atomics.load(this.#words, WANTED) > 0;
  }

  /** Whether a worker should give part of its work away now; true takes one wish. */
  takeWish(): boolean {
    if (!this.isWished) return false;
    if (Atomics.sub(this.#words, WANTED, 1) > 0) return true;
    Atomics.add(this.#words, WANTED, 1);
    return false;
  }

  stop(): void {
    Atomics.store(this.#words, STOP, 1);
  }
  get isStopped(): boolean {
    return Atomics.load(this.#words, STOP) !== 0;
  }

  /** A new inode is taken in hand. */
  countIngest(): void {
    Atomics.add(this.#words, INGESTS, 1);
  }
  get ingests(): number {
    return Atomics.load(this.#words, INGESTS);
  }

  /** A number that no other call in this run gets. */
  nextSerial(): number {
    return Atomics.add(this.#words, SERIAL, 1);
  }

  sleep(ms: number): void {
    Atomics.wait(this.#words, WORDS - 1, 0, ms);
  }

  /** Sleeps until the bytes just read fit under `bytesPerSecond`, counted over all threads. */
  pace(bytes: number, bytesPerSecond: number): void {
    const costNs = BigInt(Math.ceil((bytes / bytesPerSecond) * 1e9));
    const nowNs = monotonicNs();
    for (;;) {
      const next = Atomics.load(this.#nextSlotNs, 0);
      const start = next > nowNs ? next : nowNs;
      if (Atomics.compareExchange(this.#nextSlotNs, 0, next, start + costNs) !== next) continue;
      const waitMs = Number(start - nowNs) / 1e6;
      if (waitMs > 1) this.sleep(waitMs);
      return;
    }
  }
}

const monotonicNs = (): bigint =>
  BigInt(Math.round(performance.now() * 1e6)) + BigInt(Math.round(performance.timeOrigin)) * 1_000_000n;

const counterNames = Object.keys(zeroCounters()) as (keyof Counters)[];

/** Counters in shared memory: each worker adds to its own row, the main thread sums them for progress and summary. */
export class SharedCounters {
  readonly #values: Float64Array;
  readonly #rows: number;

  static allocate(rows: number): SharedArrayBuffer {
    return new SharedArrayBuffer(rows * counterNames.length * 8);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#values = new Float64Array(memory);
    this.#rows = this.#values.length / counterNames.length;
  }

  sum(): Counters {
    const total = zeroCounters();
    counterNames.forEach((name, column) => {
      for (let row = 0; row < this.#rows; row++) {
        total[name] += this.#values[row * counterNames.length + column] as number;
      }
    });
    return total;
  }

  /** Adds what a worker has counted since its last call, and zeroes it. */
  flush(row: number, counters: Counters): void {
    counterNames.forEach((name, column) => {
      const at = row * counterNames.length + column;
      this.#values[at] = (this.#values[at] as number) + counters[name];
      counters[name] = 0;
    });
  }
}

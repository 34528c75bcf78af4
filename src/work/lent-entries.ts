import type { Entry } from "../tree/listing.ts";

const UNTOUCHED = 0;
const TAKEN = 1;
const TAKEN_BACK = 2;
const DONE = 3;

/** Longest wait without asking whether to stop. */
const WAIT_MS = 100;

/** What a thread gets of another one's directory, as a message carries it. */
export type Loan = { entries: Entry[]; state: SharedArrayBuffer };

/**
 * Entries of a directory that a thread lends to an idle one. The directory stays the lender's, who gives it its metadata
 * when all of its entries are there: it takes back what nobody has begun with, and waits for the rest. Who works on
 * lent entries lends none of them further, so that no thread waits in a circle.
 */
export class LentEntries {
  readonly entries: readonly Entry[];
  readonly #state: Int32Array;

  static lend(entries: Entry[]): Loan {
    return { entries, state: new SharedArrayBuffer(4) };
  }

  constructor({ entries, state }: Loan) {
    // A Buffer that crossed threads is a Uint8Array.
    this.entries = entries.map((entry) => ({ ...entry, name: Buffer.from(entry.name) }));
    this.#state = new Int32Array(state);
  }

  /** false: the lender has taken them back. */
  take(): boolean {
    return Atomics.compareExchange(this.#state, 0, UNTOUCHED, TAKEN) === UNTOUCHED;
  }

  /** By who took them, also where that failed: the lender waits for it. */
  finish(): void {
    if (Atomics.compareExchange(this.#state, 0, TAKEN, DONE) === TAKEN) Atomics.notify(this.#state, 0);
  }

  /** true: nobody had begun. false: they are done by now. @throws what `checkStop` throws */
  takeBack(checkStop: () => void): boolean {
    if (Atomics.compareExchange(this.#state, 0, UNTOUCHED, TAKEN_BACK) === UNTOUCHED) return true;
    while (Atomics.wait(this.#state, 0, TAKEN, WAIT_MS) === "timed-out") checkStop();
    return false;
  }
}

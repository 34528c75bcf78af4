import type { Kernel } from "../sys/files.ts";
import { LedgerFiles } from "./ledger-files.ts";
import { BELL, HEADER_WORDS, LOCK, ROW_WORDS, STATE, USED, rowHash } from "./ledger-row.ts";
import { DEVICE, HIGH, LOW, SIDE, type InodeKey } from "./ledger-row.ts";

/** claimed: a thread is reading the inode. failed: it could not be read, and that was reported. */
export const rowStates = { none: 0, claimed: 1, known: 2, failed: 3 } as const;

/** Rows in memory: 46 MB when they are all in use. What comes later goes to temporary files. */
const DEFAULT_SLOTS = 1 << 19;
const FULL_SHARE = 0.75;

/**
 * What is known of each inode that has more than one name: its attributes and content as one mark, and the inode
 * of the other tree that was met with it. Shared by all threads; bounded in memory, continued on disk.
 */
export class Ledger {
  readonly #words: Int32Array;
  readonly #slots: number;
  readonly #files: LedgerFiles;

  static allocate(slots = DEFAULT_SLOTS): SharedArrayBuffer {
    return new SharedArrayBuffer((HEADER_WORDS + slots * ROW_WORDS) * 4);
  }

  /** @param directory where temporary files may be made */
  constructor(kernel: Kernel, memory: SharedArrayBuffer, directory: string) {
    this.#words = new Int32Array(memory);
    this.#slots = (this.#words.length - HEADER_WORDS) / ROW_WORDS;
    this.#files = new LedgerFiles(kernel, this.#words, directory);
  }

  /** Copies the inode's row into `into`. @returns its state */
  find(key: InodeKey, into: Int32Array): number {
    const at = this.#slotOf(key);
    const state = Atomics.load(this.#words, at + STATE);
    if (state !== rowStates.none) {
      for (let word = 0; word < ROW_WORDS; word++) into[word] = this.#words[at + word] as number;
      return state;
    }
    if (!this.#files.exist) return rowStates.none;
    return this.#locked(() => (this.#files.find(key, into) ? (into[STATE] as number) : rowStates.none));
  }

  /** Takes the inode in hand unless it was met before. @returns its state until now; `into` is its row */
  claim(key: InodeKey, into: Int32Array): number {
    return this.#locked(() => {
      const at = this.#slotOf(key);
      const state = this.#words[at + STATE] as number;
      if (state !== rowStates.none) {
        for (let word = 0; word < ROW_WORDS; word++) into[word] = this.#words[at + word] as number;
        return state;
      }
      if (this.#files.find(key, into)) return into[STATE] as number;
      into.fill(0);
      into[DEVICE] = key.device | 0;
      into[LOW] = key.inoLow | 0;
      into[HIGH] = key.inoHigh | 0;
      into[SIDE] = key.side;
      into[STATE] = rowStates.claimed;
      if ((this.#words[USED] as number) < this.#slots * FULL_SHARE) {
        this.#words[USED] = (this.#words[USED] as number) + 1;
        this.#write(at, into);
      } else this.#files.insert(key, into);
      return rowStates.none;
    });
  }

  /** Writes the row of a claimed or known inode, for all to see, and wakes who waits for it. */
  settle(key: InodeKey, row: Int32Array): void {
    this.#locked(() => {
      const at = this.#slotOf(key);
      if (this.#words[at + STATE] !== rowStates.none) this.#write(at, row);
      else this.#files.update(key, row);
    });
    Atomics.add(this.#words, BELL, 1);
    Atomics.notify(this.#words, BELL);
  }

  /** Changes the row of a known inode, if it is there. */
  amend(key: InodeKey, row: Int32Array, change: (row: Int32Array) => void): void {
    this.#locked(() => {
      const at = this.#slotOf(key);
      if (this.#words[at + STATE] !== rowStates.none) {
        row.set(this.#words.subarray(at, at + ROW_WORDS));
        change(row);
        this.#write(at, row);
      } else if (this.#files.find(key, row)) {
        change(row);
        this.#files.update(key, row);
      }
    });
  }

  /** Waits until some thread has settled an inode, or a moment at most. */
  wait(): void {
    Atomics.wait(this.#words, BELL, Atomics.load(this.#words, BELL), 2);
  }

  close(): void {
    this.#files.close();
  }

  /** The state is written last: who reads it sees the rest. */
  #write(at: number, row: Int32Array): void {
    for (let word = STATE + 1; word < ROW_WORDS; word++) this.#words[at + word] = row[word] as number;
    Atomics.store(this.#words, at + STATE, row[STATE] as number);
  }

  /** Where the inode's row is, or the empty one where the search ends. */
  #slotOf({ side, device, inoLow, inoHigh }: InodeKey): number {
    const words = this.#words;
    for (let slot = rowHash(side, device, inoLow, inoHigh); ; slot++) {
      const at = HEADER_WORDS + (slot & (this.#slots - 1)) * ROW_WORDS;
      if (Atomics.load(words, at + STATE) === rowStates.none) return at;
      if (
        words[at + LOW] === (inoLow | 0) &&
        words[at + HIGH] === (inoHigh | 0) &&
        words[at + DEVICE] === (device | 0) &&
        words[at + SIDE] === side
      )
        return at;
    }
  }

  #locked<T>(work: () => T): T {
    while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0) Atomics.wait(this.#words, LOCK, 1, 1);
    try {
      return work();
    } finally {
      Atomics.store(this.#words, LOCK, 0);
      Atomics.notify(this.#words, LOCK, 1);
    }
  }
}

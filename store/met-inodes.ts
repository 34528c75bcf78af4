import type { InodeKey } from "./inode-table.ts";

/** Inode numbers that share a place: filesystems hand them out in runs. */
const PER_PLACE_BITS = 9;
const WORDS_PER_PLACE = (1 << PER_PLACE_BITS) / 32;
/** Words of a key: device, upper half of the number, lower half without the bits within a place, place plus one. */
const KEY_WORDS = 4;
const KEYS = 1 << 17;
const PLACES = KEYS * 0.75;
const LOCK = 0;
const USED = 1;
const FULL = 2;
const HEAD_WORDS = 16;

/**
 * The source inodes that the threads of a run have met, a bit each, so that every one is counted once, whatever the
 * inode table has forgotten. Memory is bounded (8 MiB, touched as far as it is used): 50 million inodes whose numbers
 * are dense, some 6 million in the worst case that xfs makes (64 and then far away). Beyond, `isFull`, and inodes are
 * counted about once.
 */
export class MetInodes {
  readonly #head: Int32Array;
  readonly #keys: Uint32Array;
  readonly #bits: Uint32Array;

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer((HEAD_WORDS + KEYS * KEY_WORDS + PLACES * WORDS_PER_PLACE) * 4);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#head = new Int32Array(memory, 0, HEAD_WORDS);
    this.#keys = new Uint32Array(memory, HEAD_WORDS * 4, KEYS * KEY_WORDS);
    this.#bits = new Uint32Array(memory, (HEAD_WORDS + KEYS * KEY_WORDS) * 4);
  }

  /** There was no room for some: they may have been counted more than once. */
  get isFull(): boolean {
    return Atomics.load(this.#head, FULL) !== 0;
  }

  /** Whether the inode is met for the first time. */
  add(key: InodeKey): boolean {
    while (Atomics.compareExchange(this.#head, LOCK, 0, 1) !== 0);
    const place = this.#placeOf(key);
    const at = key.inoLow & ((1 << PER_PLACE_BITS) - 1);
    const word = place * WORDS_PER_PLACE + (at >> 5);
    const held = place < 0 ? 0 : (this.#bits[word] as number);
    if (place >= 0) this.#bits[word] = held | (1 << (at & 31));
    Atomics.store(this.#head, LOCK, 0);
    return (held & (1 << (at & 31))) === 0;
  }

  /** -1: all places are taken. */
  #placeOf({ device, inoLow, inoHigh }: InodeKey): number {
    const keys = this.#keys;
    const low = inoLow >>> PER_PLACE_BITS;
    let mixed = Math.imul(low ^ Math.imul(device, 0x9e3779b1) ^ Math.imul(inoHigh, 0xc2b2ae35), 0x85ebca6b);
    mixed ^= mixed >>> 15;
    for (let slot = mixed >>> 0; ; slot++) {
      const at = (slot % KEYS) * KEY_WORDS;
      const place = (keys[at + 3] as number) - 1;
      if (place < 0) return this.#take(at, [device, inoHigh, low]);
      if (keys[at + 2] === low && keys[at + 1] === inoHigh >>> 0 && keys[at] === device >>> 0) return place;
    }
  }

  #take(at: number, key: readonly number[]): number {
    const place = this.#head[USED] as number;
    if (place === PLACES) {
      Atomics.store(this.#head, FULL, 1);
      return -1;
    }
    this.#head[USED] = place + 1;
    this.#keys.set(key, at);
    this.#keys[at + 3] = place + 1;
    return place;
  }
}

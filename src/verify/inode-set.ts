import type { KnownInodes } from "./messages.ts";

/** Inode numbers that share a place: filesystems hand them out in runs. */
const PER_PLACE_BITS = 9;
const WORDS_PER_PLACE = (1 << PER_PLACE_BITS) / 32;
const FULL_SHARE = 0.6;

/**
 * A set of inode numbers: a bit each, in places of 512 neighbours that are found by hashing. Ten million inodes of an
 * ext4 take some 3 MB; in the worst case (every inode far from all others) one takes 76 bytes.
 */
export class InodeSet {
  /** Two words a place: the upper 55 bits of the numbers in it, plus one; 0 is an empty place. */
  #keys: Uint32Array;
  #bits: Uint32Array;
  #places: number;
  #used = 0;

  constructor(shared?: KnownInodes) {
    this.#keys = new Uint32Array(shared?.keys ?? new SharedArrayBuffer(1024 * 8));
    this.#bits = new Uint32Array(shared?.bits ?? new SharedArrayBuffer(1024 * WORDS_PER_PLACE * 4));
    this.#places = this.#keys.length / 2;
  }

  /** For other threads, which may read it once nothing is added any more. */
  get shared(): KnownInodes {
    return { keys: this.#keys.buffer as SharedArrayBuffer, bits: this.#bits.buffer as SharedArrayBuffer };
  }

  has(inoLow: number, inoHigh: number): boolean {
    const place = this.#find(inoLow, inoHigh);
    if (this.#keys[place * 2 + 1] === 0) return false;
    const at = inoLow & ((1 << PER_PLACE_BITS) - 1);
    return ((this.#bits[place * WORDS_PER_PLACE + (at >> 5)] as number) & (1 << (at & 31))) !== 0;
  }

  /** @returns false when it was in the set already */
  add(inoLow: number, inoHigh: number): boolean {
    if (this.has(inoLow, inoHigh)) return false;
    let place = this.#find(inoLow, inoHigh);
    if (this.#keys[place * 2 + 1] === 0) {
      if (this.#used >= this.#places * FULL_SHARE) {
        this.#grow();
        place = this.#find(inoLow, inoHigh);
      }
      this.#used++;
      this.#keys[place * 2] = inoHigh;
      this.#keys[place * 2 + 1] = (inoLow >>> PER_PLACE_BITS) + 1;
    }
    const at = inoLow & ((1 << PER_PLACE_BITS) - 1);
    const word = place * WORDS_PER_PLACE + (at >> 5);
    this.#bits[word] = (this.#bits[word] as number) | (1 << (at & 31));
    return true;
  }

  /** The place of the number, or the empty one where the search ends. */
  #find(inoLow: number, inoHigh: number): number {
    const key = (inoLow >>> PER_PLACE_BITS) + 1;
    const mixed = Math.imul(key ^ Math.imul(inoHigh, 0x9e3779b1), 0x85ebca6b);
    for (let place = (mixed ^ (mixed >>> 16)) >>> 0; ; place++) {
      const at = place & (this.#places - 1);
      const found = this.#keys[at * 2 + 1];
      if (found === 0 || (found === key && this.#keys[at * 2] === inoHigh >>> 0)) return at;
    }
  }

  #grow(): void {
    const [keys, bits, places] = [this.#keys, this.#bits, this.#places];
    this.#places *= 2;
    this.#keys = new Uint32Array(new SharedArrayBuffer(keys.byteLength * 2));
    this.#bits = new Uint32Array(new SharedArrayBuffer(bits.byteLength * 2));
    for (let old = 0; old < places; old++) {
      const key = keys[old * 2 + 1] as number;
      if (key === 0) continue;
      const place = this.#find(((key - 1) << PER_PLACE_BITS) >>> 0, keys[old * 2] as number);
      this.#keys[place * 2] = keys[old * 2] as number;
      this.#keys[place * 2 + 1] = key;
      const from = old * WORDS_PER_PLACE;
      this.#bits.set(bits.subarray(from, from + WORDS_PER_PLACE), place * WORDS_PER_PLACE);
    }
  }
}

/** Inodes of several filesystems: those of a btrfs have the same numbers in each subvolume. */
export class DeviceInodes {
  readonly #sets = new Map<number, InodeSet>();

  /** @returns false when it was there already */
  add({ device, inoLow, inoHigh }: { device: number; inoLow: number; inoHigh: number }): boolean {
    const set = this.#sets.get(device) ?? new InodeSet();
    this.#sets.set(device, set);
    return set.add(inoLow, inoHigh);
  }
}

/** Inode numbers that share a place: filesystems hand them out in runs. */
const PER_PLACE_BITS = 9;
const WORDS_PER_PLACE = (1 << PER_PLACE_BITS) / 32;
const KEY_WORDS = 3;
const DEFAULT_PLACES = 1 << 16;
/** Places looked at before the first of them is given to another run of numbers. */
const TRIES = 8;

/**
 * Which inodes were looked at: a bit each, in places of 512 neighbours. A cache of fixed size: what it has forgotten is
 * looked at again. Some 33 million inodes where they are dense.
 */
export class SeenInodes {
  readonly #keys: Uint32Array;
  readonly #bits: Uint32Array;
  readonly #places: number;

  /** @param places a power of two */
  constructor(places = DEFAULT_PLACES) {
    this.#keys = new Uint32Array(places * KEY_WORDS);
    this.#bits = new Uint32Array(places * WORDS_PER_PLACE);
    this.#places = places;
  }

  has(device: number, inoHigh: number, inoLow: number): boolean {
    const place = this.#find(device, inoHigh, inoLow);
    return place >= 0 && ((this.#bits[wordOf(place, inoLow)] as number) & (1 << (inoLow & 31))) !== 0;
  }

  add(device: number, inoHigh: number, inoLow: number): void {
    const found = this.#find(device, inoHigh, inoLow);
    const place = found >= 0 ? found : this.#take(~found, device, inoHigh, inoLow);
    const word = wordOf(place, inoLow);
    this.#bits[word] = (this.#bits[word] as number) | (1 << (inoLow & 31));
  }

  /** The place of the number, or the complement of the one it may take. */
  #find(device: number, inoHigh: number, inoLow: number): number {
    const key = (inoLow >>> PER_PLACE_BITS) + 1;
    const mixed = Math.imul(key ^ Math.imul(inoHigh + Math.imul(device, 0x51ed27), 0x9e3779b1), 0x85ebca6b);
    const first = (mixed ^ (mixed >>> 15)) & (this.#places - 1);
    for (let step = 0; step < TRIES; step++) {
      const place = (first + step) & (this.#places - 1);
      const at = place * KEY_WORDS;
      if (this.#keys[at] === 0) return ~place;
      if (this.#keys[at] === key && this.#keys[at + 1] === inoHigh && this.#keys[at + 2] === device)
        return place;
    }
    return ~first;
  }

  #take(place: number, device: number, inoHigh: number, inoLow: number): number {
    this.#bits.fill(0, place * WORDS_PER_PLACE, (place + 1) * WORDS_PER_PLACE);
    this.#keys[place * KEY_WORDS] = (inoLow >>> PER_PLACE_BITS) + 1;
    this.#keys[place * KEY_WORDS + 1] = inoHigh;
    this.#keys[place * KEY_WORDS + 2] = device;
    return place;
  }
}

const wordOf = (place: number, inoLow: number): number =>
  place * WORDS_PER_PLACE + ((inoLow & ((1 << PER_PLACE_BITS) - 1)) >> 5);

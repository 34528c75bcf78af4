import { REF_WORDS, type Ref } from "./ref.ts";

/** Words of an entry: see the fields below; 32 words are 128 bytes, two cache lines. */
const ENTRY_WORDS = 32;
const WAYS = 4;
const KIND = 0;
const DEVICE = 1;
const INO_LOW = 2;
const INO_HIGH = 3;
const TARGET_LOW = 4;
const TARGET_HIGH = 5;
const LINKS = 6;
const MOST_IN_SNAPSHOT = 9;
const USED = 10;
const SIZE_LOW = 11;
const SIZE_HIGH = 12;
/** A descriptor of the target inode plus one, 0 for none. */
const DESCRIPTOR = 13;
const REF = 16;
/**
 * Words that count the names in a snapshot: its number modulo 2^16 above, the count below. Several snapshots may be
 * under way at once, one a thread.
 */
const SNAPSHOT_WORDS = [7, 8, 14, 15, 29, 30, 31] as const;
const COUNT_MOST = 0xffff;
const EMPTY = 0;
const SOURCE = 1;
const OBJECT = 2;
const CLAIMED = 3;

/** 32,768 sets of 4: 16 MiB, whatever the number of inodes (P6). */
const SETS = 1 << 15;

/** What `find` tells of an inode that this run has dealt with. */
export type Hit = {
  slot: number;
  targetInoLow: number;
  targetInoHigh: number;
  sizeBytes: number;
  /** Links of the target inode: as statted, and those made since through this entry. */
  links: number;
  mostInSnapshot: number;
  /** An O_PATH descriptor of the target inode, -1 for none; never closed while the run lasts. */
  fd: number;
};

/**
 * What this run knows of source inodes and of objects, shared by all threads: a 4-way set-associative table in
 * shared memory. It is a cache: an entry that was evicted is found again in the index or on disk. Every access
 * holds the lock of its set, so that an entry is never seen half written.
 *
 * Keys are exact (device and 64-bit inode number, or object reference), never a hash alone.
 */
export class InodeTable {
  readonly hit: Hit = {
    slot: 0,
    targetInoLow: 0,
    targetInoHigh: 0,
    sizeBytes: 0,
    links: 0,
    mostInSnapshot: 0,
    fd: -1,
  };
  readonly #locks: Int32Array;
  readonly #words: Uint32Array;

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(SETS * 4 + SETS * WAYS * ENTRY_WORDS * 4);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#locks = new Int32Array(memory, 0, SETS);
    this.#words = new Uint32Array(memory, SETS * 4);
  }

  /**
   * Looks a source inode up; true fills `hit` and copies the reference into `ref`. `names` is how many names are
   * about to be linked to it in `snapshot`: they are counted here, so that threads see each other's links.
   */
  find(device: number, inoLow: number, inoHigh: number, ref: Ref, snapshot: number, names: number): boolean {
    const set = hashInode(device, inoLow, inoHigh);
    this.#lock(set);
    const at = this.#seek(set, device, inoLow, inoHigh);
    const isKnown = at >= 0 && this.#words[at + KIND] === SOURCE;
    if (isKnown) this.#take(at, ref, snapshot, names);
    this.#unlock(set);
    return isKnown;
  }

  /**
   * Takes an unknown source inode in hand, so that no other thread reads it at the same time. "taken": another has
   * it; look again in a moment. Who claims must `insert` or `release`.
   */
  claim({ device, inoLow, inoHigh }: InodeKey): "claimed" | "known" | "taken" {
    const set = hashInode(device, inoLow, inoHigh);
    this.#lock(set);
    const at = this.#seek(set, device, inoLow, inoHigh);
    if (at < 0) this.#begin(this.#evict(set), CLAIMED, device, inoLow, inoHigh);
    const kind = at < 0 ? undefined : this.#words[at + KIND];
    this.#unlock(set);
    return kind === undefined ? "claimed" : kind === SOURCE ? "known" : "taken";
  }

  /** Lets go of a claim that came to nothing. */
  release({ device, inoLow, inoHigh }: InodeKey): void {
    const set = hashInode(device, inoLow, inoHigh);
    this.#lock(set);
    const at = this.#seek(set, device, inoLow, inoHigh);
    if (at >= 0 && this.#words[at + KIND] === CLAIMED) this.#words[at + KIND] = EMPTY;
    this.#unlock(set);
  }

  #begin(at: number, kind: number, device: number, inoLow: number, inoHigh: number): void {
    const words = this.#words;
    words.fill(0, at, at + ENTRY_WORDS);
    words[at + KIND] = kind;
    words[at + DEVICE] = device;
    words[at + INO_LOW] = inoLow;
    words[at + INO_HIGH] = inoHigh;
    words[at + USED] = 1;
  }

  #seek(set: number, device: number, inoLow: number, inoHigh: number): number {
    const words = this.#words;
    for (let way = 0; way < WAYS; way++) {
      const at = (set * WAYS + way) * ENTRY_WORDS;
      if (
        words[at + INO_LOW] === inoLow &&
        words[at + INO_HIGH] === inoHigh &&
        words[at + DEVICE] === device &&
        (words[at + KIND] === SOURCE || words[at + KIND] === CLAIMED)
      ) {
        return at;
      }
    }
    return -1;
  }

  #take(at: number, ref: Ref, snapshot: number, names: number): void {
    const words = this.#words;
    const { hit } = this;
    if (names > 0) this.#countNames(at, snapshot, names);
    words[at + USED] = 1;
    words[at + LINKS] = (words[at + LINKS] as number) + names;
    hit.slot = at;
    hit.targetInoLow = words[at + TARGET_LOW] as number;
    hit.targetInoHigh = words[at + TARGET_HIGH] as number;
    hit.sizeBytes = (words[at + SIZE_HIGH] as number) * 0x100000000 + (words[at + SIZE_LOW] as number);
    hit.links = words[at + LINKS] as number;
    hit.mostInSnapshot = words[at + MOST_IN_SNAPSHOT] as number;
    hit.fd = (words[at + DESCRIPTOR] as number) - 1;
    ref.copyFrom(words, at + REF);
  }

  /** Counts names of a snapshot, and remembers the most that one has had; negative `names` are taken back. */
  #countNames(at: number, snapshot: number, names: number): void {
    const words = this.#words;
    const word = at + (SNAPSHOT_WORDS[snapshot % SNAPSHOT_WORDS.length] as number);
    const held = words[word] as number;
    const before = held >>> 16 === (snapshot & 0xffff) ? held & COUNT_MOST : 0;
    const count = Math.min(COUNT_MOST, Math.max(0, before + names));
    words[word] = (((snapshot & 0xffff) << 16) | count) >>> 0;
    if (count > (words[at + MOST_IN_SNAPSHOT] as number)) words[at + MOST_IN_SNAPSHOT] = count;
  }

  /**
   * Lends the entry that `find` returned last a descriptor of its target inode. false: the entry is another's by
   * now, or has one.
   */
  lend(slot: number, ref: Ref, fd: number): boolean {
    const words = this.#words;
    const set = Math.floor(slot / (WAYS * ENTRY_WORDS));
    this.#lock(set);
    let isSame = words[slot + KIND] === SOURCE && words[slot + DESCRIPTOR] === 0;
    for (let index = 0; isSame && index < REF_WORDS; index++)
      isSame = words[slot + REF + index] === ref.words[index];
    if (isSame) words[slot + DESCRIPTOR] = fd + 1;
    this.#unlock(set);
    return isSame;
  }

  /** Takes back the name that the `find` at `slot` counted; the entry may have gone meanwhile, which costs a recount. */
  uncount(slot: number, snapshot: number): false {
    const set = Math.floor(slot / (WAYS * ENTRY_WORDS));
    this.#lock(set);
    const links = this.#words[slot + LINKS] as number;
    if (links > 0) this.#words[slot + LINKS] = links - 1;
    this.#countNames(slot, snapshot, -1);
    this.#unlock(set);
    return false;
  }

  /** Records that a source inode has become `ref`, which is target inode `targetIno` with `links` names now. */
  insert(key: InodeKey, ref: Ref, target: TargetInode): void {
    const set = hashInode(key.device, key.inoLow, key.inoHigh);
    this.#lock(set);
    const found = this.#seek(set, key.device, key.inoLow, key.inoHigh);
    const at = found >= 0 ? found : this.#evict(set);
    if (found < 0) this.#begin(at, SOURCE, key.device, key.inoLow, key.inoHigh);
    this.#words[at + KIND] = SOURCE;
    this.#fill(at, ref, target);
    this.#unlock(set);
  }

  #fill(at: number, ref: Ref, target: TargetInode): void {
    const words = this.#words;
    words[at + TARGET_LOW] = target.inoLow;
    words[at + TARGET_HIGH] = target.inoHigh;
    words[at + LINKS] = target.links;
    words[at + DESCRIPTOR] = 0;
    words[at + SIZE_LOW] = target.sizeBytes >>> 0;
    words[at + SIZE_HIGH] = Math.floor(target.sizeBytes / 0x100000000);
    words[at + USED] = 1;
    for (let index = 0; index < REF_WORDS; index++) words[at + REF + index] = ref.words[index] as number;
  }

  /** Records that the object `ref` was made or checked in this run: it may be linked to without a look. */
  insertObject(ref: Ref, target: TargetInode): void {
    const set = hashRef(ref);
    this.#lock(set);
    const found = this.#seekObject(set, ref);
    const at = found >= 0 ? found : this.#evict(set);
    this.#words.fill(0, at, at + ENTRY_WORDS);
    this.#words[at + KIND] = OBJECT;
    this.#fill(at, ref, target);
    this.#unlock(set);
  }

  /** Whether this run made or checked the object `ref`; true fills `hit`. */
  findObject(ref: Ref): boolean {
    const set = hashRef(ref);
    this.#lock(set);
    const at = this.#seekObject(set, ref);
    if (at >= 0) this.#take(at, ref, 0, 0);
    this.#unlock(set);
    return at >= 0;
  }

  #seekObject(set: number, ref: Ref): number {
    const words = this.#words;
    for (let way = 0; way < WAYS; way++) {
      const at = (set * WAYS + way) * ENTRY_WORDS;
      if (words[at + KIND] !== OBJECT) continue;
      let index = 0;
      while (index < REF_WORDS && words[at + REF + index] === ref.words[index]) index++;
      if (index === REF_WORDS) return at;
    }
    return -1;
  }

  /** An empty way, else one not used since the last sweep over this set (second chance). */
  #evict(set: number): number {
    const words = this.#words;
    const first = set * WAYS * ENTRY_WORDS;
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * ENTRY_WORDS;
      if (words[at + KIND] === EMPTY) return at;
    }
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * ENTRY_WORDS;
      if (words[at + USED] === 0) return at;
      words[at + USED] = 0;
    }
    return first;
  }

  #lock(set: number): void {
    while (Atomics.compareExchange(this.#locks, set, 0, 1) !== 0);
  }
  #unlock(set: number): void {
    Atomics.store(this.#locks, set, 0);
  }
}

export type InodeKey = { device: number; inoLow: number; inoHigh: number };
export type TargetInode = { inoLow: number; inoHigh: number; links: number; sizeBytes: number };

/** Multiplicative mixing: inode numbers are dense, and btrfs snapshots repeat them per device. */
function hashInode(device: number, inoLow: number, inoHigh: number): number {
  let mixed = Math.imul(inoLow ^ Math.imul(device, 0x9e3779b1) ^ Math.imul(inoHigh, 0x85ebca6b), 0xc2b2ae35);
  mixed ^= mixed >>> 15;
  return (mixed >>> 0) % SETS;
}

/** A digest is uniform already; the other words keep variants and held groups apart. */
function hashRef(ref: Ref): number {
  const words = ref.words;
  const mixed =
    (words[0] as number) ^
    (words[8] as number) ^
    (words[10] as number) ^
    Math.imul(words[12] as number, 0x9e3779b1);
  return (mixed >>> 0) % SETS;
}

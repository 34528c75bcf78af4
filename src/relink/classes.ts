import type { Sys } from "../sys/sys.ts";
import { mostOf } from "../tree/most.ts";
import {
  BEST_UNIT,
  BLOCKS_HIGH,
  CLASS_AT_HIGH,
  CLASS_COUNT,
  CLASS_DIGEST,
  CLASS_REST_HIGH,
  CLASS_SURVIVOR,
  CLASS_WORDS,
  DIGEST,
  DIGEST_WORDS,
  INODE_WORDS,
  INO_HIGH,
  INO_LOW,
  MOST_IN_UNIT,
  NAMES_AT_HIGH,
  NAMES_COUNT,
  NAME_DIRECTORY,
  NAME_UNIT,
  NAME_WORDS,
  NLINK,
  PLACE_WORDS,
  SIZE_HIGH,
  STATE_WORDS,
  XATTR_VARIANT,
  numberAt,
  putNumber,
  sameWords,
  UNLINKABLE,
} from "./layout.ts";
import type { RecordWriter } from "./record-file.ts";
import { mergeRuns, type Run, type RunSorter } from "./sorter.ts";

/** What lies in the tree, each inode counted once: regular files that are not empty. */
export type StockCounts = { inodes: number; bytes: number; twiceInodes: number };

const NO_UNIT = 0xffffffff;
/** More than any class frees. */
const MOST_BYTES = 2 ** 52;
const BLOCK_BYTES = 512;

export const nameLayout = { words: NAME_WORDS, key: [INO_HIGH, INO_LOW] };
export const classLayout = {
  words: CLASS_WORDS,
  key: [
    CLASS_REST_HIGH,
    CLASS_REST_HIGH + 1,
    CLASS_DIGEST,
    CLASS_DIGEST + 1,
    CLASS_AT_HIGH,
    CLASS_AT_HIGH + 1,
  ],
};

/** Content first: what was read is grouped by it, then by the compared attributes; inode numbers make the order fixed. */
export function readKey(compared: readonly number[]): number[] {
  const digest = Array.from({ length: DIGEST_WORDS }, (_, index) => DIGEST + index);
  return [...digest, ...compared, XATTR_VARIANT, XATTR_VARIANT + 1, INO_HIGH, INO_LOW];
}

/** Names -> inodes, each with its names in a file of their own. Inodes that were reached twice are left out. */
export function gatherInodes(
  sys: Sys,
  runs: readonly Run[],
  out: { places: RecordWriter; inodes: RunSorter; isWanted: (sizeBytes: number) => boolean },
): StockCounts {
  const counts: StockCounts = { inodes: 0, bytes: 0, twiceInodes: 0 };
  const inode = new Uint32Array(INODE_WORDS);
  const units = new Map<number, number>();
  const finish = (): void => {
    if (units.size === 0) return;
    counts.inodes++;
    counts.bytes += numberAt(inode, BLOCKS_HIGH) * BLOCK_BYTES;
    inode[MOST_IN_UNIT] = mostOf(units.values());
    // A mount shows the same names a second time, as does a rename meanwhile: they look like links, and are one.
    if ((inode[NAMES_COUNT] as number) > (inode[NLINK] as number)) counts.twiceInodes++;
    else if (out.isWanted(numberAt(inode, SIZE_HIGH))) out.inodes.next().set(inode);
    units.clear();
  };
  for (const name of mergeRuns(sys, runs, nameLayout)) {
    if (units.size === 0 || inode[INO_LOW] !== name[INO_LOW] || inode[INO_HIGH] !== name[INO_HIGH]) {
      finish();
      inode.fill(0);
      inode.set(name.subarray(0, STATE_WORDS));
      putNumber(inode, NAMES_AT_HIGH, out.places.count);
      inode[BEST_UNIT] = NO_UNIT;
    }
    // Names that are made while the stock is taken are links, too.
    inode[NLINK] = Math.max(inode[NLINK] as number, name[NLINK] as number);
    const unit = name[NAME_UNIT] as number;
    inode[NAMES_COUNT] = (inode[NAMES_COUNT] as number) + 1;
    inode[BEST_UNIT] = Math.min(inode[BEST_UNIT] as number, unit);
    units.set(unit, (units.get(unit) ?? 0) + 1);
    out.places.append(name.subarray(NAME_DIRECTORY, NAME_DIRECTORY + PLACE_WORDS));
  }
  finish();
  out.places.flush();
  return counts;
}

/** Inodes by size and attributes -> those that have a possible equal, or all. @returns how many were left out */
export function chooseCandidates(
  inodes: Iterable<Uint32Array>,
  compared: readonly number[],
  out: { candidates: RunSorter; takesAll: boolean; met: (inode: Uint32Array, isAlone: boolean) => void },
): number {
  const held = new Uint32Array(INODE_WORDS);
  let count = 0;
  let alone = 0;
  const endGroup = (): void => {
    if (count > 0) out.met(held, count === 1 && !out.takesAll);
    if (count === 1 && !out.takesAll) alone++;
    if (count === 1 && out.takesAll) out.candidates.next().set(held);
  };
  for (const inode of inodes) {
    if (count > 0 && sameWords(held, inode, compared)) {
      if (count === 1) out.candidates.next().set(held);
      out.candidates.next().set(inode);
      count++;
      continue;
    }
    endGroup();
    held.set(inode);
    count = 1;
  }
  endGroup();
  return alone;
}

/** What the store and the tree say about a class that is being formed. */
export type ClassDoor = {
  /** Inode numbers of the objects that the store has of this class, as text. */
  objectsOf(member: Uint32Array): ReadonlySet<string>;
  /** Whether `a` comes before `b`, which has as many names and as new a snapshot. */
  isPathBefore(a: Uint32Array, b: Uint32Array): boolean;
  /** A class is complete; `survivor`: the member that is to stay; `isObject`: the store has it already. */
  formed(survivor: Uint32Array, isObject: boolean): void;
};

/**
 * Inodes by content and attributes -> classes. Who survives does not depend on the order of work: what the store has
 * already, else what may be linked, fewest blocks, most names, newest snapshot, path.
 */
export class ClassFormer {
  readonly #members: RecordWriter;
  readonly #classes: RunSorter;
  readonly #door: ClassDoor;
  readonly #best = new Uint32Array(INODE_WORDS);
  #objects: ReadonlySet<string> = new Set();
  #isObject = false;
  #first = 0;
  #count = 0;
  #survivor = 0;
  #bytes = 0;

  constructor(parts: { members: RecordWriter; classes: RunSorter; door: ClassDoor }) {
    this.#members = parts.members;
    this.#classes = parts.classes;
    this.#door = parts.door;
  }

  /** `group`: words that the members of a class share. */
  form(read: Iterable<Uint32Array>, group: readonly number[]): void {
    for (const member of read) {
      if (this.#count > 0 && !sameWords(this.#best, member, group)) this.#end();
      this.#add(member);
    }
    if (this.#count > 0) this.#end();
    this.#members.flush();
  }

  #add(member: Uint32Array): void {
    if (this.#count === 0) {
      this.#first = this.#members.count;
      this.#objects = this.#door.objectsOf(member);
    }
    const isObject = this.#objects.size > 0 && this.#objects.has(inoKey(member));
    const isBetter =
      this.#count === 0 ||
      (isObject && !this.#isObject) ||
      (isObject === this.#isObject && this.#isBefore(member, this.#best));
    if (isBetter) {
      this.#best.set(member);
      this.#isObject = isObject;
      this.#survivor = this.#count;
    }
    this.#bytes += freedBytes(member);
    this.#members.append(member);
    this.#count++;
  }

  #isBefore(a: Uint32Array, b: Uint32Array): boolean {
    const linkable = (a[UNLINKABLE] as number) - (b[UNLINKABLE] as number);
    if (linkable !== 0) return linkable < 0;
    // What was sparse stays sparse (P3).
    const blocks = numberAt(a, BLOCKS_HIGH) - numberAt(b, BLOCKS_HIGH);
    if (blocks !== 0) return blocks < 0;
    const names = (b[NAMES_COUNT] as number) - (a[NAMES_COUNT] as number);
    if (names !== 0) return names < 0;
    const unit = (a[BEST_UNIT] as number) - (b[BEST_UNIT] as number);
    return unit === 0 ? this.#door.isPathBefore(a, b) : unit < 0;
  }

  #end(): void {
    // The store has it under an inode without a name in the tree: then that one survives.
    const isOutside = this.#objects.size > 0 && !this.#isObject;
    const freed = this.#bytes - (isOutside ? 0 : freedBytes(this.#best));
    this.#door.formed(this.#best, this.#isObject);
    const record = this.#classes.next();
    putNumber(record, CLASS_REST_HIGH, MOST_BYTES - freed);
    record[CLASS_DIGEST] = this.#best[DIGEST] as number;
    record[CLASS_DIGEST + 1] = this.#best[DIGEST + 1] as number;
    putNumber(record, CLASS_AT_HIGH, this.#first);
    record[CLASS_COUNT] = this.#count;
    record[CLASS_SURVIVOR] = this.#survivor;
    this.#count = 0;
    this.#bytes = 0;
    this.#isObject = false;
  }
}

export function inoKey(record: Uint32Array): string {
  return `${String(record[INO_HIGH])}:${String(record[INO_LOW])}`;
}

/** What goes when all names of the inode do; nothing where it has names that are not in the stock. */
export function freedBytes(record: Uint32Array, storeNames = 0): number {
  return (record[NAMES_COUNT] as number) + storeNames === record[NLINK]
    ? numberAt(record, BLOCKS_HIGH) * BLOCK_BYTES
    : 0;
}

/** Each inode has so many links fewer. */
export function* withoutNames(inodes: Iterable<Uint32Array>, count: number): Generator<Uint32Array> {
  for (const inode of inodes) {
    inode[NLINK] = (inode[NLINK] as number) - count;
    yield inode;
  }
}

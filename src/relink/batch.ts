import { REF_WORDS } from "../../store/store.ts";
import {
  BatchRoom,
  DIRECTORY_ROW,
  NAME_ROW,
  NO_DIRECTORY,
  TARGET_ROW,
  VICTIM_ROW,
  type BatchMemory,
} from "./batch-memory.ts";
import { freedBytes } from "./classes.ts";
import { GrowingBytes } from "./growing-bytes.ts";
import { GrowingRows } from "./growing-rows.ts";
import type { HeapReader } from "./heap.ts";
import {
  GENERATION,
  NAMES_AT_HIGH,
  NAMES_COUNT,
  PLACE_WORDS,
  STATE_WORDS,
  UNREAD,
  XATTR_VARIANT,
  numberAt,
  putNumber,
} from "./layout.ts";
import type { ScatteredRecords } from "./record-file.ts";

/** A place of the stock: a directory's number and a name. */
export type Place = { directory: number; name: Buffer; unit: number };

/** Reads the names of inodes. */
export class PlaceReader {
  readonly #places: ScatteredRecords;
  readonly #heap: HeapReader;
  readonly #place = new Uint32Array(PLACE_WORDS);

  constructor(places: ScatteredRecords, heap: HeapReader) {
    this.#places = places;
    this.#heap = heap;
  }

  of(inode: Uint32Array): Place[] {
    return Array.from({ length: inode[NAMES_COUNT] as number }, (_, index) => this.#at(inode, index));
  }

  first(inode: Uint32Array): Place | undefined {
    return inode[NAMES_COUNT] === 0 ? undefined : this.#at(inode, 0);
  }

  /** A name is valid until the next is asked for. */
  each(inode: Uint32Array, visit: (place: Place) => void): void {
    const count = inode[NAMES_COUNT] as number;
    for (let index = 0; index < count; index++) visit(this.#view(inode, index));
  }

  #at(inode: Uint32Array, index: number): Place {
    const { directory, name, unit } = this.#view(inode, index);
    return { directory, name: Buffer.from(name), unit };
  }

  #view(inode: Uint32Array, index: number): Place {
    const place = this.#place;
    this.#places.copy(numberAt(inode, NAMES_AT_HIGH) + index, place);
    return {
      directory: place[0] as number,
      name: this.#heap.view(place, 1),
      unit: place[PLACE_WORDS - 1] as number,
    };
  }
}

/** An inode of the store to which names are to lead; it takes `place` to adopt it. */
export type Target = {
  ref: Uint32Array;
  /** The inode's record in the stock; of an object without a name in the tree that of any member, for its attributes. */
  inode: Uint32Array;
  place: Place | undefined;
  /** A batch before this one had it, too. */
  isAgain: boolean;
};

/** A name's row while the names are in no order yet: as it will be, and its directory. */
const DRAFT_DIRECTORY = NAME_ROW.words;
const DRAFT_WORDS = NAME_ROW.words + 1;

/** A batch while it is put together, row by row; then the next one, in the same memory. */
export class BatchDraft {
  readonly #names = new GrowingRows(DRAFT_WORDS);
  readonly #directories = new GrowingRows(DIRECTORY_ROW.words);
  readonly #victims = new GrowingRows(VICTIM_ROW.words);
  readonly #targets = new GrowingRows(TARGET_ROW.words);
  /** Names, each with a NUL. */
  readonly #text = new GrowingBytes();
  readonly #room = new BatchRoom();
  #serial = 0;

  /** Which batch it is. */
  get serial(): number {
    return this.#serial;
  }

  get names(): number {
    return this.#names.count;
  }
  get targets(): number {
    return this.#targets.count;
  }

  /** @returns its number in this batch */
  addTarget({ ref, inode, place, isAgain }: Target): number {
    const at = this.#targets.add();
    const { view } = this.#targets;
    view.set(ref.subarray(0, REF_WORDS), at + TARGET_ROW.ref);
    view.set(inode.subarray(0, STATE_WORDS), at + TARGET_ROW.inode);
    view[at + TARGET_ROW.directory] = place?.directory ?? NO_DIRECTORY;
    this.#putText(view, at + TARGET_ROW.text, place?.name ?? Buffer.alloc(0));
    view[at + TARGET_ROW.again] = isAgain ? 1 : 0;
    view[at + TARGET_ROW.unread] = inode[UNREAD] as number;
    view[at + TARGET_ROW.generation] = inode[GENERATION] as number;
    view.set(inode.subarray(XATTR_VARIANT, XATTR_VARIANT + 2), at + TARGET_ROW.xattrs);
    return this.#targets.count - 1;
  }

  /** @returns its number in this batch */
  addVictim(inode: Uint32Array): number {
    const at = this.#victims.add();
    const { view } = this.#victims;
    for (let word = 0; word < STATE_WORDS; word++) view[at + VICTIM_ROW.state + word] = inode[word] as number;
    view[at + VICTIM_ROW.namesCount] = inode[NAMES_COUNT] as number;
    putNumber(view, at + VICTIM_ROW.freedBlocks, freedBytes(inode) / 512);
    return this.#victims.count - 1;
  }

  addName({ directory, name, unit }: Place, victim: number, target: number): void {
    const at = this.#names.add();
    const { view } = this.#names;
    this.#putText(view, at + NAME_ROW.text, name);
    view[at + NAME_ROW.victim] = victim;
    view[at + NAME_ROW.target] = target;
    view[at + NAME_ROW.unit] = unit;
    view[at + DRAFT_DIRECTORY] = directory;
  }

  /** The victim that was added last: where the target's object is spoiled, it takes the object's name. */
  setEqual(target: number, inode: Uint32Array): void {
    if (inode[NAMES_COUNT] === 0) return;
    const first = this.#names.count - (inode[NAMES_COUNT] as number);
    this.#targets.view[target * TARGET_ROW.words + TARGET_ROW.equal] = first + 1;
  }

  #putText(row: Uint32Array, at: number, name: Buffer): void {
    row[at] = this.#text.length;
    row[at + 1] = name.length;
    this.#text.raw(name);
    this.#text.raw(NUL);
  }

  /** The tables, names sorted by directory; valid until they are asked for again. The draft is that of the next batch. */
  take(): BatchMemory {
    this.#askOnlyOfUsed();
    const names = this.#room.rows("names", this.#names.count * NAME_ROW.words);
    this.#sortNames(names);
    for (const [table, rows] of [
      ["directories", this.#directories],
      ["victims", this.#victims],
      ["targets", this.#targets],
    ] as const)
      this.#room.rows(table, rows.held.length).set(rows.held);
    this.#room.text(this.#text.length).set(this.#text.whole);
    for (const rows of [this.#names, this.#directories, this.#victims, this.#targets]) rows.clear();
    this.#text.clear();
    this.#serial++;
    return this.#room.memory;
  }

  #sortNames(rows: Uint32Array): void {
    const order = this.#order();
    const { view } = this.#names;
    const directories = this.#directories;
    const equals = this.#equals();
    let directoryAt = 0;
    for (let index = 0; index < order.length; index++) {
      const from = (order[index] as number) * DRAFT_WORDS;
      const to = index * NAME_ROW.words;
      for (let word = 0; word < NAME_ROW.words; word++) rows[to + word] = view[from + word] as number;
      const target = view[from + NAME_ROW.target] as number;
      if (equals[target] === (order[index] as number) + 1)
        this.#targets.view[target * TARGET_ROW.words + TARGET_ROW.equal] = index + 1;
      const id = view[from + DRAFT_DIRECTORY] as number;
      if (index === 0 || directories.view[directoryAt + DIRECTORY_ROW.id] !== id) {
        directoryAt = directories.add();
        directories.view[directoryAt + DIRECTORY_ROW.id] = id;
        directories.view[directoryAt + DIRECTORY_ROW.firstName] = index;
      }
      (directories.view[directoryAt + DIRECTORY_ROW.nameCount] as number)++;
    }
  }

  /** Of each target, by the names' order so far. */
  #equals(): Uint32Array {
    const { view } = this.#targets;
    return Uint32Array.from(
      { length: this.#targets.count },
      (_, index) => view[index * TARGET_ROW.words + TARGET_ROW.equal] as number,
    );
  }

  /** Only what names are about to give way to has to be read. */
  #askOnlyOfUsed(): void {
    const used = new Uint8Array(this.#targets.count);
    const { view } = this.#names;
    for (let at = 0; at < this.#names.count * DRAFT_WORDS; at += DRAFT_WORDS)
      used[view[at + NAME_ROW.target] as number] = 1;
    for (let index = 0; index < used.length; index++)
      if (used[index] === 0) this.#targets.view[index * TARGET_ROW.words + TARGET_ROW.unread] = 0;
  }

  /** Rows of names by directory, then by name. */
  #order(): Uint32Array {
    const { view } = this.#names;
    const text = this.#text.whole;
    const order = Uint32Array.from({ length: this.#names.count }, (_, index) => index);
    return order.sort((a, b) => {
      const [atA, atB] = [a * DRAFT_WORDS, b * DRAFT_WORDS];
      const apart = (view[atA + DRAFT_DIRECTORY] as number) - (view[atB + DRAFT_DIRECTORY] as number);
      if (apart !== 0) return apart;
      const [fromA, fromB] = [view[atA + NAME_ROW.text] as number, view[atB + NAME_ROW.text] as number];
      const endA = fromA + (view[atA + NAME_ROW.length] as number);
      const endB = fromB + (view[atB + NAME_ROW.length] as number);
      return text.compare(text, fromB, endB, fromA, endA);
    });
  }
}

const NUL = Buffer.alloc(1);

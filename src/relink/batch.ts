import { REF_WORDS } from "../../store/store.ts";
import type { BatchMemory } from "./batch-memory.ts";
import { DIRECTORY_ROW, NAME_ROW, NO_DIRECTORY, TARGET_ROW, VICTIM_ROW } from "./batch-memory.ts";
import { freedBytes } from "./classes.ts";
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
} from "./layout.ts";
import type { ScatteredRecords } from "./record-file.ts";

/** A place of the stock: a directory's number and a name. */
export type Place = { directory: number; name: Buffer; unit: number };

/** Reads the names of inodes. */
export class PlaceReader {
  readonly #places: ScatteredRecords;
  readonly #heap: HeapReader;

  constructor(places: ScatteredRecords, heap: HeapReader) {
    this.#places = places;
    this.#heap = heap;
  }

  of(inode: Uint32Array, most = Infinity): Place[] {
    const first = numberAt(inode, NAMES_AT_HIGH);
    const count = Math.min(most, inode[NAMES_COUNT] as number);
    return Array.from({ length: count }, (_, index) => {
      const place = this.#places.at(first + index);
      const [directory = 0] = place;
      return { directory, unit: place[PLACE_WORDS - 1] as number, name: this.#heap.read(place, 1) };
    });
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

type Entry = Place & { victim: number; target: number };

/** A batch while it is put together: plain values, turned into shared tables at the end. */
export class BatchDraft {
  readonly #entries: Entry[] = [];
  readonly #victims: Uint32Array[] = [];
  readonly #targets: Target[] = [];
  #textBytes = 0;

  get names(): number {
    return this.#entries.length;
  }
  get targets(): number {
    return this.#targets.length;
  }

  /** @returns its number in this batch */
  addTarget(target: Target): number {
    this.#textBytes += (target.place?.name.length ?? 0) + 1;
    return this.#targets.push(target) - 1;
  }

  addVictim(inode: Uint32Array, places: readonly Place[], target: number): void {
    const victim = this.#victims.push(inode.slice()) - 1;
    for (const place of places) {
      this.#textBytes += place.name.length + 1;
      this.#entries.push({ ...place, victim, target });
    }
  }

  /** The tables, names sorted by directory. */
  toMemory(): BatchMemory {
    const entries = this.#entries.sort((a, b) => a.directory - b.directory || a.name.compare(b.name));
    const text = new TextTable(this.#textBytes);
    const used = new Set(entries.map(({ target }) => target));
    return {
      names: shared(entries, NAME_ROW.words, (row, entry) => {
        text.put(entry.name, row, NAME_ROW.text);
        row[NAME_ROW.victim] = entry.victim;
        row[NAME_ROW.target] = entry.target;
        row[NAME_ROW.unit] = entry.unit;
      }),
      directories: directoriesOf(entries),
      victims: shared(this.#victims, VICTIM_ROW.words, (row, inode) => {
        row.set(inode.subarray(0, STATE_WORDS), VICTIM_ROW.state);
        row[VICTIM_ROW.namesCount] = inode[NAMES_COUNT] as number;
        row[VICTIM_ROW.freedBlocks] = Math.floor(freedBytes(inode) / 512 / 0x100000000);
        row[VICTIM_ROW.freedBlocks + 1] = (freedBytes(inode) / 512) >>> 0;
      }),
      targets: shared(this.#targets, TARGET_ROW.words, (row, target, index) => {
        putTarget(row, target, text);
        row[TARGET_ROW.unread] = used.has(index) ? (target.inode[UNREAD] as number) : 0;
      }),
      text: text.memory,
    };
  }
}

function putTarget(row: Uint32Array, { ref, inode, place, isAgain }: Target, text: TextTable): void {
  row.set(ref.subarray(0, REF_WORDS), TARGET_ROW.ref);
  row.set(inode.subarray(0, STATE_WORDS), TARGET_ROW.inode);
  row[TARGET_ROW.directory] = place?.directory ?? NO_DIRECTORY;
  text.put(place?.name ?? Buffer.alloc(0), row, TARGET_ROW.text);
  row[TARGET_ROW.again] = isAgain ? 1 : 0;
  row[TARGET_ROW.generation] = inode[GENERATION] as number;
  row.set(inode.subarray(XATTR_VARIANT, XATTR_VARIANT + 2), TARGET_ROW.xattrs);
}

function directoriesOf(entries: readonly Entry[]): SharedArrayBuffer {
  const starts = entries.flatMap(({ directory }, index) =>
    index === 0 || entries[index - 1]?.directory !== directory ? [index] : [],
  );
  return shared(starts, DIRECTORY_ROW.words, (row, start, index) => {
    row[DIRECTORY_ROW.id] = entries[start]?.directory ?? 0;
    row[DIRECTORY_ROW.firstName] = start;
    row[DIRECTORY_ROW.nameCount] = (starts[index + 1] ?? entries.length) - start;
  });
}

function shared<T>(
  items: readonly T[],
  words: number,
  fill: (row: Uint32Array, item: T, index: number) => void,
): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(items.length * words * 4);
  const view = new Uint32Array(memory);
  items.forEach((item, index) => {
    fill(view.subarray(index * words, (index + 1) * words), item, index);
  });
  return memory;
}

/** NUL-terminated names; their position and length go into a row. */
class TextTable {
  readonly memory: SharedArrayBuffer;
  readonly #bytes: Buffer;
  #next = 0;

  constructor(sizeBytes: number) {
    this.memory = new SharedArrayBuffer(Math.max(1, sizeBytes));
    this.#bytes = Buffer.from(this.memory);
  }

  put(name: Buffer, row: Uint32Array, at: number): void {
    row[at] = this.#next;
    row[at + 1] = name.length;
    this.#bytes.set(name, this.#next);
    this.#next += name.length + 1;
  }
}

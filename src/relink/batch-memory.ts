import { REF_WORDS } from "../../store/store.ts";
import { INO_HIGH, INO_LOW, STATE_WORDS } from "./layout.ts";

type Table = "names" | "directories" | "victims" | "targets";

/**
 * Tables of a batch in memory that all threads share, as rows of 32-bit words; names are NUL-terminated in `text`. The
 * memory may be that of an earlier batch, and longer.
 */
export type BatchMemory = Readonly<Record<Table | "text", SharedArrayBuffer>> & {
  words: Readonly<Record<Table, number>>;
};

/** Memory of batches that follow each other: threads would keep that of each until they collect their garbage. */
export class BatchRoom {
  readonly #memory = Object.fromEntries(
    (["names", "directories", "victims", "targets", "text"] as const).map((each) => [
      each,
      new SharedArrayBuffer(0),
    ]),
  ) as Record<Table | "text", SharedArrayBuffer>;
  readonly #words = { names: 0, directories: 0, victims: 0, targets: 0 };

  /** Valid for one batch. */
  get memory(): BatchMemory {
    return { ...this.#memory, words: { ...this.#words } };
  }

  /** Words of a table, to be filled. */
  rows(table: Table, words: number): Uint32Array {
    this.#words[table] = words;
    return new Uint32Array(this.#at(table, words * 4), 0, words);
  }

  text(sizeBytes: number): Buffer {
    // What addresses it wants a byte at least.
    return Buffer.from(this.#at("text", Math.max(1, sizeBytes)));
  }

  #at(part: Table | "text", sizeBytes: number): SharedArrayBuffer {
    // In steps that double, as batches grow with the room that there is.
    if (this.#memory[part].byteLength < sizeBytes)
      this.#memory[part] = new SharedArrayBuffer(2 ** Math.ceil(Math.log2(sizeBytes)));
    return this.#memory[part];
  }
}

/** `xattrs`: where they are ignored, the mark of those that the name's inode had when they were written down. */
export const NAME_ROW = {
  text: 0,
  length: 1,
  victim: 2,
  target: 3,
  state: 4,
  unit: 5,
  xattrs: 6,
  words: 8,
} as const;
export const DIRECTORY_ROW = {
  id: 0,
  firstName: 1,
  nameCount: 2,
  inoHigh: 3,
  inoLow: 4,
  /** Seconds high and low, nanoseconds. */
  mtime: 5,
  /** Of its listing. */
  print: 8,
  state: 10,
  /** Position of its first name in the log. */
  logged: 11,
  words: 12,
} as const;
export const VICTIM_ROW = {
  state: 0,
  namesCount: STATE_WORDS,
  freedBlocks: STATE_WORDS + 1,
  words: STATE_WORDS + 3,
} as const;
/**
 * `inode` is the state that the target's inode must have. `directory`, `text`, `length`: a name of it in the tree,
 * where there is one. `xattrs`: its variant, where it has some; of xattrs that are ignored their mark. `again`: 1 where an
 * earlier batch had it, too. `unread`: 1 where names are to give way to it whose content this run did not read. `equal`:
 * the number + 1 of a name whose inode is to take the object's name where the object is spoiled; 0: there is none.
 */
export const TARGET_ROW = {
  ref: 0,
  inode: REF_WORDS,
  directory: REF_WORDS + STATE_WORDS,
  text: REF_WORDS + STATE_WORDS + 1,
  length: REF_WORDS + STATE_WORDS + 2,
  generation: REF_WORDS + STATE_WORDS + 3,
  xattrs: REF_WORDS + STATE_WORDS + 4,
  state: REF_WORDS + STATE_WORDS + 6,
  again: REF_WORDS + STATE_WORDS + 7,
  unread: REF_WORDS + STATE_WORDS + 8,
  equal: REF_WORDS + STATE_WORDS + 9,
  words: REF_WORDS + STATE_WORDS + 10,
} as const;

/** States of a row, 0 before anything was done: as it should be; it could not be. */
export const DONE = 1;
export const FAILED = 2;
/** A name that had its inode already. */
export const UNCHANGED = 3;

export const NO_DIRECTORY = 0xffffffff;

/** The tables as a thread sees them. */
export class BatchView {
  readonly text: Buffer;
  readonly #names: Uint32Array;
  readonly #directories: Uint32Array;
  readonly #victims: Uint32Array;
  readonly #targets: Uint32Array;

  constructor(memory: BatchMemory) {
    this.text = Buffer.from(memory.text);
    const rowsOf = (table: Table): Uint32Array => new Uint32Array(memory[table], 0, memory.words[table]);
    this.#names = rowsOf("names");
    this.#directories = rowsOf("directories");
    this.#victims = rowsOf("victims");
    this.#targets = rowsOf("targets");
  }

  get nameCount(): number {
    return this.#names.length / NAME_ROW.words;
  }
  get directoryCount(): number {
    return this.#directories.length / DIRECTORY_ROW.words;
  }
  /** Directories that were taken down. */
  get preparedCount(): number {
    let count = 0;
    for (let at: number = DIRECTORY_ROW.state; at < this.#directories.length; at += DIRECTORY_ROW.words)
      if (this.#directories[at] === DONE) count++;
    return count;
  }
  get victimCount(): number {
    return this.#victims.length / VICTIM_ROW.words;
  }
  get targetCount(): number {
    return this.#targets.length / TARGET_ROW.words;
  }

  name(index: number): Uint32Array {
    return this.#names.subarray(index * NAME_ROW.words, (index + 1) * NAME_ROW.words);
  }
  directory(index: number): Uint32Array {
    return this.#directories.subarray(index * DIRECTORY_ROW.words, (index + 1) * DIRECTORY_ROW.words);
  }
  victim(index: number): Uint32Array {
    return this.#victims.subarray(index * VICTIM_ROW.words, (index + 1) * VICTIM_ROW.words);
  }
  /** The state that the victim's inode must have. */
  stateOf(victim: number): Uint32Array {
    return this.victim(victim).subarray(VICTIM_ROW.state, VICTIM_ROW.state + STATE_WORDS);
  }
  target(index: number): Uint32Array {
    return this.#targets.subarray(index * TARGET_ROW.words, (index + 1) * TARGET_ROW.words);
  }

  /** The number of the directory in the stock that has this name. */
  directoryOf(name: number): number {
    let [low, high] = [0, this.directoryCount - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.directory(middle)[DIRECTORY_ROW.firstName] as number) <= name) low = middle;
      else high = middle - 1;
    }
    return this.directory(low)[DIRECTORY_ROW.id] as number;
  }

  /** The inode that the name led to has become its target. */
  isItself(name: Uint32Array): boolean {
    const victim = this.stateOf(name[NAME_ROW.victim] as number);
    const target = this.target(name[NAME_ROW.target] as number);
    return (
      victim[INO_LOW] === target[TARGET_ROW.inode + INO_LOW] &&
      victim[INO_HIGH] === target[TARGET_ROW.inode + INO_HIGH]
    );
  }

  /** Whether the inode is the name's victim or its target. */
  mayLeadTo(index: number, inoHigh: number, inoLow: number): boolean {
    const row = index * NAME_ROW.words;
    const victim = (this.#names[row + NAME_ROW.victim] as number) * VICTIM_ROW.words + VICTIM_ROW.state;
    const target = (this.#names[row + NAME_ROW.target] as number) * TARGET_ROW.words + TARGET_ROW.inode;
    return (
      (this.#victims[victim + INO_LOW] === inoLow && this.#victims[victim + INO_HIGH] === inoHigh) ||
      (this.#targets[target + INO_LOW] === inoLow && this.#targets[target + INO_HIGH] === inoHigh)
    );
  }

  /** The name, not copied. */
  bytesOf(row: Uint32Array, at: number): Buffer {
    const from = row[at] as number;
    return this.text.subarray(from, from + (row[at + 1] as number));
  }

  /** A copy of the name. */
  textOf(row: Uint32Array, at = 0): Buffer {
    return Buffer.from(this.bytesOf(row, at));
  }
}

import { REF_WORDS } from "../../store/store.ts";
import { INO_HIGH, INO_LOW, STATE_WORDS } from "./layout.ts";

/** Tables of a batch in memory that all threads share, as rows of 32-bit words; names are NUL-terminated in `text`. */
export type BatchMemory = {
  text: SharedArrayBuffer;
  names: SharedArrayBuffer;
  directories: SharedArrayBuffer;
  victims: SharedArrayBuffer;
  targets: SharedArrayBuffer;
};

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
 * earlier batch had it, too. `unread`: 1 where names are to give way to it whose content this run did not read.
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
  words: REF_WORDS + STATE_WORDS + 9,
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
    this.#names = new Uint32Array(memory.names);
    this.#directories = new Uint32Array(memory.directories);
    this.#victims = new Uint32Array(memory.victims);
    this.#targets = new Uint32Array(memory.targets);
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

  /** A name that is to lead to this target, and its directory. */
  firstNameOf(target: number): { name: Uint32Array; directory: number } | undefined {
    for (let index = 0; index < this.directoryCount; index++) {
      const row = this.directory(index);
      const first = row[DIRECTORY_ROW.firstName] as number;
      const end = first + (row[DIRECTORY_ROW.nameCount] as number);
      for (let at = first; at < end; at++)
        if (this.#names[at * NAME_ROW.words + NAME_ROW.target] === target)
          return { name: this.name(at), directory: row[DIRECTORY_ROW.id] as number };
    }
    return undefined;
  }

  /** The names of this victim stay as they are. */
  leaveNamesOf(victim: number): void {
    for (let at = 0; at < this.#names.length; at += NAME_ROW.words)
      if (this.#names[at + NAME_ROW.victim] === victim) this.#names[at + NAME_ROW.state] = FAILED;
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
    const from = row[at] as number;
    return Buffer.from(this.text.subarray(from, from + (row[at + 1] as number)));
  }
}

import { randomBytes } from "node:crypto";
import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR } from "../sys/constants.ts";
import { SysError, check } from "../sys/errors.ts";
import { openRoot, type Kernel } from "../sys/files.ts";
import type { Memory } from "../sys/sys.ts";
import { DEVICE, HIGH, LOW, SIDE, STATE, rowHash, type InodeKey } from "./ledger-row.ts";
import { LEVELS, LEVEL_FD, LEVEL_USED, MOST_LEVELS, ROW_WORDS } from "./ledger-row.ts";

const ROW_BYTES = ROW_WORDS * 4;
/** Rows read at a time while one is looked for. */
const BLOCK_ROWS = 8;
/** The first file has 2^20 places; each further one has twice as many as the one before. */
const FIRST_BITS = 20;
const FULL_SHARE = 0.7;

/**
 * The part of the ledger that does not fit into memory: hash tables in files that have no name any more, so that
 * nothing of them outlives the run. The caller holds the ledger's lock during every call.
 */
export class LedgerFiles {
  readonly #kernel: Kernel;
  readonly #words: Int32Array;
  readonly #directory: string;
  readonly #block: Memory;
  readonly #rows: Int32Array;

  constructor(kernel: Kernel, words: Int32Array, directory: string) {
    this.#kernel = kernel;
    this.#words = words;
    this.#directory = directory;
    this.#block = kernel.sys.allocate(BLOCK_ROWS * ROW_BYTES);
    const { buffer, byteOffset } = this.#block.bytes;
    this.#rows = new Int32Array(buffer, byteOffset, BLOCK_ROWS * ROW_WORDS);
  }

  get exist(): boolean {
    return Atomics.load(this.#words, LEVELS) > 0;
  }

  find(key: InodeKey, into: Int32Array): boolean {
    for (let level = (this.#words[LEVELS] as number) - 1; level >= 0; level--) {
      const { at, isThere } = this.#probe(level, key);
      if (!isThere) continue;
      into.set(this.#rows.subarray((at % BLOCK_ROWS) * ROW_WORDS, ((at % BLOCK_ROWS) + 1) * ROW_WORDS));
      return true;
    }
    return false;
  }

  insert(key: InodeKey, row: Int32Array): void {
    let level = (this.#words[LEVELS] as number) - 1;
    if (level < 0 || (this.#words[LEVEL_USED + level] as number) >= FULL_SHARE * placesOf(level)) {
      level++;
      this.#words[LEVEL_FD + level] = this.#create(level);
      Atomics.store(this.#words, LEVELS, level + 1);
    }
    this.#words[LEVEL_USED + level] = (this.#words[LEVEL_USED + level] as number) + 1;
    this.#write(level, this.#probe(level, key).at, row);
  }

  update(key: InodeKey, row: Int32Array): void {
    for (let level = (this.#words[LEVELS] as number) - 1; level >= 0; level--) {
      const { at, isThere } = this.#probe(level, key);
      if (!isThere) continue;
      this.#write(level, at, row);
      return;
    }
    throw new Error("an inode was settled that nobody had claimed");
  }

  close(): void {
    const levels = Atomics.exchange(this.#words, LEVELS, 0);
    for (let level = 0; level < levels; level++)
      this.#kernel.sys.close(this.#words[LEVEL_FD + level] as number);
  }

  /** The place of the key, or the empty one where the search ends; its block is in memory afterwards. */
  #probe(level: number, key: InodeKey): { at: number; isThere: boolean } {
    const mask = placesOf(level) - 1;
    const start = rowHash(key.side, key.device, key.inoLow, key.inoHigh) & mask;
    let loaded = -1;
    for (let at = start; ; at = (at + 1) & mask) {
      const block = at - (at % BLOCK_ROWS);
      if (block !== loaded) this.#load(level, block);
      loaded = block;
      const row = (at % BLOCK_ROWS) * ROW_WORDS;
      if (this.#rows[row + STATE] === 0) return { at, isThere: false };
      if (this.#isKey(row, key)) return { at, isThere: true };
    }
  }

  #isKey(row: number, { side, device, inoLow, inoHigh }: InodeKey): boolean {
    const rows = this.#rows;
    return (
      rows[row + LOW] === (inoLow | 0) &&
      rows[row + HIGH] === (inoHigh | 0) &&
      rows[row + DEVICE] === (device | 0) &&
      rows[row + SIDE] === side
    );
  }

  #load(level: number, place: number): void {
    const { sys } = this.#kernel;
    this.#rows.fill(0);
    const fd = this.#words[LEVEL_FD + level] as number;
    check(sys.pread(fd, this.#block.address, this.#block.bytes.length, place * ROW_BYTES), "read", "ledger");
  }

  #write(level: number, place: number, row: Int32Array): void {
    const { sys } = this.#kernel;
    this.#rows.set(row.subarray(0, ROW_WORDS), 0);
    const fd = this.#words[LEVEL_FD + level] as number;
    const wrote = check(sys.pwrite(fd, this.#block.address, ROW_BYTES, place * ROW_BYTES), "write", "ledger");
    if (wrote !== ROW_BYTES) throw new SysError("write", 28, "ledger");
  }

  #create(level: number): number {
    if (level >= MOST_LEVELS) throw new Error("the ledger has no further level");
    const { sys, scratch } = this.#kernel;
    const directory = openRoot(this.#kernel, this.#directory);
    const name = `dedupe-verify-${randomBytes(8).toString("hex")}`;
    const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    const fd = check(sys.openat(directory, scratch.text(name), flags, 0o600), "openat", name);
    sys.unlinkat(directory, scratch.text(name), 0);
    sys.close(directory);
    check(sys.ftruncate(fd, placesOf(level) * ROW_BYTES), "ftruncate", name);
    return fd;
  }
}

const placesOf = (level: number): number => 2 ** (FIRST_BITS + level);

import { randomBytes } from "node:crypto";
import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import { RunFailure } from "../work/errors.ts";
import { BlockCache } from "./block-cache.ts";

/** A scratch file without a name: nothing is left when the run dies, and no one else's file goes. @throws SysError */
export function openScratch({ sys, scratch }: Kernel, dirFd: number, kind: string): number {
  const unnamed = sys.openat(dirFd, scratch.text("."), sys.O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600);
  if (unnamed >= 0) return unnamed;
  // Not every filesystem has O_TMPFILE. The directory may be /tmp, where names are anyone's.
  const name = `dedupe-${kind}-${randomBytes(8).toString("hex")}`;
  const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = check(sys.openat(dirFd, scratch.text(name), flags, 0o600), "openat", name);
  check(sys.unlinkat(dirFd, scratch.text(name), 0), "unlinkat", name);
  return fd;
}

/** @throws RunFailure: without its stock a run cannot go on */
export function writeScratch(sys: Sys, fd: number, memory: Memory, sizeBytes: number, offset: number): void {
  for (let done = 0; done < sizeBytes;) {
    const result = sys.pwrite(fd, memory.address + done, sizeBytes - done, offset + done);
    if (result <= 0)
      throw new RunFailure(
        "STOCK",
        "there is no room for the stock of names and inodes; name a directory with room with --index",
      );
    done += result;
  }
}

const BUFFER_BYTES = 1 << 18;

/** Appends records of words to a file of one writer. */
export class RecordWriter {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #words: number;
  /** Made with the first record. */
  #buffer: { memory: Memory; view: Uint32Array } | undefined;
  #held = 0;
  #flushed = 0;

  constructor(sys: Sys, fd: number, words: number) {
    this.#sys = sys;
    this.#fd = fd;
    this.#words = words;
  }

  #opened(): { memory: Memory; view: Uint32Array } {
    if (this.#buffer !== undefined) return this.#buffer;
    const words = Math.max(1, Math.floor(BUFFER_BYTES / (this.#words * 4))) * this.#words;
    const memory = this.#sys.allocate(words * 4);
    this.#buffer = { memory, view: new Uint32Array(memory.bytes.buffer, memory.bytes.byteOffset, words) };
    return this.#buffer;
  }

  /** How many records were appended. */
  get count(): number {
    return this.#flushed + this.#held;
  }

  append(record: Uint32Array): void {
    const { view } = this.#opened();
    if ((this.#held + 1) * this.#words > view.length) this.flush();
    view.set(record, this.#held * this.#words);
    this.#held++;
  }

  flush(): void {
    if (this.#held === 0) return;
    const bytes = this.#words * 4;
    const { memory } = this.#opened();
    writeScratch(this.#sys, this.#fd, memory, this.#held * bytes, this.#flushed * bytes);
    this.#flushed += this.#held;
    this.#held = 0;
  }
}

/** Reads consecutive records from anywhere in a file; a record is valid until the next call. */
export class RecordReader {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #words: number;
  readonly #memory: Memory;
  readonly #view: Uint32Array;
  #first = 0;
  #held = 0;

  constructor(sys: Sys, fd: number, words: number, bufferBytes = BUFFER_BYTES) {
    this.#sys = sys;
    this.#fd = fd;
    this.#words = words;
    const records = Math.max(1, Math.floor(bufferBytes / (words * 4)));
    this.#memory = sys.allocate(records * words * 4);
    this.#view = new Uint32Array(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, records * words);
  }

  /** @throws SysError; a record beyond the end is a bug */
  at(index: number): Uint32Array {
    if (index < this.#first || index >= this.#first + this.#held) this.#fill(index);
    const from = (index - this.#first) * this.#words;
    return this.#view.subarray(from, from + this.#words);
  }

  #fill(index: number): void {
    const bytes = this.#words * 4;
    let got = 0;
    while (got < bytes) {
      const result = check(
        this.#sys.pread(
          this.#fd,
          this.#memory.address + got,
          this.#memory.bytes.length - got,
          index * bytes + got,
        ),
        "read",
      );
      if (result === 0) throw new Error(`the stock has no record ${String(index)}`);
      got += result;
    }
    this.#first = index;
    this.#held = Math.floor(got / bytes);
  }
}

/** How much is kept of records that are read here and there: those of 10,000 inodes and more. */
const SCATTERED_BYTES = 1 << 22;

/** Reads records in any order; a record is valid until the next call. */
export class ScatteredRecords {
  readonly #cache: BlockCache;
  readonly #words: number;

  constructor(sys: Sys, fd: number, words: number, cacheBytes = SCATTERED_BYTES) {
    this.#cache = new BlockCache(sys, fd, cacheBytes);
    this.#words = words;
  }

  /** @throws SysError; a record beyond the end is a bug */
  at(index: number): Uint32Array {
    const sizeBytes = this.#words * 4;
    const { buffer, byteOffset } = this.#cache.read(index * sizeBytes, sizeBytes);
    return new Uint32Array(buffer, byteOffset, this.#words);
  }

  /** As `at`, into words of the caller's. @throws SysError */
  copy(index: number, into: Uint32Array): void {
    this.#cache.copyWords(index * this.#words * 4, into);
  }

  /** As BlockCache.forget. */
  forget(): void {
    this.#cache.forget();
  }
}

import { check } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import { writeScratch } from "./record-file.ts";

const BUFFER_BYTES = 1 << 16;
const BLOCK_BYTES = 4096;
const HIGH = 0x100000000;

/** Bytes of names, one after another: of one thread. */
export class HeapWriter {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #worker: number;
  readonly #memory: Memory;
  #held = 0;
  #flushed = 0;

  constructor(sys: Sys, fd: number, worker: number) {
    this.#sys = sys;
    this.#fd = fd;
    this.#worker = worker;
    this.#memory = sys.allocate(BUFFER_BYTES);
  }

  /** Appends a name; its three words (length and thread, position) go to `words` from `at` on. */
  append(name: Buffer, words: Uint32Array, at: number): void {
    if (this.#held + name.length > BUFFER_BYTES) this.flush();
    const position = this.#flushed + this.#held;
    this.#memory.bytes.set(name, this.#held);
    this.#held += name.length;
    words[at] = ((this.#worker << 16) | name.length) >>> 0;
    words[at + 1] = Math.floor(position / HIGH);
    words[at + 2] = position >>> 0;
  }

  flush(): void {
    writeScratch(this.#sys, this.#fd, this.#memory, this.#held, this.#flushed);
    this.#flushed += this.#held;
    this.#held = 0;
  }
}

/** Reads names of all threads, once they have flushed theirs. */
export class HeapReader {
  readonly #sys: Sys;
  readonly #fds: readonly number[];
  readonly #blocks: Block[];

  constructor(sys: Sys, fds: readonly number[]) {
    this.#sys = sys;
    this.#fds = fds;
    this.#blocks = fds.map(() => ({ memory: undefined, start: 0, end: 0 }));
  }

  /** The files are written anew: what is held of them is of no use. */
  forget(): void {
    for (const block of this.#blocks) block.start = block.end = 0;
  }

  /** A copy of the name whose three words begin at `at`. */
  read(words: Uint32Array, at: number): Buffer {
    const head = words[at] as number;
    const length = head & 0xffff;
    const position = (words[at + 1] as number) * HIGH + (words[at + 2] as number);
    const block = this.#blocks[head >>> 16] as Block;
    if (position < block.start || position + length > block.end) this.#fill(head >>> 16, position, length);
    const from = position - block.start;
    return Buffer.from((block.memory as Memory).bytes.subarray(from, from + length));
  }

  /** Names that are read one after another were mostly written near each other. */
  #fill(writer: number, position: number, length: number): void {
    const block = this.#blocks[writer] as Block;
    block.memory ??= this.#sys.allocate(BLOCK_BYTES + BUFFER_BYTES);
    block.start = Math.floor(position / BLOCK_BYTES) * BLOCK_BYTES;
    const wanted = position + length - block.start + BLOCK_BYTES / 2;
    const room = Math.min(block.memory.bytes.length, Math.ceil(wanted));
    const fd = this.#fds[writer] as number;
    block.end = block.start + check(this.#sys.pread(fd, block.memory.address, room, block.start), "read");
    if (position + length > block.end) throw new Error("the stock of names is short");
  }
}

/** What is held of one heap. */
type Block = { memory: Memory | undefined; start: number; end: number };

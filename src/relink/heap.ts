import type { Memory, Sys } from "../sys/sys.ts";
import { BlockCache } from "./block-cache.ts";
import { writeScratch } from "./record-file.ts";

const BUFFER_BYTES = 1 << 16;
/** What a thread keeps of the names of all threads: a hundred thousand names, say. */
const CACHE_BYTES = 1 << 22;
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
  readonly #caches: readonly BlockCache[];

  constructor(sys: Sys, fds: readonly number[]) {
    this.#caches = fds.map((fd) => new BlockCache(sys, fd, CACHE_BYTES / fds.length));
  }

  /** As BlockCache.forget. */
  forget(): void {
    for (const cache of this.#caches) cache.forget();
  }

  /** A copy of the name whose three words begin at `at`. */
  read(words: Uint32Array, at: number): Buffer {
    return Buffer.from(this.view(words, at));
  }

  /** As `read`, valid until the next call. */
  view(words: Uint32Array, at: number): Buffer {
    const head = words[at] as number;
    const position = (words[at + 1] as number) * HIGH + (words[at + 2] as number);
    return (this.#caches[head >>> 16] as BlockCache).read(position, head & 0xffff);
  }
}

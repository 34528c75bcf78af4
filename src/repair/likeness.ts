import { check, errno } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";

const CHUNK_BYTES = 1 << 20;
const BLOCK_BYTES = 4096;

/** Bytes of the damaged file that could be read, and those among them that the other file has at the same place. */
export type Likeness = { read: number; agreeing: number };

/** Compares a file, parts of which the disk may refuse to give, with a sound one. */
export class Comparer {
  readonly #sys: Sys;
  readonly #one: Memory;
  readonly #other: Memory;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#one = sys.allocate(CHUNK_BYTES);
    this.#other = sys.allocate(CHUNK_BYTES);
  }

  /** @throws SysError where the sound one cannot be read */
  compare(damagedFd: number, soundFd: number, sizeBytes: number): Likeness {
    const sum: Likeness = { read: 0, agreeing: 0 };
    for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
      const wanted = Math.min(CHUNK_BYTES, sizeBytes - at);
      if (this.#read(damagedFd, at, wanted)) this.#count(soundFd, at, { wanted, sum });
      else
        for (let block = at; block < at + wanted; block += BLOCK_BYTES) {
          const part = Math.min(BLOCK_BYTES, at + wanted - block);
          if (this.#read(damagedFd, block, part)) this.#count(soundFd, block, { wanted: part, sum });
        }
    }
    return sum;
  }

  /** false: the disk cannot give it. */
  #read(fd: number, offset: number, wanted: number): boolean {
    const got = this.#sys.pread(fd, this.#one.address, wanted, offset);
    if (got === -errno.EIO) return false;
    return check(got, "read") === wanted;
  }

  #count(soundFd: number, offset: number, { wanted, sum }: { wanted: number; sum: Likeness }): void {
    const got = check(this.#sys.pread(soundFd, this.#other.address, wanted, offset), "read");
    sum.read += wanted;
    for (let at = 0; at < got; at += BLOCK_BYTES) {
      const end = Math.min(at + BLOCK_BYTES, got);
      if (this.#one.bytes.compare(this.#other.bytes, at, end, at, end) === 0) sum.agreeing += end - at;
      else
        for (let byte = at; byte < end; byte++)
          if (this.#one.bytes[byte] === this.#other.bytes[byte]) sum.agreeing++;
    }
  }
}

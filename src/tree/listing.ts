import { errno } from "../sys/errors.ts";
import type { Address, Memory, Sys } from "../sys/sys.ts";

const BUFFER_BYTES = 1 << 16;
const DOT = 0x2e;

/** One name to be dealt with: a copy, because the listing's buffer is reused. */
export type Entry = { name: Buffer; inoLow: number; inoHigh: number };

/**
 * Reads a directory with getdents64(2): names stay in the kernel's buffer, NUL-terminated, so that calls can take
 * them from there. struct linux_dirent64: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name.
 */
export class Listing {
  readonly #sys: Sys;
  readonly #memory: Memory;
  readonly #words: Uint32Array;
  readonly #halves: Uint16Array;
  #end = 0;
  #next = 0;
  #at = 0;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#memory = sys.allocate(BUFFER_BYTES);
    const { buffer, byteOffset } = this.#memory.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, BUFFER_BYTES / 4);
    this.#halves = new Uint16Array(buffer, byteOffset, BUFFER_BYTES / 2);
  }

  /** Fills the buffer: bytes, 0 at the end of the directory, -errno. Invalidates names handed out before. */
  read(fd: number): number {
    const got = this.#sys.getdents64(fd, this.#memory.address, BUFFER_BYTES);
    this.#end = Math.max(0, got);
    this.#next = 0;
    return got;
  }

  /** As `read`; a directory that was removed since it was opened has no names left (getdents64(2): ENOENT). */
  readIfThere(fd: number): number {
    const got = this.read(fd);
    return got === -errno.ENOENT ? 0 : got;
  }

  /** Steps to the next entry in the buffer, "." and ".." left out; false when it is used up. */
  next(): boolean {
    while (this.#next < this.#end) {
      this.#at = this.#next;
      this.#next += this.#halves[(this.#at + 16) >> 1] as number;
      if (!this.#isDotOrDotDot()) return true;
    }
    return false;
  }

  #isDotOrDotDot(): boolean {
    const { bytes } = this.#memory;
    const name = this.#at + 19;
    if (bytes[name] !== DOT) return false;
    return bytes[name + 1] === 0 || (bytes[name + 1] === DOT && bytes[name + 2] === 0);
  }

  get inoLow(): number {
    return this.#words[this.#at >> 2] as number;
  }
  get inoHigh(): number {
    return this.#words[(this.#at >> 2) + 1] as number;
  }
  /** DT_*, DT_UNKNOWN where the filesystem does not say. */
  get type(): number {
    return this.#memory.bytes[this.#at + 18] as number;
  }
  /** Of the NUL-terminated name; valid until the next `read`. */
  get nameAddress(): Address {
    return this.#memory.address + this.#at + 19;
  }
  /** Of the name, as hashName (fingerprint.ts) has it: FNV-1a. */
  get nameHash(): number {
    const { bytes } = this.#memory;
    let hash = 0x811c9dc5;
    for (let at = this.#at + 19; bytes[at] !== 0; at++)
      hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    return hash ^ (hash >>> 15);
  }
  copyName(): Buffer {
    const start = this.#at + 19;
    return Buffer.from(this.#memory.bytes.subarray(start, this.#memory.bytes.indexOf(0, start)));
  }
}

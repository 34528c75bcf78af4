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
  #memory!: Memory;
  #words!: Uint32Array;
  #halves!: Uint16Array;
  #end = 0;
  #next = 0;
  #at = 0;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#allocate(BUFFER_BYTES);
  }

  #allocate(sizeBytes: number): void {
    this.#memory = this.#sys.allocate(sizeBytes);
    const { buffer, byteOffset } = this.#memory.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, sizeBytes / 4);
    this.#halves = new Uint16Array(buffer, byteOffset, sizeBytes / 2);
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

  /** As `read`, but all of a directory that was not read from yet: the buffer grows to hold it. */
  readWhole(fd: number): number {
    this.#end = 0;
    this.#next = 0;
    for (;;) {
      if (this.#memory.bytes.length - this.#end < BUFFER_BYTES) this.#grow();
      const got = this.#sys.getdents64(fd, this.#memory.address + this.#end, BUFFER_BYTES);
      if (got <= 0) return got < 0 ? got : this.#end;
      this.#end += got;
    }
  }

  #grow(): void {
    const held = this.#memory.bytes;
    this.#allocate(held.length * 2);
    this.#memory.bytes.set(held);
  }

  /** Where the entry is that `next` stepped to; valid until the next `read`, in any order. */
  get position(): number {
    return this.#at;
  }
  set position(at: number) {
    this.#at = at;
  }
  /** Of two positions, for `Array.sort`. */
  compareInodes(a: number, b: number): number {
    const [left, right] = [a >> 2, b >> 2];
    const high = (this.#words[left + 1] as number) - (this.#words[right + 1] as number);
    return high !== 0 ? high : (this.#words[left] as number) - (this.#words[right] as number);
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
  /** The NUL-terminated name within the buffer; valid until the next `read`. */
  get nameBytes(): { bytes: Uint8Array; at: number } {
    return { bytes: this.#memory.bytes, at: this.#at + 19 };
  }
  /** Of the name, as hashName (fingerprint.ts) has it: FNV-1a. */
  get nameHash(): number {
    const { bytes } = this.#memory;
    let hash = 0x811c9dc5;
    for (let at = this.#at + 19; bytes[at] !== 0; at++)
      hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    return hash ^ (hash >>> 15);
  }
  /** Copies the name, without its NUL. @returns where it ends */
  copyNameTo(out: Uint8Array, at: number): number {
    const { bytes } = this.#memory;
    for (let from = this.#at + 19; bytes[from] !== 0; from++) out[at++] = bytes[from] as number;
    return at;
  }
  copyName(): Buffer {
    const start = this.#at + 19;
    return Buffer.from(this.#memory.bytes.subarray(start, this.#memory.bytes.indexOf(0, start)));
  }
}

import { POSIX_FADV_DONTNEED, SEEK_DATA, SEEK_HOLE } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";
import { blake3, openHasher, type Hasher } from "../../store/hash/blake3.ts";

const BUFFER_BYTES = 1 << 20;
const BLOCK_BYTES = 4096;
/**
 * A hole up to here is read like data: that a filesystem calls a stretch a hole is its word alone, and there were
 * filesystems that said so of data. A longer one is believed, or 16 TiB of nothing would take hours.
 */
const BELIEVED_BYTES = 64 << 20;
/** From this size on what was read leaves the page cache behind it. */
const DROP_BEHIND_BYTES = 32 << 20;

/** Half-open range of 4 KiB blocks. */
export type HoleRange = readonly [first: number, after: number];

/** Reads and hashes content; one per thread. */
export class ContentReader {
  readonly #sys: Sys;
  readonly #memory: Memory;
  readonly #zeros = Buffer.alloc(BUFFER_BYTES);
  readonly #meter: (bytes: number) => void;

  /** `meter` hears of bytes read; it may sleep, and throws to stop. */
  constructor(sys: Sys, meter: (bytes: number) => void) {
    this.#sys = sys;
    this.#memory = sys.allocate(BUFFER_BYTES);
    this.#meter = meter;
  }

  /** BLAKE3-256 of all the file has; undefined when that is not `sizeBytes`. @throws SysError */
  digest(fd: number, sizeBytes: number): Buffer | undefined {
    if (sizeBytes <= BUFFER_BYTES) {
      const got = this.#fill(fd, 0, sizeBytes);
      return got === sizeBytes ? blake3(this.#memory.bytes.subarray(0, got)) : undefined;
    }
    const hasher = openHasher();
    let dropped = 0;
    for (let at = 0; at < sizeBytes;) {
      const hole = this.#longHole(fd, at, sizeBytes);
      if (hole > 0) this.#hashZeros(hasher, hole);
      const got = hole > 0 ? hole : this.#fill(fd, at, Math.min(BUFFER_BYTES, sizeBytes - at));
      if (got === 0) return undefined;
      if (hole === 0) hasher.update(this.#memory.bytes.subarray(0, got));
      at += got;
      if (sizeBytes >= 2 * DROP_BEHIND_BYTES && at - dropped >= DROP_BEHIND_BYTES) {
        this.#sys.fadvise(fd, dropped, at - dropped, POSIX_FADV_DONTNEED);
        dropped = at;
      }
    }
    return hasher.finish();
  }

  /** Reads until the stretch is full or the file ends. */
  #fill(fd: number, offset: number, sizeBytes: number): number {
    let at = 0;
    while (at < sizeBytes) {
      const got = check(this.#sys.pread(fd, this.#memory.address + at, sizeBytes - at, offset + at), "read");
      if (got === 0) break;
      at += got;
    }
    this.#meter(at);
    return at;
  }

  /** The length of the hole that begins here, where it is one to be believed; 0 otherwise. */
  #longHole(fd: number, at: number, sizeBytes: number): number {
    if (sizeBytes - at < BELIEVED_BYTES) return 0;
    const data = this.#sys.lseek(fd, at, SEEK_DATA);
    if (data < 0 && data !== -errno.ENXIO) return 0;
    const end = data === -errno.ENXIO ? sizeBytes : Math.min(data, sizeBytes);
    return end - at >= BELIEVED_BYTES ? end - at : 0;
  }

  #hashZeros(hasher: Hasher, count: number): void {
    for (let left = count; left > 0; left -= BUFFER_BYTES) {
      this.#meter(0);
      hasher.update(left >= BUFFER_BYTES ? this.#zeros : this.#zeros.subarray(0, left));
    }
  }

  /** Drops what the page cache has of the file, but for what waits to be written. */
  forget(fd: number): void {
    this.#sys.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  }

  /** The aligned blocks that lie wholly in holes (a short last one is none). @throws SysError */
  holes(fd: number, sizeBytes: number): HoleRange[] {
    const found: HoleRange[] = [];
    for (let at = 0; at < sizeBytes;) {
      const hole = this.#sys.lseek(fd, at, SEEK_HOLE);
      if (hole === -errno.EINVAL || hole === -errno.EOPNOTSUPP) return [];
      if (check(hole, "read") >= sizeBytes) break;
      const data = this.#sys.lseek(fd, hole, SEEK_DATA);
      const end = data === -errno.ENXIO ? sizeBytes : Math.min(check(data, "read"), sizeBytes);
      const [first, after] = [Math.ceil(hole / BLOCK_BYTES), Math.floor(end / BLOCK_BYTES)];
      if (after > first) found.push([first, after]);
      at = end;
    }
    return found;
  }
}

/** How many blocks of `wanted` are not in `present`; both ascend. */
export function blocksLost(wanted: readonly HoleRange[], present: readonly HoleRange[]): number {
  let lost = 0;
  let index = 0;
  for (const [first, after] of wanted) {
    lost += after - first;
    while (index < present.length && (present[index] as HoleRange)[1] <= first) index++;
    for (let at = index; at < present.length; at++) {
      const [start, end] = present[at] as HoleRange;
      if (start >= after) break;
      lost -= Math.min(after, end) - Math.max(first, start);
    }
  }
  return lost;
}

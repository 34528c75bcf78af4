import {
  FICLONE,
  POSIX_FADV_DONTNEED,
  SEEK_DATA,
  SEEK_HOLE,
  SEEK_SET,
  SYNC_FILE_RANGE_WAIT_AFTER,
  SYNC_FILE_RANGE_WAIT_BEFORE,
  SYNC_FILE_RANGE_WRITE,
} from "../src/sys/constants.ts";
import { check, errno } from "../src/sys/errors.ts";
import type { Memory, Sys } from "../src/sys/sys.ts";
import { blake3, openHasher, type Hasher } from "./hash/blake3.ts";
import { BLOCK_BYTES, runsOfData } from "./zero-blocks.ts";

/** One read, one write up to here; beyond, content streams through the buffer. */
export const SMALL_BYTES = 1 << 20;
/** From this size on the page cache is relieved of what passed through, in windows of this size. */
const DROP_BEHIND_BYTES = 32 << 20;

/** Called for bytes read (before the next read: it may sleep) and written; throws to stop. */
export type ContentMeter = { read(bytes: number): void; wrote(bytes: number): void };

/** `isSource`: what is read counts, and \`passed\` tells of it. */
type CopyJob = { fromFd: number; toFd: number; sizeBytes: number; isSource: boolean };

/** A hole or a stretch of data: [start, end). */
type Segment = { start: number; end: number; isData: boolean };

/** Reads, hashes and copies content for one thread. Offsets and sizes are bytes. */
export class ContentMover {
  readonly #sys: Sys;
  readonly #meter: ContentMeter;
  readonly #memory: Memory;
  /** For what is hashed while `readSmall`'s content waits to be written: it must not end up in the other's buffer. */
  readonly #checked: Memory;
  readonly #zeros = Buffer.alloc(BLOCK_BYTES * 16);
  /**
   * Of what was read last from the source: bytes that a copy writes, and whether aligned blocks of zeros lie in what
   * the source calls data.
   */
  readonly passed = { dataBytes: 0, hasZeroBlocks: false };

  constructor(sys: Sys, meter: ContentMeter) {
    this.#sys = sys;
    this.#meter = meter;
    this.#memory = sys.allocate(SMALL_BYTES + 1);
    this.#checked = sys.allocate(SMALL_BYTES);
  }

  /**
   * Reads a file of at most SMALL_BYTES that should be `sizeBytes` long.
   * @returns the content, valid until the next call; undefined when it is longer or shorter now.
   * @throws SysError of the read.
   */
  readSmall(fd: number, sizeBytes: number): Buffer | undefined {
    let at = 0;
    while (at <= sizeBytes) {
      const got = check(this.#sys.pread(fd, this.#memory.address + at, sizeBytes + 1 - at, at), "read");
      if (got === 0) break;
      at += got;
      // A regular file gives all it has: a short read is its end, and the next would return 0.
      if (at === sizeBytes) break;
    }
    this.#meter.read(at);
    return at === sizeBytes ? this.#memory.bytes.subarray(0, sizeBytes) : undefined;
  }

  /** Writes what `readSmall` returned, but for blocks of zeros: they become holes. */
  writeSmall(fd: number, content: Buffer): void {
    const end = this.#writeData(fd, { offset: 0, lengthBytes: content.length, sizeBytes: content.length });
    if (end < content.length) check(this.#sys.ftruncate(fd, content.length), "ftruncate");
  }

  /** What `writeSmall` would write of this. */
  dataBytesOf(content: Buffer): number {
    return runsOfData(content, 0, content.length).reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** The digest of `sizeBytes` of content; undefined when the file is shorter. Not counted as read from the source. */
  hash(fd: number, sizeBytes: number): Buffer | undefined {
    if (sizeBytes <= SMALL_BYTES) {
      let at = 0;
      while (at < sizeBytes) {
        const got = check(this.#sys.pread(fd, this.#checked.address + at, sizeBytes - at, at), "read");
        if (got === 0) return undefined;
        at += got;
      }
      return blake3(this.#checked.bytes.subarray(0, sizeBytes));
    }
    return this.copy({ fromFd: fd, toFd: -1, sizeBytes, isSource: false });
  }

  /**
   * Copies and hashes in one pass; holes and blocks of zeros become holes. With `toFd` -1 it only hashes.
   * @returns the digest; undefined when the file turned out shorter.
   */
  copy(job: CopyJob): Buffer | undefined {
    const hasher = openHasher();
    if (job.isSource) Object.assign(this.passed, { dataBytes: 0, hasZeroBlocks: false });
    let done = 0;
    for (let at = 0; at < job.sizeBytes;) {
      const segment = this.#segment(job.fromFd, at, job.sizeBytes);
      if (segment.isData) {
        if (!this.#copyData(job, segment, hasher)) return undefined;
      } else {
        this.#hashZeros(hasher, segment.end - segment.start);
      }
      at = segment.end;
      done = this.#dropBehind(job, done, at);
    }
    if (job.toFd >= 0) check(this.#sys.ftruncate(job.toFd, job.sizeBytes), "ftruncate");
    return hasher.finish();
  }

  /** Filesystems without SEEK_DATA answer EINVAL: then all is data, and its zeros are looked for. */
  #segment(fd: number, start: number, sizeBytes: number): Segment {
    const window = Math.min(sizeBytes, start + DROP_BEHIND_BYTES);
    const data = this.#sys.lseek(fd, start, SEEK_DATA);
    if (data === -errno.ENXIO) return { start, end: sizeBytes, isData: false };
    if (data === -errno.EINVAL || data === -errno.EOPNOTSUPP) return { start, end: window, isData: true };
    check(data, "read");
    if (data > start) return { start, end: Math.min(data, sizeBytes), isData: false };
    const hole = check(this.#sys.lseek(fd, start, SEEK_HOLE), "read");
    return { start, end: hole <= start ? window : Math.min(hole, window), isData: true };
  }

  #copyData(job: CopyJob, segment: Segment, hasher: Hasher): boolean {
    const memory = job.isSource || job.toFd >= 0 ? this.#memory : this.#checked;
    for (let at = segment.start; at < segment.end;) {
      // Up to the end of a block: none is to be seen in two parts.
      const wanted = Math.min(SMALL_BYTES - (at % BLOCK_BYTES), segment.end - at);
      const got = check(this.#sys.pread(job.fromFd, memory.address, wanted, at), "read");
      if (got === 0) return false;
      if (job.isSource) this.#meter.read(got);
      const bytes = memory.bytes.subarray(0, got);
      hasher.update(bytes);
      if (job.toFd >= 0)
        this.#writeData(job.toFd, { offset: at, lengthBytes: got, sizeBytes: job.sizeBytes });
      else if (job.isSource) this.#notePassed(bytes, at, job.sizeBytes);
      at += got;
    }
    return true;
  }

  #notePassed(bytes: Buffer, offset: number, sizeBytes: number): void {
    let dataBytes = 0;
    for (const { start, end } of runsOfData(bytes, offset, sizeBytes)) dataBytes += end - start;
    this.passed.dataBytes += dataBytes;
    if (dataBytes < bytes.length) this.passed.hasZeroBlocks = true;
  }

  /** Writes what was just read into the buffer and is not zero; where in the buffer that ends, 0 for nothing. */
  #writeData(fd: number, at: { offset: number; lengthBytes: number; sizeBytes: number }): number {
    const bytes = this.#memory.bytes.subarray(0, at.lengthBytes);
    let done = 0;
    for (const { start, end } of runsOfData(bytes, at.offset, at.sizeBytes)) {
      for (done = start; done < end;) {
        const { address } = this.#memory;
        done += check(this.#sys.pwrite(fd, address + done, end - done, at.offset + done), "write");
      }
      this.#meter.wrote(end - start);
    }
    return done;
  }

  #hashZeros(hasher: Hasher, count: number): void {
    for (let left = count; left > 0; left -= this.#zeros.length) {
      hasher.update(left >= this.#zeros.length ? this.#zeros : this.#zeros.subarray(0, left));
    }
  }

  /**
   * A copy of terabytes must not push everything else out of the page cache: what has been read is dropped, what
   * was written two windows ago is waited for and dropped, the last window's write-back is begun.
   */
  #dropBehind(job: { fromFd: number; toFd: number; sizeBytes: number }, done: number, at: number): number {
    if (job.sizeBytes < 2 * DROP_BEHIND_BYTES || at - done < DROP_BEHIND_BYTES) return done;
    this.#sys.fadvise(job.fromFd, done, at - done, POSIX_FADV_DONTNEED);
    if (job.toFd >= 0) {
      this.#sys.syncFileRange(job.toFd, done, at - done, SYNC_FILE_RANGE_WRITE);
      const before = Math.max(0, done - DROP_BEHIND_BYTES);
      if (before < done) {
        const wait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
        this.#sys.syncFileRange(job.toFd, before, done - before, wait);
        this.#sys.fadvise(job.toFd, before, done - before, POSIX_FADV_DONTNEED);
      }
    }
    return at;
  }

  /** Shares extents where both ends are one filesystem that can (FICLONE); false where it cannot. */
  clone(fromFd: number, toFd: number): boolean {
    this.#sys.lseek(fromFd, 0, SEEK_SET);
    return this.#sys.ioctl(toFd, FICLONE, fromFd) === 0;
  }
}

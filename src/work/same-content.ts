import { POSIX_FADV_DONTNEED, SEEK_DATA } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";

const CHUNK_BYTES = 1 << 18;
/** From this size on the page cache is relieved of what passed through, in windows of this size. */
const DROP_BEHIND_BYTES = 32 << 20;

/** One end of a comparison: how its descriptor's calls are judged. Throws where a call failed. */
export type End = { fd: number; judge: (result: number, call: string) => number };

/** Compares two files byte by byte, through two buffers that are reused. */
export class ContentComparer {
  readonly #sys: Sys;
  readonly #left: Memory;
  readonly #right: Memory;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#left = sys.allocate(CHUNK_BYTES);
    this.#right = sys.allocate(CHUNK_BYTES);
  }

  /**
   * Whether the first `sizeBytes` are the same. Ranges that both call a hole are not read: a hole of terabytes is no
   * work. `passed` is called between chunks with the bytes read of each; it may throw to stop.
   */
  async isSame(
    source: End,
    target: End,
    sizeBytes: number,
    passed: (bytes: number) => Promise<void>,
  ): Promise<boolean> {
    for (let at = 0, dropped = 0; at < sizeBytes;) {
      at = Math.min(this.#nextData(source.fd, at, sizeBytes), this.#nextData(target.fd, at, sizeBytes));
      const wanted = Math.min(CHUNK_BYTES, sizeBytes - at);
      const got = this.#fill(source, this.#left, at, wanted);
      if (got !== this.#fill(target, this.#right, at, wanted) || got < wanted) return false;
      if (!this.#left.bytes.subarray(0, got).equals(this.#right.bytes.subarray(0, got))) return false;
      at += got;
      if (at - dropped >= DROP_BEHIND_BYTES) {
        for (const { fd } of [source, target])
          this.#sys.fadvise(fd, dropped, at - dropped, POSIX_FADV_DONTNEED);
        dropped = at;
      }
      await passed(got);
    }
    return true;
  }

  /** Where data begins at or after `at`; filesystems that cannot tell answer EINVAL: then all is data. */
  #nextData(fd: number, at: number, sizeBytes: number): number {
    const data = this.#sys.lseek(fd, at, SEEK_DATA);
    if (data === -errno.ENXIO) return sizeBytes;
    return data < at ? at : Math.min(data, sizeBytes);
  }

  #fill({ fd, judge }: End, { address }: Memory, offset: number, wanted: number): number {
    let got = 0;
    while (got < wanted) {
      const read = judge(this.#sys.pread(fd, address + got, wanted - got, offset + got), "read");
      if (read === 0) break;
      got += read;
    }
    return got;
  }
}

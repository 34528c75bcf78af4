import type { Address, Memory, Sys } from "../sys/sys.ts";

const NS_PER_SECOND = 1_000_000_000n;
/** include/uapi/linux/stat.h: leave this time alone. */
const UTIME_OMIT = 0x3ffffffen;

/** Two struct timespec for utimensat(2); one per thread. */
export class TimesBuffer {
  readonly #memory: Memory;
  readonly #quads: BigInt64Array;

  constructor(sys: Sys) {
    this.#memory = sys.allocate(32);
    this.#quads = new BigInt64Array(this.#memory.bytes.buffer, this.#memory.bytes.byteOffset, 4);
    this.#quads[1] = UTIME_OMIT;
  }

  /** Sets the modification time alone; the access time stays what the kernel made it. */
  withMtime(mtimeNs: bigint): Address {
    let seconds = mtimeNs / NS_PER_SECOND;
    let nanoseconds = mtimeNs % NS_PER_SECOND;
    if (nanoseconds < 0n) {
      seconds -= 1n;
      nanoseconds += NS_PER_SECOND;
    }
    this.#quads[2] = seconds;
    this.#quads[3] = nanoseconds;
    return this.#memory.address;
  }
}

import {
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  STATX_ATTR_APPEND,
  STATX_ATTR_IMMUTABLE,
  STATX_ATTR_MOUNT_ROOT,
} from "./constants.ts";
import type { Address, Memory, Sys } from "./sys.ts";

const SIZE_BYTES = 256;
const NS_PER_SECOND = 1_000_000_000n;

/**
 * The struct statx of the last call made into it (include/uapi/linux/stat.h: the same on every architecture).
 * Fields are read on demand; an inode number is two 32-bit halves on the hot path, a bigint elsewhere, never a
 * double. Reuse one per thread and purpose.
 */
export class Stat {
  readonly #memory: Memory;
  readonly #words: Uint32Array;
  readonly #quads: BigInt64Array;

  constructor(sys: Sys) {
    this.#memory = sys.allocate(SIZE_BYTES);
    const { buffer, byteOffset } = this.#memory.bytes;
    this.#words = new Uint32Array(buffer, byteOffset, SIZE_BYTES / 4);
    this.#quads = new BigInt64Array(buffer, byteOffset, SIZE_BYTES / 8);
  }

  get address(): Address {
    return this.#memory.address;
  }
  #word(index: number): number {
    return this.#words[index] as number;
  }
  #time(index: number): bigint {
    return (this.#quads[index] as bigint) * NS_PER_SECOND + BigInt(this.#word(index * 2 + 2));
  }
  get nlink(): number {
    return this.#word(4);
  }
  get uid(): number {
    return this.#word(5);
  }
  get gid(): number {
    return this.#word(6);
  }
  /** Type and permissions. */
  get mode(): number {
    return this.#word(7) & 0xffff;
  }
  get type(): number {
    return this.mode & S_IFMT;
  }
  get isDirectory(): boolean {
    return this.type === S_IFDIR;
  }
  get isRegular(): boolean {
    return this.type === S_IFREG;
  }
  get inoLow(): number {
    return this.#word(8);
  }
  get inoHigh(): number {
    return this.#word(9);
  }
  get ino(): bigint {
    return BigInt.asUintN(64, this.#quads[4] as bigint);
  }
  /** Bytes; exact up to 2^53, which no filesystem's largest file exceeds. */
  get sizeBytes(): number {
    return this.#word(11) * 0x100000000 + this.#word(10);
  }
  /** Blocks of 512 bytes. */
  get blocks(): number {
    return this.#word(13) * 0x100000000 + this.#word(12);
  }
  get ctimeNs(): bigint {
    return this.#time(12);
  }
  get mtimeNs(): bigint {
    return this.#time(14);
  }
  /** For comparisons with a wall clock where a second's precision will do. */
  get ctimeSeconds(): number {
    return Number(this.#quads[12]);
  }
  get mtimeSeconds(): number {
    return Number(this.#quads[14]);
  }
  get rdevMajor(): number {
    return this.#word(32);
  }
  get rdevMinor(): number {
    return this.#word(33);
  }
  /** Copies 32-bit words of struct statx, named by their index, to `out` from `at` on. */
  copyWords(indexes: readonly number[], out: Uint32Array, at: number): void {
    for (let step = 0; step < indexes.length; step++)
      out[at + step] = this.#words[indexes[step] as number] as number;
  }
  /** `chattr +i` or `+a`: nobody may give it another name, or take one away. */
  get isImmutable(): boolean {
    return (this.#word(2) & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) !== 0;
  }
  /** Whether something is mounted here (STATX_ATTR_MOUNT_ROOT); undefined before Linux 5.8, which does not say. */
  get isMountRoot(): boolean | undefined {
    return (this.#word(14) & STATX_ATTR_MOUNT_ROOT) === 0
      ? undefined
      : (this.#word(2) & STATX_ATTR_MOUNT_ROOT) !== 0;
  }
  /** st_dev folded into 32 bits: the kernel's own dev_t has 12 bits of major and 20 of minor. */
  get device(): number {
    return ((this.#word(34) << 20) | this.#word(35)) >>> 0;
  }
}

/** dev_t as mknod takes it (glibc's makedev). */
export function makeDevice(major: number, minor: number): number {
  const high = (BigInt(major) & 0xfffff000n) << 32n;
  const low =
    ((BigInt(major) & 0xfffn) << 8n) | ((BigInt(minor) & 0xffffff00n) << 12n) | (BigInt(minor) & 0xffn);
  return Number(high | low);
}

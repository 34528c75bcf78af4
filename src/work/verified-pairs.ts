import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Stat } from "../sys/stat.ts";
import type { Memory } from "../sys/sys.ts";

/**
 * A slot: verdict 4, device 4, source ino 8, target ino 8, size 8, source mtime 8, source ctime 8, target mtime 8,
 * target ctime 8.
 */
const SLOT_BYTES = 64;
const SLOTS = 64;
const BUCKET_BYTES = SLOT_BYTES * SLOTS;
/** Half full on average, so that a bucket hardly ever runs over. */
const FILLED_SLOTS = SLOTS / 2;
/** 4 GiB, sparse: 67 million inodes. */
const BUCKETS_MOST = 1 << 20;

const verdicts = ["unknown", "same", "differs"] as const;
export type Verdict = (typeof verdicts)[number];

/** Nanoseconds leave 64 bits in the year 2262, ext4 ends in 2446: the low word tells two times apart all the same. */
const word = (timeNs: bigint): bigint => BigInt.asIntN(64, timeNs);

/**
 * Which source inodes were compared with which target inodes, byte by byte, and what both looked like then. Only
 * inodes with further names are worth a place. It lies in a file without a name, one page a bucket, so that memory
 * stays flat (P6) whatever the number of inodes. A cache: what is not found is compared again.
 */
export class VerifiedPairs {
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #memory: Memory;
  readonly #buckets: number;

  /** @throws SysError when the file cannot be made. */
  constructor(kernel: Kernel, dirFd: number, inodes: number) {
    const { sys, scratch } = kernel;
    this.#kernel = kernel;
    this.#memory = sys.allocate(BUCKET_BYTES);
    const wanted = Math.max(1, Math.ceil(inodes / FILLED_SLOTS));
    this.#buckets = Math.min(BUCKETS_MOST, 2 ** Math.ceil(Math.log2(wanted)));
    const name = Buffer.from("verified");
    sys.unlinkat(dirFd, scratch.at(name), 0);
    const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    this.#fd = check(sys.openat(dirFd, scratch.at(name), flags, 0o600), "openat", name);
    check(sys.unlinkat(dirFd, scratch.at(name), 0), "unlinkat", name);
  }

  /** What was found when these two inodes were as they are now. */
  find(source: Stat, target: Stat): Verdict {
    this.#read(source);
    const slot = this.#seek(source);
    if (slot < 0) return "unknown";
    const { bytes } = this.#memory;
    const isAsThen =
      bytes.readBigUInt64LE(slot + 16) === target.ino &&
      bytes.readBigUInt64LE(slot + 24) === BigInt(source.sizeBytes) &&
      bytes.readBigInt64LE(slot + 32) === word(source.mtimeNs) &&
      bytes.readBigInt64LE(slot + 40) === word(source.ctimeNs) &&
      bytes.readBigInt64LE(slot + 48) === word(target.mtimeNs) &&
      bytes.readBigInt64LE(slot + 56) === word(target.ctimeNs);
    return isAsThen ? (verdicts[bytes.readUInt32LE(slot)] ?? "unknown") : "unknown";
  }

  /** A full disk only means that it will be compared again. */
  remember(source: Stat, target: Stat, verdict: Verdict): void {
    const bucket = this.#read(source);
    const { bytes } = this.#memory;
    const found = this.#seek(source);
    const slot = found >= 0 ? found : this.#free(source);
    bytes.writeUInt32LE(verdicts.indexOf(verdict), slot);
    bytes.writeUInt32LE(source.device, slot + 4);
    bytes.writeBigUInt64LE(source.ino, slot + 8);
    bytes.writeBigUInt64LE(target.ino, slot + 16);
    bytes.writeBigUInt64LE(BigInt(source.sizeBytes), slot + 24);
    bytes.writeBigInt64LE(word(source.mtimeNs), slot + 32);
    bytes.writeBigInt64LE(word(source.ctimeNs), slot + 40);
    bytes.writeBigInt64LE(word(target.mtimeNs), slot + 48);
    bytes.writeBigInt64LE(word(target.ctimeNs), slot + 56);
    const { sys } = this.#kernel;
    sys.pwrite(this.#fd, this.#memory.address + slot, SLOT_BYTES, bucket * BUCKET_BYTES + slot);
  }

  /** Reads the inode's bucket; what was never written reads as empty. */
  #read({ inoLow, inoHigh, device }: Stat): number {
    let mixed = Math.imul(
      inoLow ^ Math.imul(device, 0x9e3779b1) ^ Math.imul(inoHigh, 0x85ebca6b),
      0xc2b2ae35,
    );
    mixed ^= mixed >>> 15;
    const bucket = (mixed >>> 0) % this.#buckets;
    const { sys } = this.#kernel;
    const got = sys.pread(this.#fd, this.#memory.address, BUCKET_BYTES, bucket * BUCKET_BYTES);
    this.#memory.bytes.fill(0, Math.max(0, got));
    return bucket;
  }

  #seek({ inoLow, inoHigh, device }: Stat): number {
    const { bytes } = this.#memory;
    for (let slot = 0; slot < BUCKET_BYTES; slot += SLOT_BYTES) {
      if (
        bytes.readUInt32LE(slot) !== 0 &&
        bytes.readUInt32LE(slot + 8) === inoLow &&
        bytes.readUInt32LE(slot + 12) === inoHigh &&
        bytes.readUInt32LE(slot + 4) === device
      )
        return slot;
    }
    return -1;
  }

  #free({ inoLow }: Stat): number {
    const { bytes } = this.#memory;
    for (let slot = 0; slot < BUCKET_BYTES; slot += SLOT_BYTES)
      if (bytes.readUInt32LE(slot) === 0) return slot;
    return (inoLow % SLOTS) * SLOT_BYTES;
  }

  close(): void {
    this.#kernel.sys.close(this.#fd);
  }
}

import { AT_EMPTY_PATH, O_CLOEXEC, O_CREAT, O_WRONLY } from "../sys/constants.ts";
import { check, errno, isSysError } from "../sys/errors.ts";
import { readFile, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow } from "../tree/path.ts";
import { TimesBuffer } from "../tree/times.ts";
import { blake3 } from "../../store/store.ts";

const RECORD_NAME = "moving";
const DIGEST_BYTES = 16;
/** digest 16, ino 8, seconds of the mtime 8 and its nanoseconds 8; then the path. */
const HEADER_BYTES = DIGEST_BYTES + 24;
const NS_PER_SECOND = 1_000_000_000n;

export type DirectoryTime = { path: Buffer; ino: bigint; mtimeNs: bigint };

/**
 * Removing a name sets the directory's time to now, and the next run would carry that to the target, where it was
 * right. So the source's directory gets its time back; and as a run may be killed in between, what it was is
 * written down before the first name goes. One directory is in hand at a time, so there is one record, in .dedupe/log.
 * It is not synced: a killed process loses nothing of it, a power cut may cost the time of that one directory.
 */
export class MovedDirectory {
  readonly #kernel: Kernel;
  readonly #logFd: number;
  readonly #times: TimesBuffer;

  constructor(kernel: Kernel, logFd: number) {
    this.#kernel = kernel;
    this.#logFd = logFd;
    this.#times = new TimesBuffer(kernel.sys);
  }

  /** Call before the first name goes. @throws SysError (the target failed): then no name may go. */
  begin(directory: DirectoryTime): void {
    try {
      this.#write(directory);
    } catch (error) {
      // A move must not fail for want of a block on a target that has everything: then the time is put back unless killed.
      if (!isSysError(error, "ENOSPC", "EDQUOT")) throw error;
    }
  }

  #write({ path, ino, mtimeNs }: DirectoryTime): void {
    const { sys, scratch } = this.#kernel;
    const record = sys.allocate(HEADER_BYTES + path.length);
    record.bytes.writeBigUInt64LE(ino, DIGEST_BYTES);
    record.bytes.writeBigInt64LE(mtimeNs / NS_PER_SECOND, DIGEST_BYTES + 8);
    record.bytes.writeBigInt64LE(mtimeNs % NS_PER_SECOND, DIGEST_BYTES + 16);
    path.copy(record.bytes, HEADER_BYTES);
    record.bytes.set(blake3(record.bytes.subarray(DIGEST_BYTES)).subarray(0, DIGEST_BYTES));
    const flags = O_WRONLY | O_CREAT | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = check(sys.openat(this.#logFd, scratch.text(RECORD_NAME), flags, 0o600), "openat", RECORD_NAME);
    try {
      const { address, bytes } = record;
      for (let at = 0; at < bytes.length;)
        at += check(sys.pwrite(fd, address + at, bytes.length - at, at), "write");
      check(sys.ftruncate(fd, bytes.length), "ftruncate");
    } finally {
      sys.close(fd);
    }
  }

  /** Puts the time back; where this user may not, the directory shows when it was emptied. */
  end(directoryFd: number, mtimeNs: bigint): void {
    this.#kernel.sys.futimens(directoryFd, this.#times.withMtime(mtimeNs));
  }

  /** Does what a killed run left to do, then forgets it. A record that cannot be read is none. */
  finishInterrupted(sourceFd: number): void {
    try {
      const left = this.#left();
      if (left !== undefined) this.#putBack(sourceFd, left);
      this.forget();
    } catch (error) {
      if (!isSysError(error)) throw error;
    }
  }

  #left(): DirectoryTime | undefined {
    const record = readFile(this.#kernel, this.#logFd, RECORD_NAME);
    if (record === undefined || record.length < HEADER_BYTES) return undefined;
    const digest = blake3(record.subarray(DIGEST_BYTES)).subarray(0, DIGEST_BYTES);
    if (!record.subarray(0, DIGEST_BYTES).equals(digest)) return undefined;
    const seconds = record.readBigInt64LE(DIGEST_BYTES + 8);
    return {
      ino: record.readBigUInt64LE(DIGEST_BYTES),
      mtimeNs: seconds * NS_PER_SECOND + record.readBigInt64LE(DIGEST_BYTES + 16),
      path: record.subarray(HEADER_BYTES),
    };
  }

  /** Another directory of that path (another source, say) is left alone. */
  #putBack(sourceFd: number, { path, ino, mtimeNs }: DirectoryTime): void {
    const { sys, scratch } = this.#kernel;
    const fd = openBelow(this.#kernel, sourceFd, path);
    if (fd < 0) return;
    const stat = new Stat(sys);
    const statted = sys.statx(fd, scratch.empty, AT_EMPTY_PATH, stat.address);
    if (statted === 0 && stat.ino === ino) this.end(fd, mtimeNs);
    sys.close(fd);
  }

  forget(): void {
    const { sys, scratch } = this.#kernel;
    const result = sys.unlinkat(this.#logFd, scratch.text(RECORD_NAME), 0);
    if (result !== -errno.ENOENT) check(result, "unlinkat", RECORD_NAME);
  }
}

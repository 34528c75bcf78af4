import { O_APPEND, O_CLOEXEC, O_CREAT, O_RDWR, SEEK_END } from "../src/sys/constants.ts";
import { check } from "../src/sys/errors.ts";
import type { Kernel } from "../src/sys/files.ts";
import type { Memory } from "../src/sys/sys.ts";
import { journalNames } from "./layout.ts";
import { RECORD_BYTES } from "./record.ts";

/** Records handled at a time: bounds memory, as each may touch a page of the index of its own until it is committed. */
const CHUNK_RECORDS = 4096;

/**
 * Rows on their way to the index. Workers append whole records by O_APPEND; the seal takes into the
 * index those that were there before its syncfs. A killed run leaves them behind, and the next run believes them
 * once the objects they name have been hashed again.
 *
 * Two files, so that one can be emptied while the other is written. A record that a slow worker appends to the
 * file being emptied is lost, which costs a read later and nothing else.
 */
export class Journal {
  readonly fds: readonly [number, number];
  readonly #kernel: Kernel;
  #chunk: Memory | undefined;

  constructor(kernel: Kernel, storeFd: number) {
    this.#kernel = kernel;
    const openOne = (name: string): number => {
      const flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | kernel.sys.O_NOFOLLOW;
      return check(kernel.sys.openat(storeFd, kernel.scratch.text(name), flags, 0o600), "openat", name);
    };
    this.fds = [openOne(journalNames[0]), openOne(journalNames[1])];
  }

  sizeBytes(which: 0 | 1): number {
    const { sys } = this.#kernel;
    const size = check(sys.lseek(this.fds[which], 0, SEEK_END), "lseek");
    return size - (size % RECORD_BYTES);
  }

  /** Calls `take` with chunks of whole records, up to `sizeBytes` of the file. */
  drain(which: 0 | 1, sizeBytes: number, take: (records: Buffer) => void): void {
    if (sizeBytes === 0) return;
    const { sys } = this.#kernel;
    const memory = (this.#chunk ??= sys.allocate(CHUNK_RECORDS * RECORD_BYTES));
    for (let at = 0; at < sizeBytes;) {
      const wanted = Math.min(memory.bytes.length, sizeBytes - at);
      const got = check(sys.pread(this.fds[which], memory.address, wanted, at), "read");
      if (got < RECORD_BYTES) return;
      const whole = got - (got % RECORD_BYTES);
      take(memory.bytes.subarray(0, whole));
      at += whole;
    }
  }

  empty(which: 0 | 1): void {
    check(this.#kernel.sys.ftruncate(this.fds[which], 0), "ftruncate");
  }

  close(): void {
    for (const fd of this.fds) this.#kernel.sys.close(fd);
  }
}

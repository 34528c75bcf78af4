import { check } from "../sys/errors.ts";
import type { Memory, Sys } from "../sys/sys.ts";

const BUFFER_BYTES = 1 << 18;

/**
 * One name of a directory. Names are bytes; here each byte is a character of the same number (latin1), so that
 * comparing strings compares bytes.
 */
export type Listed = { name: string; inoLow: number; inoHigh: number; type: number };

/** Reads whole directories with getdents64(2); one per thread. */
export class DirectoryReader {
  readonly #sys: Sys;
  readonly #memory: Memory;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#memory = sys.allocate(BUFFER_BYTES);
  }

  /** All names of a directory that was not read yet, in byte order. @throws SysError */
  read(fd: number): Listed[] {
    const found: Listed[] = [];
    const { bytes, address } = this.#memory;
    for (;;) {
      const got = check(this.#sys.getdents64(fd, address, BUFFER_BYTES), "getdents64");
      if (got === 0) return found.sort((a, b) => (a.name < b.name ? -1 : 1));
      // struct linux_dirent64: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name.
      for (let at = 0; at < got; at += bytes.readUInt16LE(at + 16)) {
        const name = bytes.toString("latin1", at + 19, bytes.indexOf(0, at + 19));
        if (name === "." || name === "..") continue;
        const [inoLow, inoHigh] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
        found.push({ name, inoLow, inoHigh, type: bytes[at + 18] as number });
      }
    }
  }
}

export const bytesOf = (name: string): Buffer => Buffer.from(name, "latin1");

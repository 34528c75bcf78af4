import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";

const MIB = 2 ** 20;

/** A file that takes all the space of its filesystem, to the last block. */
export function fill(path: string): void {
  const fd = openSync(path, "w");
  for (let size = MIB; size >= 1024;) {
    try {
      writeSync(fd, Buffer.alloc(size, 1));
    } catch {
      execFileSync("sync", ["-f", path]);
      size /= 2;
    }
  }
  closeSync(fd);
  execFileSync("sync", ["-f", path]);
}

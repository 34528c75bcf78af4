import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";

const MIB = 2 ** 20;

/** A file that takes all the space of its filesystem, to the last block. */
export function fill(path: string): void {
  // xfs gives back some of what it reserved once the file is closed and on the disk.
  while (append(path) > 0);
}

/** @returns bytes that there was room for */
function append(path: string): number {
  const fd = openSync(path, "a");
  let writtenBytes = 0;
  for (let size = MIB; size >= 1024;) {
    try {
      writtenBytes += writeSync(fd, Buffer.alloc(size, 1));
    } catch {
      execFileSync("sync", ["-f", path]);
      size /= 2;
    }
  }
  closeSync(fd);
  execFileSync("sync", ["-f", path]);
  return writtenBytes;
}

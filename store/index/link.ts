import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from "../../src/sys/constants.ts";
import { check } from "../../src/sys/errors.ts";
import type { Kernel } from "../../src/sys/files.ts";
import { indexFolder } from "../format.ts";
import { isSound } from "./soundness.ts";

/** Of an index that is only read: whether it can be. */
export type LinkedIndex = "read" | "missing" | "damaged";

/**
 * Makes the directory one by which LMDB reads the index where it lies: its lock file goes there, and the target is not
 * written to. Whoever reads it so keeps writers out meanwhile.
 */
export function linkIndex(
  writer: Kernel,
  place: { storeFd: number; indexDir: string | undefined; temporary: { fd: number } },
): LinkedIndex {
  const { sys, scratch } = writer;
  const directory = indexFolder(writer, place.storeFd, place.indexDir);
  const state = lookAt(writer, directory);
  if (state !== "read") return state;
  const data = scratch.text(`${directory}/data.mdb`);
  check(sys.symlinkat(data, place.temporary.fd, scratch.text("data.mdb")), "symlinkat", "data.mdb");
  return "read";
}

function lookAt(kernel: Kernel, directory: string): LinkedIndex {
  const { sys, scratch } = kernel;
  const fd = sys.openat(AT_FDCWD, scratch.text(directory), sys.O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return "missing";
  try {
    const file = sys.openat(fd, scratch.text("data.mdb"), O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return "missing";
    sys.close(file);
    return isSound(kernel, fd) ? "read" : "damaged";
  } finally {
    sys.close(fd);
  }
}

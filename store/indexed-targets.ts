import { LOCK_NB, LOCK_SH, O_CLOEXEC, O_RDONLY } from "../src/sys/constants.ts";
import { check, errno } from "../src/sys/errors.ts";
import type { Kernel } from "../src/sys/files.ts";
import { indexFolder } from "./format.ts";
import { Index } from "./index/index.ts";
import { looksSound } from "./index/soundness.ts";
import { names } from "./layout.ts";

/** locked: another run writes to it. */
export type IndexedTargets = "read" | "missing" | "damaged" | "locked";

export type IndexPlace = {
  /** Of TARGET/.dedupe. */
  storeFd: number;
  /** Of the target's filesystem. */
  identity: Uint8Array;
  /** Undefined: in the store. */
  indexDir: string | undefined;
  /** An empty directory, where LMDB's lock file goes, so that the target is not written to. */
  temporary: { fd: number; path: string };
};

/**
 * Hands over the target inode of each source inode that the index knows, while no run writes to it. `writer` makes
 * links in the temporary directory. @throws what `visit` throws
 */
export async function readIndexedTargets(
  writer: Kernel,
  { storeFd, identity, indexDir, temporary }: IndexPlace,
  visit: (targets: Iterable<bigint>) => Promise<void>,
): Promise<IndexedTargets> {
  const { sys, scratch } = writer;
  const lockFd = sys.openat(storeFd, scratch.text(names.lock), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW, 0);
  try {
    if (lockFd >= 0 && sys.flock(lockFd, LOCK_SH | LOCK_NB) === -errno.EAGAIN) return "locked";
    const directory = indexFolder(writer, storeFd, indexDir);
    const state = lookAt(writer, directory);
    if (state !== "read") return state;
    const data = scratch.text(`${directory}/data.mdb`);
    check(sys.symlinkat(data, temporary.fd, scratch.text("data.mdb")), "symlinkat", "data.mdb");
    return await visitRows(temporary.path, identity, visit);
  } finally {
    if (lockFd >= 0) sys.close(lockFd);
  }
}

function lookAt(kernel: Kernel, directory: string): IndexedTargets {
  const { sys, scratch } = kernel;
  const fd = sys.openat(-100, scratch.text(directory), sys.O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return "missing";
  try {
    const file = sys.openat(fd, scratch.text("data.mdb"), O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return "missing";
    sys.close(file);
    return looksSound(kernel, fd) ? "read" : "damaged";
  } finally {
    sys.close(fd);
  }
}

/** What LMDB refuses, or cannot follow, is a damaged index: it only ever saves a read (P9). */
async function visitRows(
  path: string,
  identity: Uint8Array,
  visit: (targets: Iterable<bigint>) => Promise<void>,
): Promise<IndexedTargets> {
  let index: Index;
  try {
    index = Index.open(path, "read");
  } catch {
    return "damaged";
  }
  try {
    const watch = { failed: false };
    await visit(guarded(index.targets(identity), watch));
    return watch.failed ? "damaged" : "read";
  } finally {
    await index.close();
  }
}

function* guarded(targets: Iterable<bigint>, watch: { failed: boolean }): Generator<bigint> {
  try {
    yield* targets;
  } catch {
    watch.failed = true;
  }
}

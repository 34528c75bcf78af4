import { LOCK_NB, LOCK_SH, O_CLOEXEC, O_RDONLY } from "../src/sys/constants.ts";
import { errno } from "../src/sys/errors.ts";
import type { Kernel } from "../src/sys/files.ts";
import { Index } from "./index/index.ts";
import { linkIndex, type LinkedIndex } from "./index/link.ts";
import { names } from "./layout.ts";

/** locked: another run writes to it. */
export type IndexedTargets = LinkedIndex | "locked";

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
    const state = linkIndex(writer, { storeFd, indexDir, temporary });
    return state === "read" ? await visitRows(temporary.path, identity, visit) : state;
  } finally {
    if (lockFd >= 0) sys.close(lockFd);
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

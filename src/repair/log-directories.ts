import { statDescriptor } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "../tree/listing.ts";
import { isGone, openBelow, parentAndName } from "../tree/path.ts";
import type { LoggedDirectory, LoggedName } from "../relink/batch-log.ts";
import { byName, fingerprint } from "../relink/fingerprint.ts";
import { mayBeOf, type Interrupted } from "../relink/interrupted.ts";
import { INO_HIGH, INO_LOW } from "../relink/layout.ts";
import { onTarget } from "../work/errors.ts";
import type { Copy } from "./copy.ts";

const STATX_MTIME = [29, 28, 30] as const;

/** A damaged inode, its names in the snapshots, and the copy, whose state it is, that takes its place. */
export type Replacement = { copy: Copy; names: readonly Buffer[]; state: Uint32Array };

/**
 * What is going to be replaced, directory by directory, with each directory's time and a fingerprint of its listing;
 * the objects' own names among them. A directory that is gone by now is left out, and its names with it.
 * @throws SysError
 */
export function logDirectories(
  { kernel, rootFd }: Pick<Interrupted, "kernel" | "rootFd">,
  replacements: readonly Replacement[],
): LoggedDirectory[] {
  const byPath = new Map<string, LoggedName[]>();
  for (const { copy, names, state } of replacements)
    for (const path of [copy.inode.object, ...names]) {
      const { parent, name } = parentAndName(path);
      const logged = byPath.get(parent.toString("latin1")) ?? [];
      const { state: victim, ref } = copy.inode;
      logged.push({ name, victim, ref, target: [state[INO_HIGH] ?? 0, state[INO_LOW] ?? 0] });
      byPath.set(parent.toString("latin1"), logged);
    }
  const stat = new Stat(kernel.sys);
  const found: LoggedDirectory[] = [];
  for (const [text, names] of byPath) {
    const path = Buffer.from(text, "latin1");
    const fd = openBelow(kernel, rootFd, path);
    if (isGone(fd)) continue;
    onTarget(fd, "openat");
    try {
      const { inoHigh, inoLow } = statDescriptor(kernel, fd, stat);
      const mtime = new Uint32Array(3);
      stat.copyWords(STATX_MTIME, mtime, 0);
      const print = fingerprint(kernel, new Listing(kernel.sys), fd, byName(mayBeOf(names)));
      found.push({ path, ino: [inoHigh, inoLow], mtime, print: print ?? { high: 0, low: 0 }, names });
    } finally {
      kernel.sys.close(fd);
    }
  }
  return found;
}

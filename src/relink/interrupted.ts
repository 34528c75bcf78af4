import { AT_EMPTY_PATH, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openQuietly, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { ContentMover, Ref } from "../../store/store.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import { TimesBuffer } from "../tree/times.ts";
import type { LoggedDirectory, LoggedName } from "./batch-log.ts";
import { byName, fingerprint } from "./fingerprint.ts";
import { INO_HIGH, INO_LOW, timeAt } from "./layout.ts";
import { isOwnTime } from "./own-time.ts";

/** A target on which a batch of names was, or is, being replaced. */
export type Interrupted = { kernel: Kernel; rootFd: number; tmpFd: number; logFd: number; objectsFd: number };

/** Whether the object of the name is the inode that it is to have, and its content what its own name says. */
export function hashesToItsName({ kernel, objectsFd }: Interrupted, { ref, target }: LoggedName): boolean {
  const { sys, scratch } = kernel;
  const named = new Ref(sys).setBytes(ref);
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = openQuietly(sys, objectsFd, named.format(), flags);
  if (fd < 0) return false;
  try {
    const stat = new Stat(sys);
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address), "statx");
    if (stat.inoHigh !== target[0] || stat.inoLow !== target[1]) return false;
    const content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
    return content.hash(fd, stat.sizeBytes)?.equals(named.digest) ?? false;
  } finally {
    sys.close(fd);
  }
}

/** Where nobody else has changed the directory's time or listing since it was logged. @throws SysError */
export function putTimeBack(
  { kernel, rootFd }: Pick<Interrupted, "kernel" | "rootFd">,
  { path, ino, mtime, print, names }: LoggedDirectory,
  sinceNs: bigint,
): void {
  const { sys, scratch } = kernel;
  const fd = openBelow(kernel, rootFd, path);
  if (fd < 0) return;
  try {
    const stat = new Stat(sys);
    const statted = sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address);
    if (statted < 0 || stat.inoHigh !== ino[0] || stat.inoLow !== ino[1]) return;
    if (!isOwnTime(stat, sinceNs)) return;
    const now = fingerprint(kernel, new Listing(sys), fd, byName(mayBeOf(names)));
    if (now?.high !== print.high || now.low !== print.low) return;
    const mtimeNs = timeAt(mtime, 0);
    if (stat.mtimeNs !== mtimeNs) sys.futimens(fd, new TimesBuffer(sys).withMtime(mtimeNs));
  } finally {
    sys.close(fd);
  }
}

/** The inode numbers that each name may have: before it was replaced, and after. */
export function mayBeOf(names: readonly LoggedName[]): Map<string, (readonly [number, number])[]> {
  return new Map(
    names.map(({ name, victim, target }) => [
      name.toString("latin1"),
      [[victim[INO_HIGH] ?? 0, victim[INO_LOW] ?? 0] as const, target],
    ]),
  );
}

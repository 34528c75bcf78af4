import {
  AT_SYMLINK_NOFOLLOW,
  DT_DIR,
  DT_UNKNOWN,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
} from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { ContentMover, Ref, STORE_NAME } from "../../store/store.ts";
import { joined } from "../tree/path.ts";
import { entryFailure } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import { XattrCalls } from "../tree/attributes.ts";
import { isStranger } from "../work/staged-name.ts";
import { removeTree } from "../tree/remove.ts";
import { filesystemMagic, trustsDirentIno } from "../tree/traits.ts";
import type { RelinkRules } from "../relink/messages.ts";
import { variantOfStat } from "../relink/variant.ts";
import { NameCounter, listDirectory } from "./count-names.ts";

export type SweepParts = {
  kernel: Kernel;
  directories: { tmpFd: number; stagingFd: number; logFd: number; objectsFd: number; groupsFd: number };
  compared: RelinkRules["compared"];
  /** Staged snapshots go too. */
  forgetsUnfinished: boolean;
};

/**
 * "drop": it goes. "keep": a migration goes on with it. "unknown": in tmp/ the last name of a file that nothing explains,
 * in staging/ what was somebody else's.
 */
type Verdict = "drop" | "keep" | "unknown";
export type SweepItem = { folder: "tmp" | "staging" | "log"; name: Buffer; verdict: Verdict };

/** What a run makes and removes again: probes, scratch files, a file that replaces another. */
const ownNames =
  /^(?:probe|(?:link|rename|exchange)-probe\.\d|name-probe\..*|verified|(?:heap|sort|actions)\.\d+|directories|candidates|places|inodes|chosen|members|classes|attention|decisions)$/;
const stagedSnapshot = /^s[0-9a-f]{32}$/;
const halfWritten = /\.new$/;

/** What dead runs left, and what is to become of it; nothing is changed. @throws SysError */
export function planSweep(parts: SweepParts): SweepItem[] {
  const { kernel, directories, forgetsUnfinished } = parts;
  const staging = listDirectory(kernel, directories.stagingFd, ".dedupe/staging").map(
    ({ name }): SweepItem => {
      const isUnfinished = stagedSnapshot.test(name.toString("latin1")) && !forgetsUnfinished;
      const isUnknown = isStranger(kernel, directories.stagingFd, name);
      return { folder: "staging", name, verdict: isUnknown ? "unknown" : isUnfinished ? "keep" : "drop" };
    },
  );
  const log = listDirectory(kernel, directories.logFd, ".dedupe/log")
    .filter(({ name, type }) => type !== DT_DIR && halfWritten.test(name.toString("latin1")))
    .map(({ name }): SweepItem => ({ folder: "log", name, verdict: "drop" }));
  return [...new Temporaries(parts, staging).judge(), ...staging, ...log];
}

/**
 * `failed` is told of what cannot be removed: the rest goes, and the next run tries again.
 * @returns how many names went. @throws SysError, RunFailure
 */
export function executeSweep(
  { kernel, directories }: SweepParts,
  items: readonly SweepItem[],
  failed: (failure: Failure) => void,
): number {
  const dropped = items.filter(({ verdict }) => verdict === "drop");
  if (dropped.length === 0) return 0;
  // What stands in for a last name must be on the disk before that goes.
  check(kernel.sys.syncfs(directories.tmpFd), "syncfs");
  const fds = { tmp: directories.tmpFd, staging: directories.stagingFd, log: directories.logFd };
  let names = 0;
  for (const { folder, name } of dropped) {
    try {
      names += removeTree(kernel, fds[folder], name);
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      failed({ path: sweptPath({ folder, name }), code, message });
    }
  }
  return names;
}

/** From the target's root. */
export function sweptPath({ folder, name }: Pick<SweepItem, "folder" | "name">): Buffer {
  return joined(Buffer.from(`${STORE_NAME}/${folder}`), name);
}

/** A name in tmp/ may be the last one of a file that was replaced: it goes where nothing is lost with it. */
class Temporaries {
  readonly #parts: SweepParts;
  readonly #staging: readonly SweepItem[];

  constructor(parts: SweepParts, staging: readonly SweepItem[]) {
    this.#parts = parts;
    this.#staging = staging;
  }

  judge(): SweepItem[] {
    const { kernel, directories } = this.#parts;
    const leftovers = listDirectory(kernel, directories.tmpFd, ".dedupe/tmp").map(({ name, type }) => ({
      name,
      stat: type === DT_DIR ? undefined : this.#statOf(name),
    }));
    const linked = leftovers.flatMap(({ stat }) => (stat !== undefined && stat.nlink > 1 ? [stat.ino] : []));
    const ours = linked.length === 0 ? undefined : this.#countOurs(linked);
    return leftovers.map(({ name, stat }) => ({
      folder: "tmp",
      name,
      verdict: this.#judge(name, stat, ours),
    }));
  }

  #statOf(name: Buffer): Stat {
    const { sys, scratch } = this.#parts.kernel;
    const stat = new Stat(sys);
    const at = scratch.at(name);
    check(sys.statx(this.#parts.directories.tmpFd, at, AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
    return stat;
  }

  /** Names that go with this one, in tmp/ or staging/, or after it, since an object that has no others goes, are none. */
  #judge(name: Buffer, stat: Stat | undefined, ours: NameCounter | undefined): Verdict {
    if (stat === undefined) return "unknown";
    if (stat.isRegular && stat.sizeBytes === 0) return "drop";
    const hasOthers = ours !== undefined && stat.nlink > 1 && stat.nlink > ours.of(stat.ino);
    if (hasOthers || ownNames.test(name.toString("latin1"))) return "drop";
    const isWanted = (twin: Stat): boolean =>
      twin.nlink > 1 && twin.nlink > this.#countOurs([twin.ino]).of(twin.ino);
    return stat.isRegular && hasTwin(this.#parts, { name, stat, isWanted }) ? "drop" : "unknown";
  }

  #countOurs(inodes: readonly bigint[]): NameCounter {
    const { kernel, directories } = this.#parts;
    const { tmpFd, stagingFd, objectsFd, groupsFd } = directories;
    const magic = filesystemMagic(kernel.sys, tmpFd, kernel.sys.allocate(512));
    const counter = new NameCounter(kernel, inodes, trustsDirentIno(magic));
    for (const [path, fd] of Object.entries({ tmp: tmpFd, objects: objectsFd, groups: groupsFd }))
      counter.addDirectory(fd, `.dedupe/${path}`);
    for (const { name, verdict } of this.#staging)
      if (verdict === "drop") counter.add(stagingFd, { name, type: DT_UNKNOWN, path: ".dedupe/staging" });
    return counter;
  }
}

/** `isWanted`: whether an inode of the store has a name besides, so that it does not go as well. */
type Leftover = { name: Buffer; stat: Stat; isWanted: (twin: Stat) => boolean };

/** Whether another inode with this content and these attributes is in the store to stay, and is what its name says. */
function hasTwin({ kernel, directories, compared }: SweepParts, { name, stat, isWanted }: Leftover): boolean {
  const { sys, scratch } = kernel;
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
  const content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
  const fd = openQuietly(sys, directories.tmpFd, scratch.at(name), flags);
  if (fd < 0) return false;
  try {
    const hashed = content.hash(fd, stat.sizeBytes);
    if (hashed === undefined) return false;
    const digest = Buffer.from(hashed);
    const xattrs = new XattrCalls(sys, scratch);
    const variant = variantOfStat(stat, compared, () => xattrs.read({ fd }));
    const ref = new Ref(sys).setObject(digest, variant, undefined);
    const isTwin = (twin: Stat, twinFd: number): boolean =>
      twin.ino !== stat.ino &&
      variantOfStat(twin, compared, () => xattrs.read({ fd: twinFd })).equals(variant) &&
      (content.hash(twinFd, stat.sizeBytes)?.equals(digest) ?? false) &&
      isWanted(twin);
    return isThere(kernel, { objectsFd: directories.objectsFd, ref, isTwin });
  } finally {
    sys.close(fd);
  }
}

function isThere(
  kernel: Kernel,
  { objectsFd, ref, isTwin }: { objectsFd: number; ref: Ref; isTwin: (twin: Stat, fd: number) => boolean },
): boolean {
  const { sys } = kernel;
  const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = openQuietly(sys, objectsFd, ref.format(), flags);
  if (fd < 0) return false;
  try {
    return isTwin(statDescriptor(kernel, fd, new Stat(sys)), fd);
  } finally {
    sys.close(fd);
  }
}

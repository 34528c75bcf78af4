import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { XattrCalls, sameXattrs, type Xattr } from "../tree/attributes.ts";
import { openBelow } from "../tree/path.ts";
import { Ref } from "../../store/store.ts";
import { EntryFailure, entryFailure, onTarget } from "../work/errors.ts";
import type { LoggedDirectory, LoggedName } from "./batch-log.ts";
import { isInode } from "./inode-state.ts";
import { putTimeBack, type Interrupted } from "./interrupted.ts";
import { STATE_WORDS, STATX_WORDS } from "./layout.ts";
import { changed } from "./stable-content.ts";
import { Replacer } from "./replace.ts";

/** A directory of the log that lies in the store: an object's own name. */
export const OBJECTS_PATH = ".dedupe/objects";
/** Names that are tried for an inode that keeps one of its names. */
const MOST_SIBLINGS = 100_000;

/** `isGood`: whether the object that the name is to lead to may be linked to; asked once for each. */
export type MenderParts = Omit<Interrupted, "logFd"> & { isGood: (name: LoggedName) => boolean };
export type NotMended = { directory: LoggedDirectory; name: LoggedName; failure: EntryFailure };

type Target = { state: Uint32Array; xattrs: readonly Xattr[] };

/**
 * Makes the logged names of damaged inodes lead to the objects that took their place, each with the attributes of the
 * one it replaces (docs/design.md, "Repairing").
 */
export class NameMender {
  readonly #parts: MenderParts;
  readonly #kernel: Kernel;
  readonly #replacer: Replacer;
  readonly #stat: Stat;
  readonly #ref: Ref;
  readonly #xattrs: XattrCalls;
  readonly #targets = new Map<string, Target | undefined>();

  constructor(parts: MenderParts, tmp: Buffer) {
    const { sys, scratch } = parts.kernel;
    this.#parts = parts;
    this.#kernel = parts.kernel;
    this.#replacer = new Replacer(parts.kernel, parts.tmpFd, tmp);
    this.#stat = new Stat(sys);
    this.#ref = new Ref(sys);
    this.#xattrs = new XattrCalls(sys, scratch);
  }

  /** The names of one directory, then its time. @returns those that were left alone. @throws RunFailure */
  mend(directory: LoggedDirectory): NotMended[] {
    const { kernel, rootFd } = this.#parts;
    const left: NotMended[] = [];
    const fd = openBelow(kernel, rootFd, directory.path);
    const sinceNs = fd < 0 ? 0n : statDescriptor(kernel, fd, this.#stat).ctimeNs;
    try {
      for (const name of directory.names) {
        try {
          onTarget(fd, "openat");
          this.#mendName(fd, directory, name);
        } catch (error) {
          left.push({ directory, name, failure: entryFailure(error, "target") });
        }
      }
    } finally {
      if (fd >= 0) kernel.sys.close(fd);
    }
    putTimeBack(this.#parts, directory, sinceNs);
    return left;
  }

  #mendName(dirFd: number, { ino }: LoggedDirectory, logged: LoggedName): void {
    const { inoHigh, inoLow } = statDescriptor(this.#kernel, dirFd, this.#stat);
    if (inoHigh !== ino[0] || inoLow !== ino[1]) throw changed();
    const target = this.#targetOf(logged);
    if (target === undefined) throw new EntryFailure("EOBJECT", "its object is not what its name says");
    const { name, victim } = logged;
    const hasXattrs = (fd: number): boolean => sameXattrs(this.#xattrs.read({ fd }), target.xattrs);
    const from = { dirFd: this.#parts.objectsFd, name: this.#ref.setBytes(logged.ref).format() };
    this.#replacer.replace({ dirFd, name, victim, hasXattrs }, { ...from, state: target.state });
  }

  #targetOf(logged: LoggedName): Target | undefined {
    const key = logged.ref.toString("latin1");
    if (!this.#targets.has(key)) this.#targets.set(key, this.#lookAt(logged));
    return this.#targets.get(key);
  }

  #lookAt(logged: LoggedName): Target | undefined {
    const { sys } = this.#kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, this.#parts.objectsFd, this.#ref.setBytes(logged.ref).format(), flags);
    if (fd < 0) return undefined;
    try {
      const state = new Uint32Array(STATE_WORDS);
      statDescriptor(this.#kernel, fd, this.#stat).copyWords(STATX_WORDS, state, 0);
      if (!isInode(this.#stat, Uint32Array.from(logged.target)) || !this.#parts.isGood(logged))
        return undefined;
      return { state, xattrs: this.#xattrs.read({ fd }) };
    } finally {
      sys.close(fd);
    }
  }

  /** A damaged inode that keeps a name stays an object, as a sibling: or nobody would find it damaged any more. */
  keepKnown({ directory, name }: NotMended): void {
    const { kernel, rootFd } = this.#parts;
    const dirFd = openBelow(kernel, rootFd, directory.path);
    if (dirFd < 0) return;
    this.#nameSibling(dirFd, name);
    kernel.sys.close(dirFd);
  }

  #nameSibling(dirFd: number, { name, victim, ref }: LoggedName): void {
    const { sys, scratch } = this.#kernel;
    const at = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address);
    if (at < 0 || !isInode(this.#stat, victim)) return;
    const { objectsFd } = this.#parts;
    const object = this.#ref.setBytes(ref);
    for (let tries = 0; tries < MOST_SIBLINGS; tries++, object.sibling++) {
      const found = sys.statx(objectsFd, object.format(), AT_SYMLINK_NOFOLLOW, this.#stat.address);
      if (found === 0 && isInode(this.#stat, victim)) return;
      if (found === -errno.ENOENT) {
        sys.linkat(dirFd, scratch.at(name), objectsFd, object.format(), 0);
        return;
      }
    }
  }
}

/** Whether the batch is a repair: only repairs replace the names of objects, too. */
export function isRepair(directories: readonly LoggedDirectory[]): boolean {
  return directories.some(isInStore);
}

export function isInStore({ path }: LoggedDirectory): boolean {
  return path.toString("latin1").startsWith(`${OBJECTS_PATH}/`);
}

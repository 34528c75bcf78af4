import { AT_EMPTY_PATH, DT_DIR, DT_UNKNOWN, O_CLOEXEC, S_IFDIR } from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { filterFrom, type Filter, type FilterRules } from "../tree/filter.ts";
import { trustsDirentIno, magicOf } from "./limits.ts";
import { DirectoryReader, bytesOf, type Listed } from "./listing.ts";
import type { TreeRoot } from "./messages.ts";
import type { Thread } from "./thread.ts";

const STORE_NAME = ".dedupe";
const LOST_AND_FOUND = "lost+found";

/** A directory of one tree, open. */
export type OpenDirectory = { fd: number; device: number; isMountRoot: boolean };

/** Opens directories and lists those of their names that count. */
export class Selection {
  readonly #thread: Thread;
  readonly #filter: Filter | undefined;
  readonly #stat: Stat;
  readonly #probe: DirectoryReader;
  readonly #trusted = new Map<number, boolean>();

  constructor(thread: Thread, rules: FilterRules | undefined) {
    this.#thread = thread;
    this.#filter = rules === undefined ? undefined : filterFrom(rules);
    this.#stat = new Stat(thread.sys);
    this.#probe = new DirectoryReader(thread.sys);
  }

  /** Never through a symlink. `parentDevice` -1: the root itself. @throws SysError */
  open(dirFd: number, name: string, parentDevice: number): OpenDirectory {
    const { sys, scratch } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd = check(openQuietly(sys, dirFd, scratch.at(bytesOf(name)), flags), "openat");
    try {
      const device = this.identify(fd).device;
      return { fd, device, isMountRoot: device !== parentDevice };
    } catch (error) {
      sys.close(fd);
      throw error;
    }
  }

  /** Opens what lies below the root, one component after the other. @throws SysError */
  descend(rootFd: number, parts: readonly string[]): OpenDirectory {
    let here = this.open(rootFd, ".", -1);
    for (const part of parts) {
      const { fd, device } = here;
      try {
        here = this.open(fd, part, device);
      } finally {
        this.#thread.sys.close(fd);
      }
    }
    return here;
  }

  /** @throws SysError */
  identify(fd: number): Stat {
    const { sys, scratch } = this.#thread;
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
    return this.#stat;
  }

  /**
   * The names of the directory at `path` (latin1, "" for the root) in byte order, without the root's store, an empty
   * lost+found, and what the filters hide. Types and numbers are the inodes' own. @throws SysError
   */
  list(directory: OpenDirectory, path: string, root: TreeRoot): Listed[] {
    const all = this.#thread.directories.read(directory.fd);
    const isTrusted = root.isPlain && this.#isTrusted(directory);
    const found = all.filter(
      (entry) => (isTrusted && entry.type !== DT_UNKNOWN) || this.#look(directory.fd, entry),
    );
    if (this.#filter === undefined && path !== "" && !directory.isMountRoot) return found;
    return found.filter((entry) => this.#isTaken(directory, path, entry));
  }

  #isTrusted({ fd, device }: OpenDirectory): boolean {
    let isTrusted = this.#trusted.get(device);
    if (isTrusted === undefined) {
      isTrusted = trustsDirentIno(magicOf(this.#thread.sys, fd));
      this.#trusted.set(device, isTrusted);
    }
    return isTrusted;
  }

  /** Corrects what getdents64 said. @returns false: the name is gone */
  #look(dirFd: number, entry: Listed): boolean {
    const { sys, scratch } = this.#thread;
    const AT_SYMLINK_NOFOLLOW = 0x100;
    const at = scratch.at(bytesOf(entry.name));
    const result = sys.statx(dirFd, at, AT_SYMLINK_NOFOLLOW, this.#stat.address);
    if (result === -errno.ENOENT) return false;
    check(result, "statx");
    entry.inoLow = this.#stat.inoLow;
    entry.inoHigh = this.#stat.inoHigh;
    // DT_* is the type's part of the mode, shifted (include/linux/fs_types.h).
    entry.type = this.#stat.type >>> 12;
    return true;
  }

  #isTaken(directory: OpenDirectory, path: string, { name, type }: Listed): boolean {
    if (path === "" && name === STORE_NAME) return false;
    if (directory.isMountRoot && name === LOST_AND_FOUND && this.#isEmpty(directory.fd, name)) return false;
    if (this.#filter === undefined) return true;
    const full = bytesOf(path === "" ? name : `${path}/${name}`);
    return this.#filter.takes(full, type === DT_DIR ? "directory" : "other");
  }

  /** Also where it may not be read: mkfs made it, for root alone. */
  #isEmpty(dirFd: number, name: string): boolean {
    const { sys, scratch } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd = sys.openat(dirFd, scratch.at(bytesOf(name)), flags, 0);
    if (fd < 0) return fd === -errno.EACCES;
    try {
      return this.#probe.read(fd).length === 0;
    } finally {
      sys.close(fd);
    }
  }
}

export const isDirectory = ({ type }: Listed): boolean => type === S_IFDIR >>> 12;

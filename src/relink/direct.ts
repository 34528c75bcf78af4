import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  F_RDLCK,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
} from "../sys/constants.ts";
import type { Compared } from "../options.ts";
import { check, errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Address } from "../sys/sys.ts";
import { ContentMover, Ref } from "../../store/store.ts";
import { XattrCalls, sameXattrs, type Xattr } from "../tree/attributes.ts";
import { TimesBuffer } from "../tree/times.ts";
import { entryFailure, fromSource, onSource } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import type { Place } from "./batch.ts";
import type { Directories } from "./directories.ts";
import { isState } from "./inode-state.ts";
import { busy, changed } from "./stable-content.ts";
import { joined } from "./relink-thread.ts";
import { Replacer, keptName } from "./replace.ts";
import { variantOfStat } from "./variant.ts";

/** The temporary name beside the store, where there is no room for a store: in the root itself. */
export const BESIDE_NAME = Buffer.from(".dedupe-relink");

/** What a class is to be made one by: a name in the tree, or an object of the store that has none. */
export type Survivor = { state: Uint32Array } & (
  { type: "name"; place: Place } | { type: "object"; ref: Uint32Array }
);

export type DirectClass = {
  survivor: Survivor;
  victims: Iterable<{ state: Uint32Array; places: readonly Place[] }>;
  /** Once one class has room enough for all that is to come. */
  isEnough: () => boolean;
};

export type DirectParts = {
  kernel: Kernel;
  directories: Directories;
  rootFd: number;
  /** -1 for none. */
  objectsFd: number;
  compared: Compared;
  failed: (failure: Failure) => void;
  replaced: (place: Place) => void;
};

/**
 * Replaces names by links to the surviving name, without the store, on a disk that has no room for one: nothing new is
 * needed but a temporary name. Each directory gets its time back at once.
 */
export class DirectRelinker {
  readonly #parts: DirectParts;
  readonly #replacer: Replacer;
  readonly #stat: Stat;
  readonly #times: TimesBuffer;
  readonly #xattrs: XattrCalls;
  readonly #ref: Ref;
  readonly #content: ContentMover;

  constructor(parts: DirectParts) {
    const { sys, scratch } = parts.kernel;
    this.#parts = parts;
    this.#replacer = new Replacer(parts.kernel, parts.rootFd, BESIDE_NAME);
    this.#stat = new Stat(sys);
    this.#times = new TimesBuffer(sys);
    this.#xattrs = new XattrCalls(sys, scratch);
    this.#ref = new Ref(sys);
    this.#content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
  }

  /** @throws RunFailure */
  relink({ survivor, victims, isEnough }: DirectClass): void {
    let xattrs: readonly Xattr[] = [];
    // What is wrong with an object is said when the batches come to it.
    const place = survivor.type === "name" ? survivor.place : undefined;
    if (!this.#attempt(place, () => (xattrs = this.#checkSurvivor(survivor)))) return;
    for (const { state, places } of victims) {
      for (const place of places)
        this.#attempt(place, () => {
          this.#replace(place, { state, survivor, xattrs });
        });
      if (isEnough()) return;
    }
  }

  #attempt(place: Place | undefined, work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      if (place === undefined) return false;
      const path = joined(this.#parts.directories.pathOf(place.directory), place.name);
      this.#parts.failed({ path, code, message });
      return false;
    }
  }

  #locate(survivor: Survivor): { dirFd: number; name: Address } {
    const { kernel, directories, objectsFd } = this.#parts;
    if (survivor.type === "object")
      return { dirFd: objectsFd, name: this.#ref.copyFrom(survivor.ref, 0).format() };
    const { directory, name } = survivor.place;
    return { dirFd: directories.open(directory), name: kernel.scratch.at(name) };
  }

  #checkSurvivor(survivor: Survivor): readonly Xattr[] {
    const { sys, scratch } = this.#parts.kernel;
    const { dirFd, name } = this.#locate(survivor);
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, name, flags), "openat");
    try {
      if (sys.setLease(fd, F_RDLCK) === -errno.EAGAIN) throw busy();
      const xattrs = fromSource(() => this.#xattrs.read({ fd }));
      const isGood = survivor.type === "name" || this.#isItself(fd, survivor, xattrs);
      onSource(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
      if (!isGood || !isState(this.#stat, survivor.state)) throw changed();
      return xattrs;
    } finally {
      sys.close(fd);
    }
  }

  /** An object that was not hashed in this run: content and attributes are what its name says. */
  #isItself(fd: number, { ref, state }: Survivor & { type: "object" }, xattrs: readonly Xattr[]): boolean {
    const { digest, variant } = this.#ref.copyFrom(ref, 0);
    const stat = statDescriptor(this.#parts.kernel, fd, this.#stat);
    if (!isState(stat, state) || !variantOfStat(stat, this.#parts.compared, () => xattrs).equals(variant))
      return false;
    return fromSource(() => this.#content.hash(fd, stat.sizeBytes))?.equals(digest) ?? false;
  }

  #replace(
    place: Place,
    { state, survivor, xattrs }: { state: Uint32Array; survivor: Survivor; xattrs: readonly Xattr[] },
  ): void {
    const { kernel, directories, compared, replaced, rootFd } = this.#parts;
    const dirFd = directories.open(place.directory);
    if (!compared.xattrs && !this.#hasXattrs(dirFd, place.name, xattrs)) return;
    const before = [rootFd, dirFd].map((fd) => ({ fd, mtimeNs: this.#mtimeOf(fd) }));
    const hasXattrs = (fd: number): boolean =>
      sameXattrs(
        fromSource(() => this.#xattrs.read({ fd })),
        xattrs,
      );
    try {
      const from = { ...this.#locate(survivor), state: survivor.state };
      const done = this.#replacer.replace({ dirFd, name: place.name, victim: state, hasXattrs }, from);
      if (done === "replaced") replaced(place);
    } finally {
      for (const { fd, mtimeNs } of before) kernel.sys.futimens(fd, this.#times.withMtime(mtimeNs));
    }
  }

  /** Ignored ones that differ wait for the log of what is discarded. */
  #hasXattrs(dirFd: number, name: Buffer, xattrs: readonly Xattr[]): boolean {
    const { sys, scratch } = this.#parts.kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, scratch.at(name), flags), "openat");
    try {
      return sameXattrs(
        fromSource(() => this.#xattrs.read({ fd })),
        xattrs,
      );
    } finally {
      sys.close(fd);
    }
  }

  #mtimeOf(fd: number): bigint {
    const { sys, scratch } = this.#parts.kernel;
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
    return this.#stat.mtimeNs;
  }
}

/**
 * The temporary names of a killed run: each goes where its inode has another name. Where it has none, the tree is healed
 * with it as with any other name, and it goes afterwards. @returns false: one must stay
 */
export function dropBesideNames(kernel: Kernel, rootFd: number): boolean {
  return [BESIDE_NAME, keptName(BESIDE_NAME)]
    .map((name) => dropBesideName(kernel, rootFd, name))
    .every(Boolean);
}

function dropBesideName({ sys, scratch }: Kernel, rootFd: number, name: Buffer): boolean {
  const stat = new Stat(sys);
  const found = sys.statx(rootFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
  if (found === -errno.ENOENT) return true;
  if (found < 0 || !stat.isRegular || stat.nlink < 2) return false;
  check(sys.unlinkat(rootFd, scratch.at(name), 0), "unlinkat", name);
  return true;
}

import { AT_EMPTY_PATH, F_RDLCK, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import type { Compared } from "../options.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Address } from "../sys/sys.ts";
import { ContentMover, Ref } from "../../store/store.ts";
import { XattrCalls, sameXattrs, type Xattr } from "../tree/attributes.ts";
import { TimesBuffer } from "../tree/times.ts";
import { entryFailure, fromSource, onSource, onTarget } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import type { Place } from "./batch.ts";
import { BESIDE_NAME, besideName } from "./beside.ts";
import type { Directories } from "./directories.ts";
import { isState } from "./inode-state.ts";
import { busyWithEquals, changed, refuseOthers } from "./stable-content.ts";
import { joined } from "../tree/path.ts";
import { NLINK } from "./layout.ts";
import { isOwnTime } from "./own-time.ts";
import { NoRoom, NotPutBack, Replacer, type LinkFrom, type NameToReplace } from "./replace.ts";
import { variantOfStat } from "./variant.ts";

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

/** The survivor, and a descriptor of its own of the directory that it is in. */
type From = { dirFd: number; survivor: Survivor };

/** Of a directory, before a name in it is replaced. */
type Times = { fd: number; mtimeNs: bigint; ctimeNs: bigint };

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
    this.#replacer = new Replacer(parts.kernel, parts.rootFd, BESIDE_NAME, {
      isNumbered: true,
      isAlone: true,
    });
    this.#stat = new Stat(sys);
    this.#times = new TimesBuffer(sys);
    this.#xattrs = new XattrCalls(sys, scratch);
    this.#ref = new Ref(sys);
    this.#content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
  }

  /** @returns how many names were replaced; "bad": the object was not what its name says, and has lost it. @throws RunFailure */
  relink({ survivor, victims, isEnough }: DirectClass): number | "bad" {
    const from = { dirFd: -1, survivor };
    let look: readonly Xattr[] | "bad" | undefined;
    try {
      // Descriptors of directories do not live for long (Directories.open), and all names of the class need this one.
      this.#attempt(survivor.type === "name" ? survivor.place : undefined, () => {
        from.dirFd = onTarget(this.#parts.kernel.sys.dup(this.#directoryOf(survivor)), "dup");
        look = this.#look(from);
      });
      if (look === undefined) return 0;
      if (look === "bad") return this.#discard(from);
      return this.#replaceAll(from, look, { victims, isEnough });
    } finally {
      if (from.dirFd >= 0) this.#parts.kernel.sys.close(from.dirFd);
    }
  }

  #replaceAll(
    from: From,
    xattrs: readonly Xattr[],
    { victims, isEnough }: Pick<DirectClass, "victims" | "isEnough">,
  ): number {
    let replaced = 0;
    for (const { state, places } of victims) {
      for (const place of places)
        this.#attempt(place, () => {
          if (this.#replace(place, { state, from, xattrs })) replaced++;
        });
      if (isEnough()) break;
    }
    return replaced;
  }

  /** Of an object only what is damaged is told: the batches come to it otherwise. */
  #attempt(place: Place | undefined, work: () => void): void {
    try {
      work();
    } catch (error) {
      // Once there is room it gets its place back (dropBesideNames).
      const { code, message } = error instanceof NotPutBack ? error : entryFailure(error, "target");
      if (place === undefined) return;
      const path = joined(this.#parts.directories.pathOf(place.directory), place.name);
      this.#parts.failed({ path, code, message });
    }
  }

  #directoryOf(survivor: Survivor): number {
    const { directories, objectsFd } = this.#parts;
    return survivor.type === "object" ? objectsFd : directories.open(survivor.place.directory);
  }

  #nameOf(survivor: Survivor): Address {
    if (survivor.type === "object") return this.#ref.copyFrom(survivor.ref, 0).format();
    return this.#parts.kernel.scratch.at(survivor.place.name);
  }

  #look({ dirFd, survivor }: From): readonly Xattr[] | "bad" {
    const { sys, scratch } = this.#parts.kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, this.#nameOf(survivor), flags), "openat");
    try {
      if (sys.setLease(fd, F_RDLCK) === -errno.EAGAIN) throw busyWithEquals();
      const xattrs = fromSource(() => this.#xattrs.read({ fd }));
      const isBad = survivor.type === "object" && !this.#isItself(fd, survivor, xattrs);
      onSource(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
      if (!isState(this.#stat, survivor.state)) throw changed();
      return isBad ? "bad" : xattrs;
    } finally {
      sys.close(fd);
    }
  }

  /** An object that was not hashed in this run: content and attributes are what its name says, and durable. */
  #isItself(fd: number, { ref }: Survivor & { type: "object" }, xattrs: readonly Xattr[]): boolean {
    const { digest, variant } = this.#ref.copyFrom(ref, 0);
    const stat = statDescriptor(this.#parts.kernel, fd, this.#stat);
    if (!variantOfStat(stat, this.#parts.compared, () => xattrs).equals(variant)) return false;
    if (fromSource(() => this.#content.hash(fd, stat.sizeBytes))?.equals(digest) !== true) return false;
    onTarget(this.#parts.kernel.sys.fsync(fd), "fsync");
    return true;
  }

  /** Whatever other names the inode has stay; another inode can be this object then. */
  #discard({ dirFd, survivor }: From): "bad" {
    onTarget(this.#parts.kernel.sys.unlinkat(dirFd, this.#nameOf(survivor), 0), "unlinkat");
    const path = Buffer.from(`.dedupe/objects/${this.#ref.text}`);
    const message = "the store's object was damaged; it is not used any more";
    this.#parts.failed({ path, code: "EOBJECT", message });
    return "bad";
  }

  #replace(
    place: Place,
    { state, from, xattrs }: { state: Uint32Array; from: From; xattrs: readonly Xattr[] },
  ): boolean {
    const { kernel, directories, compared, replaced, rootFd } = this.#parts;
    const dirFd = directories.open(place.directory);
    if (!compared.xattrs && !this.#hasXattrs(dirFd, place.name, xattrs)) return false;
    refuseOthers(kernel.sys.geteuid(), statDescriptor(kernel, dirFd, this.#stat).uid);
    const before = [rootFd, dirFd].map((fd) => this.#timesOf(fd));
    const hasXattrs = (fd: number): boolean =>
      sameXattrs(
        fromSource(() => this.#xattrs.read({ fd })),
        xattrs,
      );
    try {
      const isDone = this.#exchange({ dirFd, name: place.name, victim: state, hasXattrs }, from);
      if (isDone) replaced(place);
      return isDone;
    } finally {
      for (const times of before) this.#putBack(times);
    }
  }

  /**
   * Where the root's directory has no room for a temporary name that says what it stands for, a short one will do for
   * an inode with one name: a killed run leaves that there, and all that was written to it. Others wait for the store.
   */
  #exchange(at: NameToReplace, { dirFd, survivor }: From): boolean {
    const { state } = survivor;
    // Anew for each try: a name in the scratch memory does not outlive many calls.
    const to = (): LinkFrom => ({ dirFd, name: this.#nameOf(survivor), state });
    const { ino } = statDescriptor(this.#parts.kernel, at.dirFd, this.#stat);
    try {
      return this.#replacer.replace({ ...at, tmp: besideName(state, ino, at.name) }, to()) === "replaced";
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      if (at.victim[NLINK] !== 1) return false;
      return this.#replacer.replace({ ...at, tmp: BESIDE_NAME }, to()) === "replaced";
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

  #timesOf(fd: number): Times {
    const { mtimeNs, ctimeNs } = statDescriptor(this.#parts.kernel, fd, this.#stat);
    return { fd, mtimeNs, ctimeNs };
  }

  #putBack({ fd, mtimeNs, ctimeNs }: Times): void {
    const { kernel } = this.#parts;
    if (!isOwnTime(statDescriptor(kernel, fd, this.#stat), ctimeNs)) return;
    kernel.sys.futimens(fd, this.#times.withMtime(mtimeNs));
  }
}

import { AT_EMPTY_PATH, DT_DIR, DT_UNKNOWN, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { errno, errnoSentence } from "../sys/errors.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Filter } from "../tree/filter.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import type { Unit } from "../tree/snapshots.ts";
import type { TargetTraits } from "../tree/traits.ts";
import { STORE_NAME } from "../../store/store.ts";
import {
  MovedComparer,
  isUnchanged,
  keep,
  onReadBack,
  type CompareRules,
  type Seen,
} from "./compare-moved.ts";
import { RunFailure, entryFailure, onSource, type EntryFailure } from "./errors.ts";
import { pathOf, type Located } from "./frame.ts";
import type { Failure } from "./messages.ts";
import { MovedDirectory } from "./moved-directory.ts";
import { openSource } from "./source-file.ts";
import { Turns, type TurnRules } from "./turns.ts";
import { VerifiedPairs } from "./verified-pairs.ts";

/** Names gathered before they are dealt with in inode order: bounds memory in huge directories. */
const GATHERED_MOST = 4096;
const STORE_BYTES = Buffer.from(STORE_NAME);
const LOST_AND_FOUND = Buffer.from("lost+found");

export type RemovalParts = {
  kernel: Kernel;
  roots: { sourceFd: number; targetFd: number; sourceDevice: number };
  directories: { tmpFd: number; logFd: number };
  traits: TargetTraits;
  rules: CompareRules & { oneFileSystem: boolean; bwlimitBytes: number | undefined };
  filter: Filter | undefined;
  /** How many inodes the source has, roughly. */
  inodes: number;
  listener: RemovalListener;
};

export type RemovalListener = Omit<TurnRules, "bwlimitBytes"> & {
  kept(failure: Failure): void;
  removed(path: () => Buffer): void;
};

/** A directory in hand, open at both ends. */
type Place = Located & {
  parent: Place | undefined;
  sourceFd: number;
  targetFd: number;
  ino: bigint;
  mtimeNs: bigint;
  isListed: boolean;
  isTouched: boolean;
  subdirectories: Buffer[];
};

/**
 * Removes from the source what the target holds durably (P1): one name at a time, each after its inode was read back
 * from the target and found the same. Directories stay, and keep their times.
 */
export class SourceRemover {
  readonly #parts: RemovalParts;
  readonly #kernel: Kernel;
  readonly #pairs: VerifiedPairs;
  readonly #comparer: MovedComparer;
  readonly #moved: MovedDirectory;
  readonly #listing: Listing;
  readonly #stat: Stat;
  readonly #targetRoot: { device: number; ino: bigint };
  readonly #turns: Turns;

  constructor(parts: RemovalParts) {
    const { kernel, directories } = parts;
    this.#parts = parts;
    this.#kernel = kernel;
    this.#pairs = new VerifiedPairs(kernel, directories.tmpFd, parts.inodes);
    this.#turns = new Turns({ ...parts.listener, bwlimitBytes: parts.rules.bwlimitBytes });
    const passed = (bytes: number): Promise<void> => this.#turns.passed(bytes);
    this.#comparer = new MovedComparer({ ...parts, pairs: this.#pairs, passed });
    this.#moved = new MovedDirectory(kernel, directories.logFd);
    this.#listing = new Listing(kernel.sys);
    this.#stat = new Stat(kernel.sys);
    const { device, ino } = statDescriptor(kernel, parts.roots.targetFd, this.#stat);
    this.#targetRoot = { device, ino };
  }

  /**
   * `units` in the order of the plan, which copies the most valuable first; they are emptied from its end, so that
   * the newest snapshot is the last that the source gives up, should the target fail meanwhile.
   * @throws RunFailure, Stopped
   */
  async run(units: readonly Unit[]): Promise<void> {
    try {
      for (const unit of [...units].reverse()) await this.#unit(unit);
      this.#moved.forget();
    } finally {
      this.#turns.tally();
      this.#pairs.close();
    }
  }

  async #unit({ path, type }: Unit): Promise<void> {
    const { sourceFd, targetFd } = this.#parts.roots;
    const stack: Place[] = [];
    try {
      const source = openBelow(this.#kernel, sourceFd, path);
      const target = openBelow(this.#kernel, targetFd, path);
      const first = this.#enter(undefined, path, source, target);
      if (first !== undefined) stack.push(first);
      while (stack.length > 0) await this.#step(stack, type === "loose" ? "names" : "subtree");
    } finally {
      for (const place of stack) this.#leave(place);
    }
  }

  async #step(stack: Place[], depth: "names" | "subtree"): Promise<void> {
    const place = stack.at(-1) as Place;
    if (!place.isListed) {
      await this.#names(place);
      if (depth === "names") place.subdirectories = [];
    }
    const name = place.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(place, name);
    if (place.subdirectories.length === 0) {
      stack.pop();
      this.#leave(place);
    }
    if (child !== undefined) stack.push(child);
  }

  #descend(parent: Place, name: Buffer): Place | undefined {
    const { sys, scratch } = this.#kernel;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    let source: number;
    try {
      source = openSource(this.#kernel, parent.sourceFd, name, sys.O_DIRECTORY);
    } catch (error) {
      if (!name.equals(LOST_AND_FOUND)) this.#kept(parent, name, entryFailure(error, "source"));
      return undefined;
    }
    return this.#enter(parent, name, source, sys.openat(parent.targetFd, scratch.at(name), flags, 0));
  }

  /** Takes a directory in hand, whose descriptors may be -errno; undefined where nothing of it is to be removed. */
  #enter(parent: Place | undefined, name: Buffer, sourceFd: number, targetFd: number): Place | undefined {
    const { sys } = this.#kernel;
    const located = { parent, name };
    try {
      if (sourceFd === -errno.ENOENT) {
        this.#close(targetFd);
        return undefined;
      }
      onSource(sourceFd, "openat");
      const { device, ino, mtimeNs } = statDescriptor(this.#kernel, sourceFd, this.#stat);
      const isOther = device !== this.#parts.roots.sourceDevice && this.#parts.rules.oneFileSystem;
      const isUncopied = targetFd === -errno.ENOENT && this.#isEmpty(sourceFd);
      if (isOther || isUncopied) {
        this.#close(sourceFd, targetFd);
        return undefined;
      }
      if (device === this.#targetRoot.device && ino === this.#targetRoot.ino) keep("it is the target");
      if (targetFd === -errno.ENOENT || targetFd === -errno.ENOTDIR || targetFd === -errno.ELOOP)
        keep("the target has no such directory; nothing below it was removed");
      onReadBack(targetFd, "openat");
      sys.lseek(sourceFd, 0, 0);
      const fresh = { isListed: false, isTouched: false, subdirectories: [] };
      return { ...located, ...fresh, sourceFd, targetFd, ino, mtimeNs };
    } catch (error) {
      this.#close(sourceFd, targetFd);
      this.#kept(located, undefined, entryFailure(error, "source"));
      return undefined;
    }
  }

  #close(...fds: number[]): void {
    for (const fd of fds) if (fd >= 0) this.#kernel.sys.close(fd);
  }

  #isEmpty(fd: number): boolean {
    const listing = new Listing(this.#kernel.sys);
    return listing.read(fd) >= 0 && !listing.next();
  }

  #leave({ sourceFd, targetFd }: Place): void {
    this.#close(sourceFd, targetFd);
  }

  /** All names of a directory but its subdirectories, of which it takes note. */
  async #names(place: Place): Promise<void> {
    place.isListed = true;
    let gathered: { name: Buffer; ino: bigint }[] = [];
    try {
      for (let got = 1; got > 0;) {
        got = onSource(this.#listing.read(place.sourceFd), "getdents64");
        while (this.#listing.next()) {
          const { type, inoLow, inoHigh } = this.#listing;
          const name = this.#listing.copyName();
          if (!this.#isTaken(place, name, type)) continue;
          if (type === DT_DIR) place.subdirectories.push(name);
          else gathered.push({ name, ino: (BigInt(inoHigh) << 32n) | BigInt(inoLow) });
        }
        if (got > 0 && gathered.length < GATHERED_MOST) continue;
        // On spinning disks the order of inodes is that of the data.
        gathered.sort((a, b) => (a.ino < b.ino ? -1 : 1));
        for (const { name } of gathered) await this.#name(place, name);
        gathered = [];
      }
    } catch (error) {
      this.#kept(place, undefined, entryFailure(error, "source"));
    } finally {
      if (place.isTouched) this.#moved.end(place.sourceFd, place.mtimeNs);
    }
  }

  /** As the walk that copied: the source's own store and what filters hide are none of our business. */
  #isTaken(place: Place, name: Buffer, type: number): boolean {
    if (place.parent === undefined && place.name.length === 0 && name.equals(STORE_BYTES)) return false;
    const { filter } = this.#parts;
    if (filter === undefined) return true;
    const isDirectory = type === DT_UNKNOWN ? this.#isDirectory(place, name) : type === DT_DIR;
    return filter.takes(pathOf(place, name), isDirectory ? "directory" : "other");
  }

  #isDirectory(place: Place, name: Buffer): boolean {
    const { sys, scratch } = this.#kernel;
    const fd = sys.openat(place.sourceFd, scratch.at(name), O_PATH | sys.O_DIRECTORY | sys.O_NOFOLLOW, 0);
    this.#close(fd);
    return fd >= 0;
  }

  async #name(place: Place, name: Buffer): Promise<void> {
    await this.#turns.turn();
    try {
      const seen = await this.#comparer.compare(place.sourceFd, place.targetFd, name);
      if (seen === "directory") place.subdirectories.push(name);
      else if (seen !== "gone") this.#remove(place, name, seen);
    } catch (error) {
      this.#kept(place, name, entryFailure(error, "source"));
    }
  }

  /** The last look is through a descriptor of the inode, which tells afterwards what removing did to its ctime. */
  #remove(place: Place, name: Buffer, seen: Seen): void {
    const { sys, scratch } = this.#kernel;
    const flags = O_PATH | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(sys.openat(place.sourceFd, scratch.at(name), flags, 0), "openat");
    try {
      onSource(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
      if (!isUnchanged(this.#stat, seen)) keep("it changed while it was compared");
      this.#touch(place);
      this.#unlink(place, name);
      const { source, target } = this.#comparer;
      if (seen.nlink < 2 || !source.isRegular || source.sizeBytes === 0) return;
      onSource(sys.statx(fd, scratch.empty, AT_EMPTY_PATH, this.#stat.address), "statx");
      const isAsRead = this.#stat.mtimeNs === seen.mtimeNs && this.#stat.sizeBytes === seen.sizeBytes;
      if (isAsRead) this.#pairs.remember(this.#stat, target, "same");
    } finally {
      sys.close(fd);
    }
  }

  #touch(place: Place): void {
    if (place.isTouched) return;
    this.#moved.begin({ path: pathOf(place), ino: place.ino, mtimeNs: place.mtimeNs });
    place.isTouched = true;
  }

  #unlink(place: Place, name: Buffer): void {
    const { sys, scratch } = this.#kernel;
    const result = sys.unlinkat(place.sourceFd, scratch.at(name), 0);
    if (result === -errno.ENOENT) return;
    if (result === -errno.EROFS)
      throw new RunFailure("EROFS", `the source cannot be emptied: ${errnoSentence("EROFS")}`);
    onSource(result, "unlinkat");
    this.#turns.done.removedSourceNames++;
    this.#parts.listener.removed(() => pathOf(place, name));
  }

  #kept(at: Located, name: Buffer | undefined, { message }: EntryFailure): void {
    const failure = { path: pathOf(at, name), code: "KEPT", message: `kept in the source: ${message}` };
    this.#parts.listener.kept(failure);
  }
}

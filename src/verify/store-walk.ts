import { DT_REG, O_CLOEXEC, S_IFDIR, S_IFREG } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Stat } from "../sys/stat.ts";
import { typeName } from "./compare.ts";
import type { Opened } from "./inode-reader.ts";
import { DeviceInodes, InodeSet } from "./inode-set.ts";
import { bytesOf, type Listed } from "./listing.ts";
import type { KnownInodes, StoreFindingClass, StoreRules } from "./messages.ts";
import { isHolderName, isInSlice, parseObjectName, variantText, type ObjectName } from "./object-name.ts";
import { Selection, isDirectory, type OpenDirectory } from "./selection.ts";
import type { Thread } from "./thread.ts";

/** Descriptors of ancestors kept open; further up a directory is found again through "..". */
const OPEN_ANCESTORS = 100;
/** A directory with more subdirectories than this is walked by one thread. */
const MOST_LEFT = 1000;

/** A directory of the snapshots that a walk is in: its subdirectories that are left, the next one last. */
type Level = { directory: OpenDirectory; identity: string; path: string; left: string[] };

type Detail = { source?: string; target?: string; name?: string };

/** Checks one directory of the store, or the names of one subtree against the store's inodes. */
export class StoreWalker {
  readonly #thread: Thread;
  readonly #rules: StoreRules;
  readonly #selection: Selection;
  #known = new InodeSet();
  #suspects = new Set<string>();
  /** Inodes that are new since, with several names: each is said once. */
  readonly #newGroups = new DeviceInodes();

  constructor(thread: Thread, rules: StoreRules) {
    this.#thread = thread;
    this.#rules = rules;
    this.#selection = new Selection(thread, undefined);
  }

  /** The store's inodes, and those ("high:low") that a finding is about. */
  learn(known: KnownInodes, suspects: readonly string[]): void {
    this.#known = new InodeSet(known);
    this.#suspects = new Set(suspects);
  }

  /** Checks objects/`directory`. @returns the inodes under well-formed names, low and high words */
  objects(directory: string): Uint32Array {
    const prefix = `.dedupe/objects/${directory}`;
    const { fd, entries } = this.#open(this.#rules.objectsFd, directory, prefix);
    const found: number[] = [];
    try {
      entries.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
      for (const entry of entries) {
        this.#thread.checkStop();
        const name = parseObjectName(directory, entry.name);
        if (name === undefined || (entry.type !== DT_REG && entry.type !== 0)) {
          this.#report(`${prefix}/${entry.name}`, name === undefined ? "foreign" : "object-type");
          continue;
        }
        this.#thread.tally.objects++;
        found.push(entry.inoLow, entry.inoHigh);
        if (isInSlice(name, this.#rules.slice)) this.#checkObject(fd, `${prefix}/${entry.name}`, entry, name);
      }
    } finally {
      if (fd >= 0) this.#thread.sys.close(fd);
    }
    this.#thread.flush();
    return Uint32Array.from(found);
  }

  /** Checks groups/`directory`: holders stand for names without content to share. */
  groups(directory: string): Uint32Array {
    const prefix = `.dedupe/groups/${directory}`;
    const { fd, entries } = this.#open(this.#rules.groupsFd, directory, prefix);
    const found: number[] = [];
    try {
      for (const entry of entries) {
        const path = `${prefix}/${entry.name}`;
        if (!isHolderName(entry.name)) {
          this.#report(path, "foreign");
          continue;
        }
        found.push(entry.inoLow, entry.inoHigh);
        const stat = this.#look(fd, entry, { path, side: "store" });
        if (stat === undefined) continue;
        const size = `${String(stat.sizeBytes)} bytes`;
        if (stat.isRegular && stat.sizeBytes > 0)
          this.#report(path, "holder", { source: "an empty file", target: size }, entry);
        else if (stat.type === S_IFDIR) this.#report(path, "holder", { target: "directory" });
      }
    } finally {
      if (fd >= 0) this.#thread.sys.close(fd);
    }
    this.#thread.flush();
    return Uint32Array.from(found);
  }

  #open(parentFd: number, directory: string, prefix: string): { fd: number; entries: Listed[] } {
    const { sys, scratch, directories } = this.#thread;
    const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const fd = sys.openat(parentFd, scratch.text(directory), flags, 0);
    try {
      check(fd, "openat");
      return { fd, entries: directories.read(fd) };
    } catch (error) {
      this.#thread.fail(bytesOf(prefix), "store", error);
      return { fd, entries: [] };
    }
  }

  #look(
    dirFd: number,
    entry: Listed,
    { path, side }: { path: string; side: "store" | "target" },
  ): Stat | undefined {
    try {
      return this.#thread.inodes.look(dirFd, entry.name);
    } catch (error) {
      this.#thread.fail(bytesOf(path), side, error, side === "store" ? inodeKey(entry) : undefined);
      return undefined;
    }
  }

  #checkObject(dirFd: number, path: string, entry: Listed, name: ObjectName): void {
    let opened: Opened | undefined;
    try {
      opened = this.#thread.inodes.open(dirFd, entry.name);
      this.#compare(path, entry, opened, name);
      this.#thread.looked(() => bytesOf(path), "checked");
    } catch (error) {
      this.#thread.fail(bytesOf(path), "store", error, inodeKey(entry));
    } finally {
      if (opened !== undefined) this.#thread.inodes.close(opened);
    }
  }

  #compare(path: string, entry: Listed, opened: Opened, { digest, variant }: ObjectName): void {
    const { facts } = opened;
    const { tally, inodes } = this.#thread;
    tally.inodes++;
    if (facts.links === 1) tally.unnamedObjects++;
    if (facts.type !== S_IFREG || facts.sizeBytes === 0) {
      const target = facts.type === S_IFREG ? "empty file" : typeName(facts.type);
      this.#report(path, "object-type", { source: "a file with content", target }, entry);
      return;
    }
    tally.contentBytes += facts.sizeBytes;
    const actual = variantText(facts, this.#rules.compared);
    if (actual !== variant) this.#report(path, "variant", { source: variant, target: actual }, entry);
    if (this.#rules.depth === "attributes") return;
    const content = inodes.content(opened, "device").toString("hex");
    if (content !== digest) this.#report(path, "content", { source: digest, target: content }, entry);
  }

  /** `entry`: the inode that the finding is about, where it may have other names. */
  #report(path: string, name: StoreFindingClass, detail: Detail = {}, entry?: Listed): void {
    const inode =
      entry === undefined
        ? undefined
        : { device: this.#rules.root.device, inoLow: entry.inoLow, inoHigh: entry.inoHigh };
    this.#thread.report({ path: bytesOf(path), class: name, ...detail, pending: inode });
  }

  /** Looks whether the names of a subtree are inodes of the store. @returns subdirectories left to others */
  names(path: string, depth: "shallow" | "deep"): string[] {
    const stack: Level[] = [];
    try {
      const top = this.#list(this.#descend(path), path);
      stack.push(top);
      const isLeft = depth === "shallow" && top.left.length <= MOST_LEFT;
      const left = isLeft ? top.left.splice(0) : [];
      while (stack.length > 0) this.#step(stack);
      return left;
    } catch (error) {
      this.#thread.fail(bytesOf(path), "target", error);
      return [];
    } finally {
      for (const level of stack) this.#close(level);
    }
  }

  /** One subdirectory further, or up again. */
  #step(stack: Level[]): void {
    const level = stack.at(-1) as Level;
    const name = level.left.pop();
    if (name === undefined) {
      stack.pop();
      const parent = stack.at(-1);
      if (parent !== undefined && parent.directory.fd < 0) this.#reopen(parent, level);
      this.#close(level);
      return;
    }
    const path = level.path === "" ? name : `${level.path}/${name}`;
    try {
      const { fd, device } = level.directory;
      stack.push(this.#list(this.#selection.open(fd, name, device), path));
    } catch (error) {
      this.#thread.fail(bytesOf(path), "target", error);
      return;
    }
    const distant = stack.at(-1 - OPEN_ANCESTORS);
    if (distant !== undefined) this.#close(distant);
  }

  #close({ directory }: Level): void {
    if (directory.fd >= 0) this.#thread.sys.close(directory.fd);
    directory.fd = -1;
  }

  /** Through "..", or from the root where the tree was moved meanwhile. */
  #reopen(parent: Level, child: Level): void {
    const { sys, scratch } = this.#thread;
    const flags = sys.O_DIRECTORY | O_CLOEXEC;
    const fd = sys.openat(child.directory.fd, scratch.text(".."), flags, 0);
    try {
      if (fd >= 0 && identityOf(this.#selection.identify(fd)) === parent.identity) parent.directory.fd = fd;
      else {
        if (fd >= 0) sys.close(fd);
        parent.directory = this.#descend(parent.path);
      }
    } catch (error) {
      parent.left.length = 0;
      this.#thread.fail(bytesOf(parent.path), "target", error);
    }
  }

  #descend(path: string): OpenDirectory {
    return this.#selection.descend(this.#rules.root.fd, path === "" ? [] : path.split("/"));
  }

  /** Looks at the names of the directory but those of its subdirectories. Closes it where it cannot be read. */
  #list(directory: OpenDirectory, path: string): Level {
    try {
      this.#thread.checkStop();
      const identity = identityOf(this.#selection.identify(directory.fd));
      const left = this.#lookAt(directory, path).reverse();
      this.#thread.flush();
      return { directory, identity, path, left };
    } catch (error) {
      this.#thread.sys.close(directory.fd);
      throw error;
    }
  }

  /** @returns its subdirectories */
  #lookAt(directory: OpenDirectory, path: string): string[] {
    const { root } = this.#rules;
    const { tally } = this.#thread;
    const subdirectories: string[] = [];
    for (const entry of this.#selection.list(directory, path, root)) {
      tally.names++;
      if (isDirectory(entry)) {
        tally.directories++;
        subdirectories.push(entry.name);
      } else if (directory.device === root.device && this.#known.has(entry.inoLow, entry.inoHigh)) {
        tally.knownNames++;
        if (this.#suspects.size > 0) this.#tellAffected(entry, path);
      } else this.#checkNew(directory, entry, path);
    }
    return subdirectories;
  }

  #tellAffected(entry: Listed, path: string): void {
    const [inode, { name }] = [inodeKey(entry), entry];
    if (!this.#suspects.has(inode)) return;
    this.#thread.affected({ path: bytesOf(path === "" ? name : `${path}/${name}`), inode });
  }

  /**
   * A name that the store does not know. Of files without content, symlinks and specials only groups have a holder;
   * everything else a run placed has a name in objects/.
   */
  #checkNew(directory: OpenDirectory, entry: Listed, path: string): void {
    const full = path === "" ? entry.name : `${path}/${entry.name}`;
    const stat = this.#look(directory.fd, entry, { path: full, side: "target" });
    if (stat === undefined) return;
    const hasContent = stat.isRegular && stat.sizeBytes > 0;
    if (!hasContent && stat.nlink === 1) return;
    // One line an inode: its other names are new for the same reason.
    if (stat.nlink > 1 && !this.#newGroups.add(stat)) return;
    const { device, inoLow, inoHigh } = stat;
    this.#thread.report({
      ...{ path: bytesOf(full), class: "new-since", target: typeName(stat.type) },
      pending: { device, inoLow, inoHigh },
    });
  }
}

const inodeKey = ({ inoHigh, inoLow }: Listed): string => `${String(inoHigh)}:${String(inoLow)}`;

const identityOf = ({ device, inoLow, inoHigh }: Stat): string => [device, inoHigh, inoLow].join(":");

import { AT_SYMLINK_NOFOLLOW, DT_DIR, DT_REG, DT_UNKNOWN, O_CLOEXEC } from "../sys/constants.ts";
import { check, isSysError, errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Memory } from "../sys/sys.ts";
import { identifyFilesystem, isLasting } from "./identity.ts";
import { Listing } from "./listing.ts";

/**
 * A unit of publication. snapshot and directory: a whole subtree. loose: the names of a container that are not
 * units of their own, and its metadata.
 */
export type Unit = {
  type: "snapshot" | "directory" | "loose";
  path: Buffer;
  mtimeNs: bigint;
  /** Which directory it was, as `inodeText` has it. "": its filesystem does not say so for good, or it cannot be opened. */
  inode: string;
};

export const inodeText = ({ device, ino }: { device: number; ino: bigint }): string =>
  `${String(device)}:${String(ino)}`;

/** Containers are the directories on the way to the snapshots; the source's root is always one. */
export type UnitPlan = { units: Unit[]; containers: Buffer[] };

/** The directories that a plan itself names: walks count only what is in them. The root is not a name. */
export function plannedDirectories(units: readonly Unit[]): number {
  return units.filter(({ path }) => path.length > 0).length;
}

export type PlanRules = {
  /** The names of snapshots as the user gave them; undefined: recognise them. */
  isSnapshot: ((path: Buffer) => boolean) | undefined;
  /** What the filters leave. */
  takes: (path: Buffer) => boolean;
  /** Nothing is looked for beyond a mount point. */
  oneFileSystem?: boolean;
};

const LOST_AND_FOUND = Buffer.from("lost+found");
const SELF = Buffer.from(".");

/** Snapshots lie at most this far below the root (Back In Time: backintime/host/user/profile/date). */
const DEPTH_MOST = 5;
/** Directories looked into for snapshots in all: what lies in others is published with its parent. */
const LOOKED_MOST = 4096;
/** Names looked at in a directory to see whether its sibling shares inodes with it. */
const SAMPLED_NAMES = 512;
const SAMPLED_FILES = 16;

/** rsnapshot's interval.N. */
const numbered = /^[A-Za-z][A-Za-z_-]*\.\d+$/;
/** 2024-05-31, 20240531-020001-123, 2024-05-31_02-00-01, 2024-05-31T02:00:01, each with whatever a tool adds. */
const dated = /^(?:\D*[-_.])?(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])(?:[^0-9].*)?$/;

export function looksLikeSnapshot(name: Buffer): boolean {
  const text = name.toString("latin1");
  return numbered.test(text) || dated.test(text);
}

type Child = { name: Buffer; path: Buffer; mtimeNs: bigint; device: number; ino: bigint };

/** Finds the units below a root: snapshots newest first, then other directories, then loose names. @throws SysError for the root itself */
export function planUnits(kernel: Kernel, rootFd: number, rules: PlanRules): UnitPlan {
  const planner = new Planner(kernel, rules);
  planner.container(rootFd, Buffer.alloc(0), 0);
  const rank = { snapshot: 0, directory: 1, loose: 2 };
  const units = planner.units.sort(
    (a, b) =>
      rank[a.type] - rank[b.type] ||
      (a.mtimeNs === b.mtimeNs ? compareNames(a.path, b.path) : a.mtimeNs > b.mtimeNs ? -1 : 1),
  );
  return { units, containers: planner.containers };
}

/** daily.2 before daily.10; otherwise bytewise. */
function compareNames(a: Buffer, b: Buffer): number {
  const numberOf = (path: Buffer): number => Number(/\.(\d+)$/.exec(path.toString("latin1"))?.[1] ?? 0);
  return numberOf(a) - numberOf(b) || a.compare(b);
}

/** What cannot be read holds no snapshots; that it cannot is found and listed when it is walked. */
function orNone<T>(read: () => T[]): T[] {
  try {
    return read();
  } catch (error) {
    if (!isSysError(error)) throw error;
    return [];
  }
}

class Planner {
  readonly units: Unit[] = [];
  readonly containers: Buffer[] = [];
  readonly #kernel: Kernel;
  readonly #rules: PlanRules;
  readonly #stat: Stat;
  /** By st_dev, whether inode numbers can be relied on. */
  readonly #lasting = new Map<number, boolean>();
  readonly #memory: Memory;
  #looked = 0;

  constructor(kernel: Kernel, rules: PlanRules) {
    this.#kernel = kernel;
    this.#rules = rules;
    this.#stat = new Stat(kernel.sys);
    this.#memory = kernel.sys.allocate(512);
  }

  /** Takes a directory for a container: its snapshots, its other directories, and what is loose in it. */
  container(fd: number, path: Buffer, depth: number): void {
    this.containers.push(path);
    const { device, ino } = statDescriptor(this.#kernel, fd, this.#stat);
    this.#add("loose", fd, { name: SELF, path, mtimeNs: 0n, device, ino });
    // The root must be readable. Of a container below, the walk of its loose names will say that it is not.
    const children = depth === 0 ? this.#children(fd, path) : orNone(() => this.#children(fd, path));
    const snapshots = this.#snapshotsAmong(fd, children);
    for (const child of children) {
      if (snapshots.has(child)) this.#add("snapshot", fd, child);
      else this.#other(fd, child, depth + 1);
    }
  }

  /** A directory that is no snapshot: a container when there are snapshots below it, else a unit. */
  #other(parentFd: number, child: Child, depth: number): void {
    const isBeyond = this.#rules.oneFileSystem === true && child.device !== this.#deviceOf(parentFd, ".");
    const fd = isBeyond ? -1 : this.#open(parentFd, child.name);
    if (fd < 0) {
      this.#add("directory", parentFd, child);
      return;
    }
    if (this.#holdsSnapshots(fd, child.path, depth)) this.container(fd, child.path, depth);
    else this.#add("directory", parentFd, child);
    this.#kernel.sys.close(fd);
  }

  #holdsSnapshots(fd: number, path: Buffer, depth: number): boolean {
    if (depth >= DEPTH_MOST || ++this.#looked > LOOKED_MOST) return false;
    const children = orNone(() => this.#children(fd, path));
    if (this.#snapshotsAmong(fd, children).size > 0) return true;
    return children.some((child) => {
      const childFd = this.#open(fd, child.name);
      if (childFd < 0) return false;
      const holds = this.#holdsSnapshots(childFd, child.path, depth + 1);
      this.#kernel.sys.close(childFd);
      return holds;
    });
  }

  #snapshotsAmong(fd: number, children: Child[]): Set<Child> {
    const { isSnapshot } = this.#rules;
    if (isSnapshot !== undefined) return new Set(children.filter(({ path }) => isSnapshot(path)));
    const named = children.filter(({ name }) => looksLikeSnapshot(name));
    if (named.length > 0) return new Set(named);
    return this.#shareInodes(fd, children) ? new Set(children) : new Set();
  }

  /** Whether neighbours hold the same inodes under the same names: what backup tools make, whatever they call it. */
  #shareInodes(fd: number, children: Child[]): boolean {
    const pairs = [0, children.length - 2].filter((at, index) => at >= 0 && (index === 0 || at > 0));
    return pairs.some((at) => {
      const [left, right] = [children[at], children[at + 1]];
      if (left === undefined || right === undefined) return false;
      const leftFd = this.#open(fd, left.name);
      const rightFd = this.#open(fd, right.name);
      const share = leftFd >= 0 && rightFd >= 0 && this.#sample(leftFd, rightFd);
      for (const opened of [leftFd, rightFd]) if (opened >= 0) this.#kernel.sys.close(opened);
      return share;
    });
  }

  /**
   * Compares up to SAMPLED_FILES multiply linked files of two trees, depth-first, by name and inode. What lies in a
   * directory that holds named snapshots says nothing: hosts have inodes in common, too, once they were merged.
   */
  #sample(leftFd: number, rightFd: number): boolean {
    const budget = { names: SAMPLED_NAMES, files: SAMPLED_FILES };
    const visit = (left: number, right: number): boolean => {
      const entries = orNone(() => this.#list(left, budget.names));
      budget.names -= entries.length;
      if (entries.some(({ name, type }) => type === DT_DIR && looksLikeSnapshot(name))) return false;
      for (const { name, type } of entries) {
        if (budget.files <= 0) return false;
        if (type === DT_REG && this.#isSameInode(left, right, name, budget)) return true;
        if (type !== DT_DIR || budget.names <= 0) continue;
        const [a, b] = [this.#open(left, name), this.#open(right, name)];
        const share = a >= 0 && b >= 0 && visit(a, b);
        for (const opened of [a, b]) if (opened >= 0) this.#kernel.sys.close(opened);
        if (share) return true;
      }
      return false;
    };
    return visit(leftFd, rightFd);
  }

  #isSameInode(left: number, right: number, name: Buffer, budget: { files: number }): boolean {
    const { sys, scratch } = this.#kernel;
    const stat = this.#stat;
    if (sys.statx(left, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0 || stat.nlink < 2)
      return false;
    budget.files--;
    const { ino, device } = stat;
    if (sys.statx(right, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0) return false;
    return stat.ino === ino && stat.device === device;
  }

  #children(fd: number, path: Buffer): Child[] {
    const { sys, scratch } = this.#kernel;
    const children: Child[] = [];
    for (const { name, type } of this.#list(fd, Infinity)) {
      if (type !== DT_DIR && type !== DT_UNKNOWN) continue;
      // One that cannot be looked at stays in the plan: it fails there by name, and is not forgotten.
      const isSeen = sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, this.#stat.address) === 0;
      if (isSeen && !this.#stat.isDirectory) continue;
      const childPath = path.length === 0 ? name : Buffer.concat([path, Buffer.from("/"), name]);
      const mtimeNs = isSeen ? this.#stat.mtimeNs : 0n;
      const device = isSeen ? this.#stat.device : -1;
      const { ino } = this.#stat;
      if (this.#rules.takes(childPath) && !this.#isOfMkfs(fd, path, name)) {
        children.push({ name, path: childPath, mtimeNs, device, ino });
      }
    }
    return children.sort((a, b) => a.name.compare(b.name));
  }

  #add(type: Unit["type"], parentFd: number, { name, path, mtimeNs, device, ino }: Child): void {
    const isKnown = this.#hasLastingInodes(parentFd, name, device);
    this.units.push({ type, path, mtimeNs, inode: isKnown ? inodeText({ device, ino }) : "" });
  }

  #hasLastingInodes(parentFd: number, name: Buffer, device: number): boolean {
    const known = this.#lasting.get(device);
    if (known !== undefined) return known;
    const fd = this.#open(parentFd, name);
    if (fd < 0) return false;
    const { identity } = identifyFilesystem(this.#kernel.sys, fd, device, this.#memory);
    this.#kernel.sys.close(fd);
    this.#lasting.set(device, isLasting(identity));
    return isLasting(identity);
  }

  /** The lost+found of a mount point, unless it holds something. */
  #isOfMkfs(parentFd: number, parent: Buffer, name: Buffer): boolean {
    if (!name.equals(LOST_AND_FOUND)) return false;
    if (parent.length > 0 && this.#deviceOf(parentFd, "..") === this.#deviceOf(parentFd, ".")) return false;
    const fd = this.#open(parentFd, name);
    if (fd < 0) return fd === -errno.EACCES;
    const isEmpty = this.#list(fd, 1).length === 0;
    this.#kernel.sys.close(fd);
    return isEmpty;
  }

  /** st_dev of a name, -1 where it cannot be looked at. */
  #deviceOf(dirFd: number, name: string): number {
    const { sys, scratch } = this.#kernel;
    const stat = new Stat(sys);
    return sys.statx(dirFd, scratch.text(name), AT_SYMLINK_NOFOLLOW, stat.address) < 0 ? -1 : stat.device;
  }

  #list(fd: number, most: number): { name: Buffer; type: number }[] {
    const listing = new Listing(this.#kernel.sys);
    const entries: { name: Buffer; type: number }[] = [];
    this.#kernel.sys.lseek(fd, 0, 0);
    while (entries.length < most && check(listing.read(fd), "getdents64") > 0) {
      while (listing.next()) entries.push({ name: listing.copyName(), type: listing.type });
    }
    return entries.slice(0, most);
  }

  #open(parentFd: number, name: Buffer): number {
    const { sys, scratch } = this.#kernel;
    return openQuietly(sys, parentFd, scratch.at(name), sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC);
  }
}

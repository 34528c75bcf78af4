import { O_CLOEXEC } from "../sys/constants.ts";
import { SysError, check } from "../sys/errors.ts";
import { compareFacts, typeName, type Difference } from "./compare.ts";
import { NameSection, attributeMark, directoryDigest } from "./digest.ts";
import { byInode, compareNames, finish, type Frame, type Pair, type Side } from "./frame.ts";
import { Judge, type Place } from "./judge.ts";
import { ROW_WORDS, isPartner, markOf } from "./ledger-row.ts";
import { rowStates } from "./ledger.ts";
import { bytesOf, type Listed } from "./listing.ts";
import type { TreeRules, WalkResult } from "./messages.ts";
import { OneSided } from "./one-sided.ts";
import { Selection, isDirectory, type OpenDirectory } from "./selection.ts";
import type { Thread } from "./thread.ts";

/** Descriptors of ancestors kept open for each tree; further up a directory is found again through "..". */
const OPEN_ANCESTORS = 100;
/** A directory with more subdirectories than this is walked by one thread. */
const MOST_LEFT = 1000;

/** Walks both trees side by side, depth-first, and has every name judged. With one tree it makes its digest. */
export class TreeWalker {
  readonly #thread: Thread;
  readonly #rules: TreeRules;
  readonly #selection: Selection;
  readonly #judge: Judge;
  readonly #oneSided: OneSided;
  readonly #row = new Int32Array(ROW_WORDS);
  readonly #otherRow = new Int32Array(ROW_WORDS);

  constructor(thread: Thread, rules: TreeRules) {
    this.#thread = thread;
    this.#rules = rules;
    this.#selection = new Selection(thread, rules.filter);
    this.#judge = new Judge(thread, rules);
    this.#oneSided = new OneSided(thread, this.#selection);
  }

  get #roots() {
    const { source, target } = this.#rules;
    return target === undefined ? [source] : [source, target];
  }

  /** @throws Stopped, TreeFailure */
  run(path: string, depth: "shallow" | "deep"): WalkResult {
    const stack: Frame[] = [];
    try {
      const top = this.#openTask(path);
      if (top === undefined) return { type: "walk", sides: [], left: [] };
      stack.push(top);
      this.#list(top);
      const isLeft = depth === "shallow" && top.left.length <= MOST_LEFT;
      const left = isLeft ? top.left.splice(0) : [];
      while (stack.length > 1 || top.left.length > 0) this.#step(stack);
      return { type: "walk", sides: top.sides.map(finish), left };
    } finally {
      for (const frame of stack) this.#close(frame);
    }
  }

  #step(stack: Frame[]): void {
    const frame = stack.at(-1) as Frame;
    const name = frame.left.shift();
    if (name === undefined) {
      stack.pop();
      const parent = stack.at(-1) as Frame;
      this.#reopen(parent, frame);
      this.#close(frame);
      frame.sides.forEach((side, index) => {
        const { attributes, section, subdirectories } = finish(side);
        const digest = directoryDigest(attributes, section, subdirectories);
        parent.sides[index]?.subdirectories.push({ name: frame.name, digest });
      });
      return;
    }
    this.#thread.checkStop();
    const path = frame.path === "" ? name : `${frame.path}/${name}`;
    const child = this.#open(frame, path, name, (side) => ({
      fd: frame.sides[side]?.directory.fd ?? -1,
      device: frame.sides[side]?.directory.device ?? -1,
    }));
    if (child === undefined) return;
    stack.push(child);
    const distant = stack.at(-1 - OPEN_ANCESTORS);
    if (distant !== undefined && stack.length > OPEN_ANCESTORS + 1) this.#close(distant);
    this.#list(child);
  }

  /** Goes down to the task's directory. */
  #openTask(path: string): Frame | undefined {
    const roots = this.#roots;
    if (path === "")
      return this.#open(undefined, "", ".", (side) => ({ fd: roots[side]?.fd ?? -1, device: -1 }));
    const { sys } = this.#thread;
    const parents: OpenDirectory[] = [];
    const parts = path.split("/");
    const name = parts.pop() as string;
    try {
      for (const { fd } of roots) parents.push(this.#selection.descend(fd, parts));
      return this.#open(undefined, path, name, (side) => parents[side] as OpenDirectory);
    } catch (error) {
      this.#thread.fail(bytesOf(path), "one of the trees", error);
      return undefined;
    } finally {
      for (const { fd } of parents) sys.close(fd);
    }
  }

  /** Opens the directory in each tree and compares its attributes. */
  #open(
    parent: Frame | undefined,
    path: string,
    name: string,
    parentOf: (side: number) => { fd: number; device: number },
  ): Frame | undefined {
    const frame: Frame = { parent, path, name, sides: [], left: [] };
    for (const side of this.#roots.keys()) {
      const { fd, device } = parentOf(side);
      try {
        const directory = this.#selection.open(fd, name, device);
        frame.sides.push(this.#side(directory, path));
      } catch (error) {
        this.#thread.fail(bytesOf(path), this.#sideName(side), error);
        this.#close(frame);
        return undefined;
      }
    }
    this.#compare(frame);
    return frame;
  }

  #sideName(side: number): string {
    if (this.#rules.target === undefined) return "tree";
    return side === 0 ? "source" : "target";
  }

  #side(directory: OpenDirectory, path: string): Side {
    try {
      const facts = this.#thread.inodes.ofDescriptor(directory.fd);
      // Making or removing the store moves the time of the root.
      const attributes = attributeMark(facts, path === "" ? "without-time" : "with-time");
      return { directory, facts, attributes, names: new NameSection([]), subdirectories: [] };
    } catch (error) {
      this.#thread.sys.close(directory.fd);
      throw error;
    }
  }

  #compare({ path, sides }: Frame): void {
    const [source, target] = sides;
    if (source === undefined || target === undefined) return;
    for (const difference of compareFacts(source.facts, target.facts, this.#rules.limits)) {
      const isRootTime = path === "" && difference.class === "mtime" && !this.#rules.hasStore;
      this.#report(path, isRootTime ? { ...difference, class: "root-time" } : difference);
    }
  }

  #report(path: string, difference: Difference): void {
    this.#thread.report({ path: bytesOf(path), ...difference });
  }

  /** All names of the directory but what its subdirectories hold. */
  #list(frame: Frame): void {
    const lists: Listed[][] = [];
    // What the source has there was not to be copied; the mount point itself was.
    const isMount = frame.sides[0]?.directory.isMountRoot ?? false;
    const isOutside = this.#rules.oneFileSystem && frame.path !== "" && isMount;
    for (const [side, root] of this.#roots.entries()) {
      const { directory } = frame.sides[side] as Side;
      try {
        lists.push(isOutside ? [] : this.#selection.list(directory, frame.path, root));
      } catch (error) {
        this.#thread.fail(bytesOf(frame.path), this.#sideName(side), error);
        return;
      }
    }
    this.#count(lists);
    lists.forEach((list, side) => {
      const names = list.filter((entry) => !isDirectory(entry)).map(({ name }) => name);
      (frame.sides[side] as Side).names = new NameSection(names);
    });
    this.#judgeAll(frame, this.#match(frame, lists));
    this.#thread.looked(() => bytesOf(frame.path === "" ? "." : frame.path), "compared");
    this.#thread.flush();
  }

  #count([source = [], target = []]: Listed[][]): void {
    const { tally } = this.#thread;
    tally.names += source.length;
    tally.targetNames += target.length;
    for (const entry of source) if (isDirectory(entry)) tally.directories++;
  }

  /** Both lists are in byte order. What one tree alone has is reported; directories of both are left for later. */
  #match(frame: Frame, [source = [], target]: Listed[][]): Pair[] {
    const pairs: Pair[] = [];
    let [at, other] = [0, 0];
    while (at < source.length || (target !== undefined && other < target.length)) {
      const ours = source[at];
      const theirs = target?.[other];
      const order = target === undefined ? 0 : compareNames(ours?.name, theirs?.name);
      if (order <= 0) at++;
      if (order >= 0) other++;
      const entries = [order <= 0 ? ours : undefined, order >= 0 ? theirs : undefined];
      this.#sort(frame, entries, target === undefined ? 1 : 2, pairs);
    }
    return pairs;
  }

  #sort(frame: Frame, entries: (Listed | undefined)[], trees: number, pairs: Pair[]): void {
    const marksAt = entries.map((entry, side) =>
      entry === undefined || isDirectory(entry) ? -1 : (frame.sides[side]?.names.add(entry.name) ?? -1),
    );
    const there = entries.filter((entry) => entry !== undefined);
    const directories = there.filter(isDirectory).length;
    const path = (name: string): string => (frame.path === "" ? name : `${frame.path}/${name}`);
    if (there.length === trees && directories === trees) frame.left.push((there[0] as Listed).name);
    else if (there.length === trees && directories === 0) pairs.push({ entries: there, marksAt });
    else if (there.length === trees) {
      const [source, target] = there.map(({ type }) => typeName(type << 12));
      this.#report(path((there[0] as Listed).name), {
        class: "type",
        source: source ?? "",
        target: target ?? "",
      });
      entries.forEach((entry, side) => {
        if (entry !== undefined && isDirectory(entry)) this.#reportBelow(frame, entry, side);
      });
    } else this.#reportLonely(frame, there[0] as Listed, entries[0] === undefined ? 1 : 0);
  }

  #reportLonely(frame: Frame, entry: Listed, side: 0 | 1): void {
    const path = frame.path === "" ? entry.name : `${frame.path}/${entry.name}`;
    const type = typeName(entry.type << 12);
    this.#report(path, side === 0 ? { class: "missing", source: type } : { class: "extra", target: type });
    if (isDirectory(entry)) this.#reportBelow(frame, entry, side);
  }

  #reportBelow(frame: Frame, { name }: Listed, side: number): void {
    const { directory } = frame.sides[side] as Side;
    const path = frame.path === "" ? name : `${frame.path}/${name}`;
    const root = this.#roots[side];
    if (root !== undefined)
      this.#oneSided.report({ parent: directory, name, path, root }, side === 0 ? "missing" : "extra");
  }

  /** First what is known, which costs no call; the rest in inode order, which is that of the data on a disk. */
  #judgeAll(frame: Frame, pairs: Pair[]): void {
    const unknown = pairs.filter((pair) => !this.#isKnown(frame, pair));
    unknown.sort((a, b) => byInode(a.entries[0] as Listed, b.entries[0] as Listed));
    const [source, target] = frame.sides;
    const place: Place = {
      fds: [source?.directory.fd ?? -1, target?.directory.fd ?? -1],
      path: (name) => bytesOf(frame.path === "" ? name : `${frame.path}/${name}`),
    };
    let waiting = unknown;
    while (waiting.length > 0) {
      const before = waiting.length;
      waiting = waiting.filter((pair) => !this.#judgeOne(frame, place, pair));
      this.#thread.checkStop();
      if (waiting.length === before) this.#thread.ledger.wait();
    }
  }

  /** The pair of inodes was met before, and is right or was reported. */
  #isKnown(frame: Frame, { entries, marksAt }: Pair): boolean {
    const { ledger } = this.#thread;
    const rows = [this.#row, this.#otherRow];
    for (const [side, { inoLow, inoHigh }] of entries.entries()) {
      const { device } = (frame.sides[side] as Side).directory;
      const key = { side: side as 0 | 1, device, inoLow, inoHigh };
      if (ledger.find(key, rows[side] as Int32Array) !== rowStates.known) return false;
    }
    const [ours, theirs] = entries as [Listed, Listed | undefined];
    if (theirs !== undefined) {
      const [source, target] = frame.sides as [Side, Side];
      const isOurs = isPartner(this.#row, target.directory.device, theirs.inoLow, theirs.inoHigh);
      const isTheirs = isPartner(this.#otherRow, source.directory.device, ours.inoLow, ours.inoHigh);
      if (!isOurs && !isTheirs) return false;
    }
    marksAt.forEach((at, side) => frame.sides[side]?.names.bytes.set(markOf(rows[side] as Int32Array), at));
    return true;
  }

  /** @returns false: another thread has an inode of it in hand */
  #judgeOne(frame: Frame, place: Place, { entries, marksAt }: Pair): boolean {
    const name = (entries[0] as Listed).name;
    const marks = this.#judge.judge(place, name);
    if (marks === "busy") return false;
    marks.forEach((mark, side) => {
      if (mark !== undefined) frame.sides[side]?.names.bytes.set(mark, marksAt[side]);
    });
    return true;
  }

  /** @throws SysError when the tree was moved meanwhile */
  #reopen(parent: Frame, child: Frame): void {
    const { sys, scratch } = this.#thread;
    parent.sides.forEach(({ directory, facts }, side) => {
      if (directory.fd >= 0) return;
      const flags = sys.O_DIRECTORY | O_CLOEXEC;
      directory.fd = check(
        sys.openat(child.sides[side]?.directory.fd ?? -1, scratch.text(".."), flags, 0),
        "openat",
      );
      const stat = this.#selection.identify(directory.fd);
      if (stat.device !== facts.device || stat.inoLow !== facts.inoLow || stat.inoHigh !== facts.inoHigh)
        throw new SysError("openat", 116, bytesOf(parent.path));
    });
  }

  #close({ sides }: Frame): void {
    for (const { directory } of sides) {
      if (directory.fd >= 0) this.#thread.sys.close(directory.fd);
      directory.fd = -1;
    }
  }
}

import { S_IFREG } from "../sys/constants.ts";
import { blocksLost } from "./content-reader.ts";
import { compareFacts, explained, explanationOf, ignoredOf, typeName, type Difference } from "./compare.ts";
import { attributeMark } from "./digest.ts";
import type { Facts, Opened } from "./inode-reader.ts";
import {
  FLAGS,
  LAYOUT_EXPLAINED,
  PARTNER_LINKS,
  ROW_WORDS,
  SPLIT_SAID,
  STATE,
  hasFlag,
  isPartner,
  markOf,
  setPartner,
  type InodeKey,
} from "./ledger-row.ts";
import { rowStates } from "./ledger.ts";
import { isNearLimit } from "./limits.ts";
import type { TreeRules } from "./messages.ts";
import type { Thread } from "./thread.ts";

/** Where a name is: open directories of both trees (the second -1 where one tree is read), and how its path is had. */
export type Place = { fds: readonly [number, number]; path: (name: string) => Buffer };

/** The marks of a name's inodes; undefined where one could not be read. */
export type Marks = (Uint8Array | undefined)[];

/** One inode in hand. Of one with a single name there is no row to be kept. */
type Held = {
  opened: Opened;
  key: InodeKey;
  row: Int32Array;
  /** What the ledger knew of it before. */
  state: number;
};

const sideNames = ["source", "target"] as const;

/** Compares inodes that share a name, each pair once; each inode is read once. */
export class Judge {
  readonly #thread: Thread;
  readonly #rules: TreeRules;
  readonly #rows = [new Int32Array(ROW_WORDS), new Int32Array(ROW_WORDS)] as const;
  readonly #spare = new Int32Array(ROW_WORDS);

  constructor(thread: Thread, rules: TreeRules) {
    this.#thread = thread;
    this.#rules = rules;
  }

  /** @returns "busy" when another thread is reading the inode: come back later. */
  judge(place: Place, name: string): Marks | "busy" {
    const opened: Opened[] = [];
    try {
      for (const side of place.fds[1] < 0 ? ([0] as const) : ([0, 1] as const)) {
        const one = this.#open(place, name, side);
        if (one === undefined) return [];
        opened.push(one);
      }
      const [source, target] = opened as [Opened, Opened | undefined];
      if (target !== undefined && source.facts.type !== target.facts.type) {
        const types = { source: typeName(source.facts.type), target: typeName(target.facts.type) };
        this.#report(place, name, { class: "type", ...types });
        return [];
      }
      return this.#judgeOpened(place, name, source, target);
    } finally {
      for (const one of opened) this.#thread.inodes.close(one);
    }
  }

  #open(place: Place, name: string, side: 0 | 1): Opened | undefined {
    try {
      return this.#thread.inodes.open(place.fds[side], name);
    } catch (error) {
      this.#thread.fail(place.path(name), this.#sideName(side), error);
      return undefined;
    }
  }

  #sideName(side: 0 | 1): string {
    return this.#rules.target === undefined ? "tree" : sideNames[side];
  }

  #judgeOpened(place: Place, name: string, source: Opened, target: Opened | undefined): Marks | "busy" {
    const ours = this.#take(0, source);
    if (ours === undefined) return "busy";
    const theirs = target === undefined ? undefined : this.#wait(1, target);
    const isReadable = this.#read(place, name, ours);
    if (theirs === undefined) {
      if (ours.state === rowStates.none) this.#settle(ours);
      return [isReadable ? markOf(ours.row) : undefined];
    }
    const areReadable = this.#read(place, name, theirs) && isReadable;
    const isJudged = areReadable && this.#tryToRelate(place, name, ours, theirs);
    for (const held of [ours, theirs]) if (held.state === rowStates.none) this.#settle(held);
    return isJudged ? [markOf(ours.row), markOf(theirs.row)] : [];
  }

  /** @returns false: something of them could not be read */
  #tryToRelate(place: Place, name: string, ours: Held, theirs: Held): boolean {
    try {
      this.#relate(place, name, ours, theirs);
      return true;
    } catch (error) {
      this.#thread.fail(place.path(name), "source or target", error);
      return false;
    }
  }

  /** Nobody who holds a target inode waits for anything: waiting here while holding a source inode ends. */
  #wait(side: 0 | 1, opened: Opened): Held {
    for (;;) {
      const held = this.#take(side, opened);
      if (held !== undefined) return held;
      this.#thread.checkStop();
      this.#thread.ledger.wait();
    }
  }

  /** undefined: another thread is reading it. */
  #take(side: 0 | 1, opened: Opened): Held | undefined {
    const { device, inoLow, inoHigh, links } = opened.facts;
    const key = { side, device, inoLow, inoHigh };
    const row = this.#rows[side];
    row.fill(0);
    const state = links > 1 ? this.#thread.ledger.claim(key, row) : rowStates.none;
    if (state === rowStates.claimed) return undefined;
    if (state === rowStates.none) this.#count(side, opened.facts);
    return { opened, key, row, state };
  }

  #count(side: 0 | 1, { type, sizeBytes }: Facts): void {
    const { tally } = this.#thread;
    if (side === 1) tally.targetInodes++;
    else {
      tally.inodes++;
      if (type === S_IFREG) tally.contentBytes += sizeBytes;
    }
  }

  /** Fills the row's mark unless the inode was read before. @returns false: it cannot be read */
  #read(place: Place, name: string, held: Held): boolean {
    if (held.state !== rowStates.none) return held.state === rowStates.known;
    const { opened, key, row } = held;
    const mark = markOf(row);
    try {
      mark.set(attributeMark(opened.facts), 0);
      // The source is believed; what is to be proven is that the other drive has it.
      const isSource = key.side === 0 && this.#rules.target !== undefined;
      mark.set(this.#thread.inodes.content(opened, isSource ? "anywhere" : "device"), 16);
      row[STATE] = rowStates.known;
      return true;
    } catch (error) {
      row[STATE] = rowStates.failed;
      this.#thread.fail(place.path(name), this.#sideName(key.side), error);
      return false;
    }
  }

  #settle({ opened, key, row }: Held): void {
    if (opened.facts.links > 1) this.#thread.ledger.settle(key, row);
  }

  #relate(place: Place, name: string, ours: Held, theirs: Held): void {
    const [source, target] = [ours.opened.facts, theirs.opened.facts];
    const isOurs = isPartner(ours.row, target.device, target.inoLow, target.inoHigh);
    const isTheirs = isPartner(theirs.row, source.device, source.inoLow, source.inoHigh);
    if (ours.state === rowStates.known && theirs.state === rowStates.known && (isOurs || isTheirs)) return;
    this.#compare(place, name, ours, theirs);
    if (ours.state === rowStates.known && !isOurs) this.#judgeSplit(place, name, ours, theirs);
    if (theirs.state === rowStates.known && !isTheirs) this.#judgeMerged(place, name, ours);
    if (ours.state === rowStates.none) setPartner(ours.row, target);
    if (theirs.state === rowStates.none) setPartner(theirs.row, source);
  }

  #compare(place: Place, name: string, ours: Held, theirs: Held): void {
    const [source, target] = [ours.opened.facts, theirs.opened.facts];
    const [mark, other] = [markOf(ours.row), markOf(theirs.row)];
    this.#compareFacts(place, name, ours, theirs);
    if (source.type !== S_IFREG || source.sizeBytes !== target.sizeBytes) return;
    const [wanted, found] = [hex(mark), hex(other)];
    if (wanted !== found) this.#report(place, name, { class: "content", source: wanted, target: found });
    this.#compareHoles(place, name, ours, theirs);
  }

  /** What the store ignores may differ if another source inode of the target inode has that value. */
  #compareFacts(place: Place, name: string, ours: Held, theirs: Held): void {
    const { limits, compared } = this.#rules;
    const [source, target] = [ours.opened.facts, theirs.opened.facts];
    const ignored = ignoredOf(source, compared);
    let differing = 0;
    for (const difference of compareFacts(source, target, limits)) {
      const flag = explanationOf(difference.class) & ignored;
      differing |= flag;
      if (flag === 0) this.#report(place, name, difference);
      else this.#reportPending(place, name, difference, theirs);
    }
    this.#explain(theirs, ignored & ~differing);
  }

  #compareHoles(place: Place, name: string, ours: Held, theirs: Held): void {
    const { content } = this.#thread;
    const { sizeBytes } = ours.opened.facts;
    const wanted = content.holes(ours.opened.fd, sizeBytes);
    let lost = wanted.length === 0 ? 0 : blocksLost(wanted, content.holes(theirs.opened.fd, sizeBytes));
    if (lost > 0) {
      // Blocks that are allocated but were never written (xfs likes them) pass for data once they were read.
      content.forget(theirs.opened.fd);
      lost = blocksLost(wanted, content.holes(theirs.opened.fd, sizeBytes));
    }
    if (lost === 0) {
      this.#explain(theirs, LAYOUT_EXPLAINED);
      return;
    }
    this.#reportPending(
      ...([place, name] as const),
      { class: "holes", source: `${String(lost)} blocks of 4096 bytes are holes`, target: "they are data" },
      theirs,
    );
  }

  /** Some source inode of the target inode is as it in what the flags say. */
  #explain(theirs: Held, flags: number): void {
    const { row, state, key } = theirs;
    if (((row[FLAGS] as number) & flags) === flags) return;
    const add = (to: Int32Array): void => {
      to[FLAGS] = (to[FLAGS] as number) | flags;
    };
    if (state === rowStates.none) add(row);
    else this.#thread.ledger.amend(key, this.#spare, add);
  }

  /** A target inode may stand for several source inodes of which one explains it: the end of the run tells. */
  #reportPending(place: Place, name: string, difference: Difference, theirs: Held): void {
    const { device, inoLow, inoHigh, links } = theirs.opened.facts;
    if (hasFlag(theirs.row, explanationOf(difference.class)))
      this.#report(place, name, { ...difference, ...explained(difference) });
    else {
      const pending = links > 1 ? { device, inoLow, inoHigh } : undefined;
      this.#thread.report({ path: place.path(name), ...difference, pending });
    }
  }

  /**
   * The group has names in two target inodes. That is right where the filesystem's link limit was near: of all inodes
   * of a group one may have room left. The row's partner is always the one with room. Where names went since, it is
   * right as long as compact leaves them apart.
   */
  #judgeSplit(place: Place, name: string, ours: Held, theirs: Held): void {
    const { limits } = this.#rules;
    const target = theirs.opened.facts;
    const partnerLinks = ours.row[PARTNER_LINKS] as number;
    if (!isNearLimit(target.links, limits) && isNearLimit(partnerLinks, limits))
      this.#thread.ledger.amend(ours.key, this.#spare, (row) => {
        setPartner(row, target);
      });
    if (theirs.state === rowStates.known) {
      if (hasFlag(theirs.row, SPLIT_SAID)) return;
      this.#thread.ledger.amend(theirs.key, this.#spare, (row) => {
        row[FLAGS] = (row[FLAGS] as number) | SPLIT_SAID;
      });
    } else theirs.row[FLAGS] = (theirs.row[FLAGS] as number) | SPLIT_SAID;
    this.#report(place, name, {
      class: this.#areLeftApart(target, partnerLinks) ? "siblings" : "split",
      source: "one inode",
      target: `not the inode of its other names (${String(target.links)} links)`,
    });
  }

  /** By compact: it folds what leaves room in one inode, and never holders, which have a name in the store each. */
  #areLeftApart({ type, sizeBytes, links }: Facts, partnerLinks: number): boolean {
    const { hasStore, limits } = this.#rules;
    if (isNearLimit(links + partnerLinks, limits)) return true;
    const hasContent = type === S_IFREG && sizeBytes > 0;
    return hasStore && !hasContent && limits.links > 0 && Math.min(links, partnerLinks) > 1;
  }

  /** Several source inodes are one on the target: right for files with content, whatever differs is said elsewhere. */
  #judgeMerged(place: Place, name: string, ours: Held): void {
    const { facts } = ours.opened;
    if (facts.type === S_IFREG && facts.sizeBytes > 0 && this.#rules.merge === "all") {
      if (ours.state === rowStates.none) this.#thread.tally.merged++;
      return;
    }
    this.#report(place, name, {
      class: "merged",
      source: "an inode of its own",
      target: "shared with other files",
    });
  }

  #report(place: Place, name: string, difference: Difference): void {
    this.#thread.report({ path: place.path(name), ...difference });
  }
}

const hex = (mark: Uint8Array): string => Buffer.from(mark.subarray(16)).toString("hex");

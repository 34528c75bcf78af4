import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { readAttributes, sameAttributes, type Attributes } from "../tree/attributes.ts";
import { REF_WORDS, type Ref, type StoreSession } from "../../store/store.ts";
import { onTarget } from "../work/errors.ts";
import { linkRoom } from "../relink/link-room.ts";
import { RecordReader } from "../relink/record-file.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { hashStable, lookOld, refuseOpenForWriting } from "../relink/stable-content.ts";
import { ATTENTION_WORDS, INO_HIGH, INO_LOW, REF } from "./attention.ts";
import { isRemembered, rememberObject } from "./memory.ts";
import type { OwnTask } from "./messages.ts";
import { objectPath } from "./object-path.ts";
import type { Teller } from "./teller.ts";

/** An inode of an object, by its number; `links` is its link count, the store's name included. */
export type Sibling = { number: number; links: number; inoHigh: number; inoLow: number };

/** Of a reference: what all siblings share. */
const OBJECT_WORDS = REF_WORDS - 1;

/**
 * Makes siblings one inode again where their names fit: all but the largest lose their names in the store, so that
 * those in the snapshots are led to the largest as those of any new inode. Numbers that are left follow each other.
 */
export class Folder {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;
  readonly #to: Ref;

  constructor(thread: RelinkThread, session: StoreSession, parts: { teller: Teller; to: Ref }) {
    this.#thread = thread;
    this.#session = session;
    this.#teller = parts.teller;
    this.#to = parts.to;
  }

  /** The records of an object follow each other, and all are in one task. @throws RunFailure, Stopped */
  run(task: OwnTask & { type: "fold" }): void {
    const records = new RecordReader(this.#thread.sys, task.recordsFd, ATTENTION_WORDS);
    const end = task.first + task.count;
    for (let index = task.first; index < end;) {
      this.#thread.checkStop();
      const first = records.at(index).slice();
      let after = index + 1;
      while (after < end && isSameObject(records.at(after), first)) after++;
      const members = Array.from({ length: after - index }, (_, at) => records.at(index + at).slice());
      this.#thread.ref.copyFrom(first, REF);
      this.#thread.attempt(
        () => objectPath(this.#thread.ref),
        () => {
          this.#object(first, members, task);
        },
      );
      index = after;
    }
  }

  #object(
    first: Uint32Array,
    members: Uint32Array[],
    { linkLimit, isDryRun }: OwnTask & { type: "fold" },
  ): void {
    const siblings = members.flatMap((member) => this.#look(member));
    const { kept, dropped } = chooseSiblings(
      siblings,
      this.#thread.rules.merge === "all" ? linkLimit : undefined,
    );
    if (dropped.length > 0 && !this.#areEqual(first, siblings)) return;
    const { counts } = this.#teller;
    const isTwice = (sibling: Sibling): boolean => kept.some((each) => isSameInode(each, sibling));
    if (isDryRun) {
      counts.toFold += dropped.length;
      for (const sibling of dropped)
        if (!isTwice(sibling)) this.#teller.folding(sibling.inoLow, sibling.inoHigh);
      return;
    }
    for (const sibling of dropped) {
      this.#refOf(first, sibling.number);
      this.#session.discard(this.#thread.ref);
      counts.foldedSiblings++;
      if (!isTwice(sibling)) this.#teller.again(sibling.inoLow, sibling.inoHigh);
    }
    this.#renumber(first, kept);
  }

  /** What is there still. An inode without other names is for the next prune. */
  #look(member: Uint32Array): Sibling[] {
    const { ref, stat } = this.#thread;
    ref.copyFrom(member, REF);
    if (this.#session.stat(ref, stat) < 0) return [];
    const { inoHigh, inoLow, nlink } = stat;
    if (inoHigh !== member[INO_HIGH] || inoLow !== member[INO_LOW]) return [];
    return [{ number: ref.sibling, links: nlink, inoHigh, inoLow }];
  }

  /**
   * Whether all are what their names say, and have the same attributes, compared ones or not: one may be damaged (a
   * repair keeps it as a sibling), or have what `relink --undo` gave back to its names.
   */
  #areEqual(first: Uint32Array, siblings: readonly Sibling[]): boolean {
    const { sys, ref, stat, xattrs } = this.#thread;
    let attributes: Attributes | undefined;
    for (const { number, inoLow, inoHigh } of siblings) {
      this.#refOf(first, number);
      const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
      const fd = onTarget(openQuietly(sys, this.#session.directoryOf(ref), ref.format(), flags), "openat");
      try {
        refuseOpenForWriting(this.#thread, fd);
        const digest = hashStable(this.#thread, fd, lookOld(this.#thread, fd));
        if (stat.inoLow !== inoLow || stat.inoHigh !== inoHigh || !digest.equals(ref.digest)) return false;
        const found = readAttributes(stat, xattrs, { fd });
        if (!sameAttributes(found, attributes ?? found)) return false;
        attributes = found;
      } finally {
        sys.close(fd);
      }
    }
    return true;
  }

  #refOf(first: Uint32Array, number: number): void {
    this.#thread.ref.copyFrom(first, REF).sibling = number;
  }

  /**
   * 0, 1, 2 …: whoever looks for an inode with room stops at the first number that is not there. A number may belong
   * to an inode that came since the store was looked at; it keeps it, and the next run sees them together.
   */
  #renumber(first: Uint32Array, kept: readonly Sibling[]): void {
    let number = 0;
    for (const sibling of kept) {
      while (number < sibling.number && !this.#moveTo(first, sibling.number, number)) number++;
      number++;
    }
  }

  /** false: another inode has the number. */
  #moveTo(first: Uint32Array, from: number, number: number): boolean {
    this.#refOf(first, from);
    this.#to.copyFrom(first, REF).sibling = number;
    const { ref, stat } = this.#thread;
    onTarget(this.#session.stat(ref, stat), "statx");
    const isKnown = isRemembered(this.#session, ref, stat);
    const moved = this.#session.move(ref, this.#to);
    if (moved === -errno.EEXIST) return false;
    onTarget(moved, "renameat2");
    if (isKnown) rememberObject(this.#thread, this.#session, this.#to);
    return true;
  }
}

/**
 * Which siblings stay, by number, and which are to give way to them. `linkLimit` 0: there is none; undefined: they are
 * kept apart for another reason. Room is left as a relink leaves it, so that none has to be opened again.
 */
export function chooseSiblings(
  siblings: readonly Sibling[],
  linkLimit: number | undefined,
): { kept: Sibling[]; dropped: Sibling[] } {
  const kept: (Sibling & { total: number })[] = [];
  const dropped: Sibling[] = [];
  const byLinks = [...siblings].sort((a, b) => b.links - a.links || a.number - b.number);
  const moved = byLinks.slice(1).reduce((sum, { links }) => sum + links - 1, 0);
  const room = linkLimit === undefined ? 0 : linkLimit === 0 ? Infinity : linkRoom(linkLimit, moved);
  for (const sibling of byLinks) {
    const names = sibling.links - 1;
    const into = kept.find((each) => isSameInode(each, sibling) || (names > 0 && each.total + names <= room));
    if (into === undefined) kept.push({ ...sibling, total: sibling.links });
    else {
      into.total += isSameInode(into, sibling) ? 0 : names;
      dropped.push(sibling);
    }
  }
  return { kept: kept.sort((a, b) => a.number - b.number), dropped };
}

const isSameInode = (a: Sibling, b: Sibling): boolean => a.inoLow === b.inoLow && a.inoHigh === b.inoHigh;

function isSameObject(a: Uint32Array, b: Uint32Array): boolean {
  for (let at = REF; at < REF + OBJECT_WORDS; at++) if (a[at] !== b[at]) return false;
  return true;
}

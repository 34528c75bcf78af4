import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Address } from "../sys/sys.ts";
import { STORE_NAME, type InodeKey, type Ref } from "../../store/store.ts";
import { procPath } from "../tree/apply.ts";
import { plainAttributes, readAttributes } from "../tree/attributes.ts";
import type { Entry } from "../tree/listing.ts";
import { EntryFailure, onTarget, targetFailed } from "./errors.ts";
import type { Frame } from "./frame.ts";
import type { Maker } from "./make.ts";
import type { Destination, Placer } from "./place.ts";
import type { Thread } from "./thread.ts";

/** Near the limit an entry's count is compared with the inode this often: other entries may link to it too. */
const RECOUNT_EVERY = 64;
/** Links that other threads may make between a look at the count and the link: more than there are threads. */
export const LINKS_UNDER_WAY = 128;

/** Gives names to inodes of the store, and opens a further shared inode where the link limit is near (P4). */
export class Linker {
  readonly #thread: Thread;
  readonly #placer: Placer;
  readonly #maker: Maker;

  constructor(thread: Thread, placer: Placer, maker: Maker) {
    this.#thread = thread;
    this.#placer = placer;
    this.#maker = maker;
  }

  /** Straight from the listing's buffer; false where there is more to do than a link. */
  linkKnown(frame: Frame, inoLow: number, inoHigh: number, name: Address): boolean {
    const { session, ref, counters } = this.#thread;
    const { table } = session;
    if (
      frame.mode !== "fill" ||
      !table.find(frame.filesystem.device, inoLow, inoHigh, ref, frame.unit + 1, 1)
    )
      return false;
    const { hit } = table;
    if (this.#isNearLimit(hit.links, hit.mostInSnapshot)) return table.uncount(hit.slot, frame.unit + 1);
    if (session.linkHit(ref, frame.targetFd, name) < 0) return table.uncount(hit.slot, frame.unit + 1);
    counters.linkedNames++;
    counters.plainCopyBytes += hit.sizeBytes;
    return true;
  }

  /** After the entry was statted: true where this run knows its inode, and the name is made. */
  linkFound(frame: Frame, entry: Entry, key: InodeKey): boolean {
    const { session, ref, counters } = this.#thread;
    const { table } = session;
    if (!table.find(key.device, key.inoLow, key.inoHigh, ref, frame.unit + 1, 1)) return false;
    const { hit } = table;
    const { found } = session;
    found.inoLow = hit.targetInoLow;
    found.inoHigh = hit.targetInoHigh;
    found.links = hit.links;
    found.sizeBytes = hit.sizeBytes;
    counters.plainCopyBytes += hit.sizeBytes;
    this.link(frame, entry, key, hit.mostInSnapshot);
    return true;
  }

  /** Makes the name a link to the reference in hand, whose inode `session.found` describes. */
  link(frame: Frame, entry: Entry, key: InodeKey, mostInSnapshot = 1): void {
    const { session, ref, counters, scratch } = this.#thread;
    if (this.#placer.isThere(frame, entry.name, session.found.inoLow, session.found.inoHigh)) return;
    if (this.#isNearLimit(session.found.links, mostInSnapshot)) {
      this.#rollOver(frame, entry, key, mostInSnapshot);
      return;
    }
    for (let attempt = 0; ; attempt++) {
      const at = this.#placer.open(frame, entry.name, session.found);
      const result = session.link(ref, at.fd, scratch.at(at.name));
      if (result === 0) {
        this.#finish(frame, entry, at);
        return;
      }
      if (result === -errno.EMLINK) {
        this.#learnLimit();
        this.#rollOver(frame, entry, key, mostInSnapshot);
        return;
      }
      if (result === -errno.EPERM) this.#refuseImmutable();
      if (result !== -errno.EEXIST || attempt > 0) targetFailed("linkat", result);
      if (frame.mode === "refill" && this.#placer.lookAt(frame, entry.name) && this.#isFound()) {
        counters.linkedNames++;
        return;
      }
      this.#placer.clear(frame, entry.name);
    }
  }

  /** By one name of an inode all others are as much: its name in the store is sure to be there. */
  #refuseImmutable(): void {
    const { session, ref, targetStat } = this.#thread;
    if (session.stat(ref, targetStat) < 0 || !targetStat.isImmutable) return;
    const path = `${STORE_NAME}/${ref.kind === "object" ? "objects" : "groups"}/${ref.text}`;
    const message = `its inode on the target is immutable or append-only: chattr -ia ${path} there, and run again`;
    throw new EntryFailure("EPERM", message);
  }

  #isFound(): boolean {
    const { targetStat, session } = this.#thread;
    return targetStat.inoLow === session.found.inoLow && targetStat.inoHigh === session.found.inoHigh;
  }

  #finish(frame: Frame, { name }: Entry, at: Destination): void {
    this.#thread.counters.linkedNames++;
    this.#placer.finish(frame, name, at, "linked");
  }

  /**
   * Headroom is left for the user's own next `cp -al`: 1% of the limit or the most names one snapshot has of the
   * inode, at most half the limit. 0: there is no limit.
   */
  #roomLimit(mostInSnapshot: number): number {
    const { session, traits } = this.#thread;
    const limit = session.linkLimit === 0 ? traits.linkLimit : session.linkLimit;
    return limit - Math.min(limit >> 1, Math.max(Math.ceil(limit / 100), mostInSnapshot) + LINKS_UNDER_WAY);
  }

  #isNearLimit(links: number, mostInSnapshot: number): boolean {
    const room = this.#roomLimit(mostInSnapshot);
    if (room === 0 || links < room >> 2) return false;
    if (links % RECOUNT_EVERY !== 0 && links < room) return false;
    const { session, ref, targetStat } = this.#thread;
    if (session.stat(ref, targetStat) < 0) return false;
    session.table.hit.links = targetStat.nlink;
    return targetStat.nlink >= room;
  }

  #learnLimit(): void {
    const { session, ref, targetStat } = this.#thread;
    if (session.stat(ref, targetStat) === 0) session.learnLinkLimit(targetStat.nlink);
  }

  /** Looks for the first sibling with room, or opens one by copying the inode at hand. */
  #rollOver(frame: Frame, entry: Entry, key: InodeKey, mostInSnapshot: number): void {
    const { session, ref, otherRef, targetStat } = this.#thread;
    otherRef.setBytes(ref.bytes);
    for (;;) {
      ref.sibling++;
      const result = session.stat(ref, targetStat);
      if (result === -errno.ENOENT) {
        this.#openSibling(frame, entry, key, mostInSnapshot);
        return;
      }
      onTarget(result, "statx");
      session.remember(targetStat);
      const room = this.#roomLimit(mostInSnapshot);
      if (room !== 0 && targetStat.nlink >= room) {
        otherRef.setBytes(ref.bytes);
        continue;
      }
      const isUsable = ref.kind === "held" || this.#thread.look(ref, this.#expected()) === "sound";
      if (!isUsable) {
        session.discard(ref);
        this.#openSibling(frame, entry, key, mostInSnapshot);
        return;
      }
      session.table.insert(key, ref, session.found);
      this.#record(frame);
      this.link(frame, entry, key, mostInSnapshot);
      return;
    }
  }

  /** Of a sibling: its name says what it is. */
  #expected() {
    const { targetStat } = this.#thread;
    const attributes = plainAttributes(targetStat);
    return { ...this.#thread.variantRecord(attributes), sizeBytes: targetStat.sizeBytes };
  }

  /** `ref` is the sibling to be, `otherRef` the inode to copy: from the store, so that the source is not read again. */
  #openSibling(frame: Frame, entry: Entry, key: InodeKey, mostInSnapshot: number): void {
    const { session, ref, otherRef, targetStat, counters, scratch } = this.#thread;
    const at =
      otherRef.kind === "object"
        ? this.#copyObject(frame, entry, otherRef)
        : this.#copyHeld(frame, entry, otherRef);
    onTarget(
      this.#thread.sys.statx(at.fd, scratch.at(at.name), AT_SYMLINK_NOFOLLOW, targetStat.address),
      "statx",
    );
    session.remember(targetStat);
    const adopted = session.adopt(ref, at.fd, scratch.at(at.name));
    if (adopted === -errno.EEXIST) {
      this.#maker.unmake(at);
      ref.sibling--;
      this.#rollOver(frame, entry, key, mostInSnapshot);
      return;
    }
    onTarget(adopted, "linkat");
    counters.siblings++;
    counters.createdInodes++;
    session.found.links = 2;
    if (ref.kind === "object") session.table.insertObject(ref, session.found);
    session.table.insert(key, ref, session.found);
    this.#record(frame);
    this.#placer.finish(frame, entry.name, at, "copied");
  }

  #copyObject(frame: Frame, entry: Entry, from: Ref): Destination {
    const { sys, session, targetStat, xattrs, content } = this.#thread;
    const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onTarget(sys.openat(session.directoryOf(from), from.format(), flags, 0), "openat");
    try {
      onTarget(session.stat(from, targetStat), "statx");
      const sizeBytes = targetStat.sizeBytes;
      const attributes = readAttributes(targetStat, xattrs, { fd });
      let digest: Buffer | undefined;
      const { at } = this.#maker.regular(frame, entry.name, attributes, (toFd) => {
        digest = content.copy({ fromFd: fd, toFd, sizeBytes, isSource: false });
      });
      if (digest?.equals(from.digest) === true) return at;
      this.#maker.unmake(at);
      throw new EntryFailure("EOBJECT", `the store's object ${from.text} is damaged`);
    } finally {
      sys.close(fd);
    }
  }

  #copyHeld(frame: Frame, entry: Entry, from: Ref): Destination {
    const { session, targetStat, xattrs } = this.#thread;
    onTarget(session.stat(from, targetStat), "statx");
    const dirFd = session.directoryOf(from);
    const name = Buffer.from(from.text);
    const attributes = readAttributes(targetStat, xattrs, { path: procPath(dirFd, name) });
    const special = {
      type: targetStat.type,
      rdevMajor: targetStat.rdevMajor,
      rdevMinor: targetStat.rdevMinor,
      linkTarget: this.#maker.readLink(dirFd, name),
    };
    const at = this.#maker.special(frame, entry.name, special, attributes);
    if (at === undefined) throw new EntryFailure("EPERM", "this user may not make devices");
    return at;
  }

  /**
   * What the sibling is. That the source inode leads to it is not: what the source is now is not what was read, and its
   * row leads to the group's first inode or to another of its siblings, from which the next run comes here.
   */
  #record({ filesystem }: Frame): void {
    const { session, ref } = this.#thread;
    if (ref.kind !== "object") return;
    const { ino, sizeBytes, mtimeNs } = session.found;
    session.record({
      identity: Buffer.alloc(filesystem.identity.length),
      source: { ino: 0n, generation: 0, sizeBytes, mtimeNs: 0n, ctimeNs: 0n },
      target: { ino, sizeBytes, mtimeNs },
      ref: ref.bytes,
    });
  }
}

import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { Stat } from "../sys/stat.ts";
import type { Address } from "../sys/sys.ts";
import { LARGE_BYTES, SMALL_BYTES, blake3, type InodeKey, type Look } from "../../store/store.ts";
import { readAttributes, type Attributes } from "../tree/attributes.ts";
import { isLasting } from "../tree/identity.ts";
import { asHeld } from "../tree/traits.ts";
import { readWithoutXattrs } from "../tree/without-xattrs.ts";
import type { Entry } from "../tree/listing.ts";
import { Clones } from "./clones.ts";
import { fromSource, onSource, targetFailed } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { isHoleyUnlikeObject, objectLosesHoles } from "./holes.ts";
import { Linker } from "./link.ts";
import { Maker } from "./make.ts";
import { Placer, type Destination } from "./place.ts";
import { SpecialSettler } from "./settle-special.ts";
import { isStable, isYoung, openSource, sameContentMoment, statOpen, unstable } from "./source-file.ts";
import { attributesByName, countLost, heldOf, subjectOf, type Subject } from "./subject.ts";
import { Takeover } from "./takeover.ts";
import type { Thread } from "./thread.ts";

/** A file that goes on changing is given up after this many readings. */
const READINGS = 4;

/** Content taken in: with `made`, it lies in a new inode already; with `found`, `session.found` is an inode that has it. */
type Taken = {
  digest: Buffer;
  content?: Buffer;
  made?: { at: Destination; actual: Attributes };
  found?: "object" | "taken over";
};

/** Deals with names one at a time: finds or makes the inode each must be, and gives it the name. */
export class Settler {
  readonly #thread: Thread;
  readonly #placer: Placer;
  readonly #maker: Maker;
  readonly #linker: Linker;
  readonly #specials: SpecialSettler;
  readonly #takeover: Takeover;
  readonly #clones: Clones;
  /** When the inode in hand was about to be looked at, before it was read. */
  #lookedAtMs = 0;

  constructor(thread: Thread) {
    this.#thread = thread;
    this.#placer = new Placer(thread);
    this.#maker = new Maker(thread, this.#placer);
    this.#linker = new Linker(thread, this.#placer, this.#maker);
    const parts = { placer: this.#placer, maker: this.#maker, linker: this.#linker };
    this.#specials = new SpecialSettler(thread, parts);
    this.#takeover = new Takeover(thread, this.#placer);
    this.#clones = new Clones(thread);
  }

  get placer(): Placer {
    return this.#placer;
  }

  /**
   * The hot path: links a name of an inode that this run knows, straight from the listing. false: it needs `settle`.
   */
  linkKnown(frame: Frame, inoLow: number, inoHigh: number, name: Address): boolean {
    return this.#linker.linkKnown(frame, inoLow, inoHigh, name);
  }

  /** @throws EntryFailure where this name cannot be handled; RunFailure, Stopped. */
  settle(frame: Frame, entry: Entry): "directory" | "settled" {
    const { sys, scratch, stat } = this.#thread;
    this.#lookedAtMs = Date.now();
    onSource(sys.statx(frame.sourceFd, scratch.at(entry.name), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
    if (stat.isDirectory) return "directory";
    const key = { device: stat.device, inoLow: stat.inoLow, inoHigh: stat.inoHigh };
    const isShared = stat.nlink > 1;
    if (isShared) {
      this.#waitForOthers(key);
      if (this.#linker.linkFound(frame, entry, key)) return "settled";
    }
    try {
      this.#settleUnknown(frame, entry, key);
    } finally {
      if (isShared) this.#thread.session.table.release(key);
    }
    return "settled";
  }

  /** Two threads that meet an inode at once: one reads it, the other waits and links. */
  #waitForOthers(key: InodeKey): void {
    for (
      let waitMs = 0.05;
      this.#thread.session.table.claim(key) === "taken";
      waitMs = Math.min(5, waitMs * 2)
    ) {
      this.#thread.checkStop();
      this.#thread.control.sleep(waitMs);
    }
  }

  #settleUnknown(frame: Frame, entry: Entry, key: InodeKey): void {
    const { stat, counters } = this.#thread;
    const subject = subjectOf(this.#thread, frame, entry, key);
    if (subject.isFirst) counters.inodes++;
    if (stat.isRegular && stat.sizeBytes > 0) {
      if (subject.isFirst) counters.contentBytes += stat.sizeBytes;
      counters.plainCopyBytes += stat.sizeBytes;
      if (!this.#settleFromIndex(subject)) this.#ingest(subject);
    } else this.#specials.settle(subject);
  }

  /**
   * The quick check (docs/design.md): same generation, size and mtime mean same content; the same ctime besides
   * means same attributes, another one that they must be read again, since link() changes it too.
   */
  #settleFromIndex(subject: Subject): boolean {
    const { session, ref, rules } = this.#thread;
    const { identity, state } = subject;
    if (rules.checksum || !isLasting(identity)) return false;
    // Of this run's own rows only those of inodes with further names can be met again.
    if (!subject.isShared && !session.hadRows) return false;
    const row = session.known(identity, state.ino);
    if (row?.source.generation !== state.generation || !sameContentMoment(row.source, state)) return false;
    const isSame = row.source.ctimeNs === state.ctimeNs;
    const rowRef = Buffer.from(row.ref);
    const held = isSame
      ? asHeld(attributesByName(this.#thread, subject, "skip xattrs"), this.#thread.traits)
      : heldOf(this.#thread, attributesByName(this.#thread, subject, "all"));
    ref.setBytes(rowRef);
    subject.losesXattrs = held.lostXattrs > 0;
    if (!isSame) this.#reviseVariant(subject, held.attributes);
    const { sizeBytes } = state;
    const expected = { ...this.#thread.variantRecord(held.attributes), sizeBytes, known: row.target };
    if (this.#thread.look(ref, expected) !== "sound") return false;
    if (subject.isShared) session.table.insert(subject.key, ref, session.found);
    if (!isSame) {
      if (row.source.ctimeNs !== 0n || !subject.losesXattrs) this.#record(subject);
    } else countLost(this.#thread, held);
    this.#linker.link(subject.frame, subject.entry, subject.key);
    return true;
  }

  /** The digest is known, the attributes may have moved: another variant has no sibling yet. */
  #reviseVariant({ group }: Subject, attributes: Attributes): void {
    const { ref } = this.#thread;
    const variant = this.#thread.variantOf(attributes);
    if (!variant.equals(ref.variant)) ref.setObject(Buffer.from(ref.digest), variant, group);
  }

  /** Reads the content and makes it an object, or finds that it is one. */
  #ingest(subject: Subject): void {
    const { sys, openStat, control } = this.#thread;
    control.countIngest();
    const fd = openSource(this.#thread, subject.frame.sourceFd, subject.entry.name);
    let isRead = false;
    try {
      this.#lookedAtMs = Date.now();
      let before = statOpen(this.#thread, fd, openStat);
      let lastDigest: Buffer | undefined;
      for (let reading = 0; reading < READINGS; reading++) {
        // What took its place meanwhile may be a directory, or a fifo, which must not be read.
        if (!openStat.isRegular || !isInode(openStat, subject.key)) throw unstable();
        const { attributes: held, lostXattrs } = heldOf(this.#thread, this.#openAttributes(fd, openStat));
        subject.losesXattrs = lostXattrs > 0;
        const isDense = openStat.blocks * 512 >= before.sizeBytes;
        const taken =
          before.sizeBytes === 0 ? undefined : this.#take(subject, fd, { ...before, isDense }, held);
        const afterMs = Date.now();
        const after = statOpen(this.#thread, fd, openStat);
        if (taken !== undefined && isStable(before, after, taken.digest, lastDigest)) {
          const { state } = subject;
          isRead = true;
          state.sizeBytes = before.sizeBytes;
          state.mtimeNs = before.mtimeNs;
          state.ctimeNs = before.ctimeNs;
          this.#settleTaken(subject, taken, held);
          return;
        }
        if (taken?.made !== undefined) this.#maker.unmake(taken.made.at);
        lastDigest = taken?.digest;
        before = after;
        this.#lookedAtMs = afterMs;
      }
      throw unstable();
    } finally {
      if (isRead) this.#thread.source.keep(fd, subject.key.device, subject.state.sizeBytes);
      else sys.close(fd);
    }
  }

  #openAttributes(fd: number, stat: Stat): Attributes {
    const { xattrs, rules } = this.#thread;
    return fromSource(() => (rules.xattrs ? readAttributes : readWithoutXattrs)(stat, xattrs, { fd }));
  }

  /** Small and dense: one read. Else: hashed while it is copied, unless the store seems to have it already. */
  #take(
    subject: Subject,
    fd: number,
    { sizeBytes, isDense }: { sizeBytes: number; isDense: boolean },
    held: Attributes,
  ): Taken | undefined {
    const { content, session } = this.#thread;
    if (sizeBytes <= SMALL_BYTES && isDense) {
      const bytes = fromSource(() => content.readSmall(fd, sizeBytes));
      return bytes === undefined ? undefined : { digest: blake3(bytes), content: bytes };
    }
    const mayClone = this.#clones.mayBePossible(subject.key.device, fd);
    const mayKnow = sizeBytes >= LARGE_BYTES && session.knowsSize(sizeBytes);
    if (mayClone || mayKnow || this.#takeover.isLikely(subject, held)) {
      const digest = fromSource(() => content.copy({ fromFd: fd, toFd: -1, sizeBytes, isSource: true }));
      if (digest === undefined) return undefined;
      const isSound = this.#lookFor(subject, digest, held, sizeBytes) === "sound";
      if (isSound && (isDense || !objectLosesHoles(this.#thread, fd, sizeBytes)))
        return { digest, found: "object" };
      if (this.#takeover.adopt(subject, held)) return { digest, found: "taken over" };
    }
    return this.#copyLarge(subject, fd, sizeBytes, held);
  }

  #lookFor({ group }: Subject, digest: Buffer, held: Attributes, sizeBytes: number): Look {
    const { ref } = this.#thread;
    ref.setObject(digest, this.#thread.variantOf(held), group);
    return this.#thread.look(ref, { ...this.#thread.variantRecord(held), sizeBytes });
  }

  #copyLarge(
    { frame, entry, key }: Subject,
    fd: number,
    sizeBytes: number,
    held: Attributes,
  ): Taken | undefined {
    const { content } = this.#thread;
    let digest: Buffer | undefined;
    const made = this.#maker.regular(frame, entry.name, held, (toFd) => {
      // A clone would have the source's zeros as data (ADR 10); the file was hashed before, which tells.
      const mayClone = this.#clones.mayBePossible(key.device, fd) && !content.passed.hasZeroBlocks;
      const isCloned = mayClone && content.clone(fd, toFd);
      const job = { fromFd: fd, toFd: isCloned ? -1 : toFd, sizeBytes, isSource: true };
      digest = fromSource(() => content.copy(job), "read");
    });
    if (digest !== undefined) return { digest, made };
    this.#maker.unmake(made.at);
    return undefined;
  }

  #settleTaken(subject: Subject, taken: Taken, held: Attributes): void {
    const { ref, session } = this.#thread;
    const { frame, entry, key } = subject;
    const { content } = taken;
    const found = taken.found ?? this.#find(subject, taken, held);
    if (found === "object" && !this.#isItself(subject)) this.#countMerged(subject);
    if (found === undefined) {
      const made =
        taken.made ??
        this.#maker.regular(frame, entry.name, held, (fd) => {
          this.#thread.content.writeSmall(fd, content ?? Buffer.alloc(0));
        });
      ref.setObject(taken.digest, this.#thread.variantOf(made.actual), subject.group);
      if (this.#adopt(subject, made)) {
        this.#keepNew(subject, made.at);
        return;
      }
    }
    if (subject.isShared) session.table.insert(key, ref, session.found);
    this.#record(subject);
    this.#linker.link(frame, entry, key);
  }

  /** One that the table forgot is met again: it was counted then. What is kept apart is merged with nothing. */
  #countMerged({ isFirst, group, state }: Subject): void {
    if (!isFirst || group !== undefined) return;
    this.#thread.counters.mergedInodes++;
    this.#thread.counters.mergedBytes += state.sizeBytes;
  }

  /** Whether an earlier run made the object from this very inode: nothing is merged then. */
  #isItself({ identity, state }: Subject): boolean {
    const { session, ref } = this.#thread;
    return session.known(identity, state.ino)?.ref.equals(ref.bytes) ?? false;
  }

  #find(subject: Subject, { digest, made }: Taken, held: Attributes): Taken["found"] {
    if (made !== undefined) return undefined;
    const look = this.#lookFor(subject, digest, held, subject.state.sizeBytes);
    if (look === "sound") return "object";
    // What stands under the name is not what the name says: the name goes, the inode's other names stay.
    if (look === "bad") this.#thread.session.discard(this.#thread.ref);
    return this.#takeover.adopt(subject, held) ? "taken over" : undefined;
  }

  /** Names the new inode in the store. false: another worker was first, the new inode is gone and theirs found. */
  #adopt(subject: Subject, made: { at: Destination; actual: Attributes }): boolean {
    const { ref, session, scratch } = this.#thread;
    const { sizeBytes } = subject.state;
    for (let attempt = 0; ; attempt++) {
      const result = session.adopt(ref, made.at.fd, scratch.at(made.at.name));
      if (result === 0) return true;
      if (result !== -errno.EEXIST || attempt > 1) targetFailed("linkat", result);
      const look = this.#thread.look(ref, { ...this.#thread.variantRecord(made.actual), sizeBytes });
      if (look === "sound" && !isHoleyUnlikeObject(this.#thread, made.at, sizeBytes)) {
        this.#maker.unmake(made.at);
        this.#countMerged(subject);
        return false;
      }
      if (look !== "absent") session.discard(ref);
    }
  }

  #keepNew(subject: Subject, at: Destination): void {
    const { session, ref, counters, targetStat } = this.#thread;
    const { found } = session;
    found.ino = targetStat.ino;
    found.inoLow = targetStat.inoLow;
    found.inoHigh = targetStat.inoHigh;
    found.links = 2;
    found.sizeBytes = targetStat.sizeBytes;
    found.mtimeNs = targetStat.mtimeNs;
    counters.createdInodes++;
    session.table.insertObject(ref, found);
    if (found.sizeBytes >= LARGE_BYTES) session.noteSize(found.sizeBytes);
    if (subject.isShared) session.table.insert(subject.key, ref, found);
    this.#record(subject);
    this.#placer.finish(subject.frame, subject.entry.name, at, "copied");
  }

  /**
   * An inode touched within the clock's granularity of the moment it was looked at, before it was read, might have been
   * written to again in the same tick: it is not recorded as known.
   */
  #record({ identity, state, losesXattrs }: Subject): void {
    const { session, ref, rules } = this.#thread;
    const { ino, sizeBytes, mtimeNs } = session.found;
    session.record({
      identity: isYoung(state, this.#lookedAtMs) ? Buffer.alloc(identity.length) : identity,
      // Without its xattrs it is known by content alone: a run that wants them has to look again.
      source: rules.xattrs && !losesXattrs ? state : { ...state, ctimeNs: 0n },
      target: { ino, sizeBytes, mtimeNs },
      ref: ref.bytes,
    });
  }
}

function isInode({ device, inoLow, inoHigh }: Stat, key: InodeKey): boolean {
  return device === key.device && inoLow === key.inoLow && inoHigh === key.inoHigh;
}

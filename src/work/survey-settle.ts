import { AT_SYMLINK_NOFOLLOW, S_IFBLK, S_IFCHR, S_IFLNK } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { readAttributes, type Attributes } from "../tree/attributes.ts";
import { isLasting } from "../tree/identity.ts";
import { asHeld } from "../tree/traits.ts";
import { readWithoutXattrs } from "../tree/without-xattrs.ts";
import { LARGE_BYTES, SMALL_BYTES, blake3 } from "../../store/store.ts";
import type { Entry } from "../tree/listing.ts";
import { fromSource, onSource, onTarget } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { objectLosesHoles } from "./holes.ts";
import { Maker, type Special } from "./make.ts";
import { isStable, openSource, sameContentMoment, statOpen, unstable, type Moment } from "./source-file.ts";
import { attributesByName, countLost, groupOf, heldOf, subjectOf, type Subject } from "./subject.ts";
import type { SurveyContext } from "./survey-context.ts";
import { isForeseen } from "./survey-ledger.ts";
import { SurveyLinker } from "./survey-link.ts";
import { Takeover } from "./takeover.ts";

/** As in settle.ts. */
const READINGS = 4;

/** Content read: `isCopied` where the run writes it before it can know whether the store has it. */
type Read = { digest: Buffer; dataBytes: number; isCopied: boolean };

/** Foresees what `Settler` does with each name, without making anything. */
export class SurveySettler {
  readonly #context: SurveyContext;
  readonly #linker: SurveyLinker;
  readonly #maker: Maker;
  readonly #takeover: Takeover;

  constructor(context: SurveyContext) {
    this.#context = context;
    this.#linker = new SurveyLinker(context);
    this.#maker = new Maker(context.thread, context.placer);
    this.#takeover = new Takeover(context.thread, context.placer);
  }

  linkKnown(frame: Frame, inoLow: number, inoHigh: number): boolean {
    return this.#linker.linkKnown(frame, inoLow, inoHigh);
  }

  /** @throws EntryFailure, RunFailure, Stopped */
  settle(frame: Frame, entry: Entry): "directory" | "settled" {
    const { sys, scratch, stat, counters } = this.#context.thread;
    onSource(sys.statx(frame.sourceFd, scratch.at(entry.name), AT_SYMLINK_NOFOLLOW, stat.address), "statx");
    if (stat.isDirectory) return "directory";
    const key = { device: stat.device, inoLow: stat.inoLow, inoHigh: stat.inoHigh };
    if (stat.nlink > 1 && this.#linker.linkFound(frame, entry, key)) return "settled";
    const subject = subjectOf(this.#context.thread, frame, entry, key);
    if (subject.isFirst) counters.inodes++;
    if (!stat.isRegular || stat.sizeBytes === 0) {
      this.#settleSpecial(subject);
      return "settled";
    }
    if (subject.isFirst) counters.contentBytes += stat.sizeBytes;
    counters.plainCopyBytes += stat.sizeBytes;
    if (!this.#settleFromIndex(subject)) this.#ingest(subject);
    return "settled";
  }

  #settleFromIndex(subject: Subject): boolean {
    const { thread, ledger } = this.#context;
    const { session, ref, rules } = thread;
    const { identity, state } = subject;
    if (rules.checksum || !isLasting(identity)) return false;
    const row = session.known(identity, state.ino);
    if (row?.source.generation !== state.generation || !sameContentMoment(row.source, state)) return false;
    const isSame = row.source.ctimeNs === state.ctimeNs;
    const rowRef = Buffer.from(row.ref);
    const held = isSame
      ? asHeld(attributesByName(thread, subject, "skip xattrs"), thread.traits)
      : heldOf(thread, attributesByName(thread, subject, "all"));
    ref.setBytes(rowRef);
    if (!isSame) {
      const variant = thread.variantOf(held.attributes);
      if (!variant.equals(ref.variant)) ref.setObject(Buffer.from(ref.digest), variant, subject.group);
    }
    if (!this.#isKnown(held.attributes, state.sizeBytes)) return false;
    if (subject.isShared) ledger.insert(subject.key, ref, session.found);
    if (isSame) countLost(thread, held);
    this.#linker.link(subject.frame, subject.entry, subject.key);
    return true;
  }

  /** Whether the object in `ref` is foreseen, or stands sound in the store; true describes it in `session.found`. */
  #isKnown(held: Attributes, sizeBytes: number): boolean {
    const { thread, ledger } = this.#context;
    const { ref, session } = thread;
    const foreseen = ledger.target(ref);
    if (foreseen !== undefined) {
      Object.assign(session.found, foreseen);
      return true;
    }
    if (thread.look(ref, { ...thread.variantRecord(held), sizeBytes }) !== "sound") return false;
    ledger.insertTarget(ref, { ...session.found, dataBytes: sizeBytes, lacksHoles: false });
    return true;
  }

  #ingest(subject: Subject): void {
    const { thread } = this.#context;
    const { openStat, stat, xattrs, rules } = thread;
    const fd = openSource(thread, subject.frame.sourceFd, subject.entry.name);
    try {
      let before = statOpen(thread, fd, openStat);
      let lastDigest: Buffer | undefined;
      for (let reading = 0; reading < READINGS; reading++) {
        if (!openStat.isRegular || openStat.ino !== subject.state.ino) throw unstable();
        const attributesOf = rules.xattrs ? readAttributes : readWithoutXattrs;
        const attributes = fromSource(() => attributesOf(openStat, xattrs, { fd }));
        const held = heldOf(thread, attributes).attributes;
        const read = before.sizeBytes === 0 ? undefined : fromSource(() => this.#read(fd, before));
        const after = statOpen(thread, fd, stat);
        if (read !== undefined && isStable(before, after, read.digest, lastDigest)) {
          subject.state = { ...subject.state, ...before };
          this.#settleRead(subject, fd, read, held);
          return;
        }
        lastDigest = read?.digest;
        before = statOpen(thread, fd, openStat);
      }
      throw unstable();
    } finally {
      thread.sys.close(fd);
    }
  }

  #read(fd: number, { sizeBytes }: Moment): Read | undefined {
    const { thread, traits } = this.#context;
    const { content, openStat, rules } = thread;
    if (sizeBytes <= SMALL_BYTES && openStat.blocks * 512 >= sizeBytes) {
      const bytes = content.readSmall(fd, sizeBytes);
      return bytes === undefined
        ? undefined
        : { digest: blake3(bytes), dataBytes: content.dataBytesOf(bytes), isCopied: false };
    }
    const digest = content.copy({ fromFd: fd, toFd: -1, sizeBytes, isSource: true });
    if (digest === undefined) return undefined;
    const isHome = openStat.device === rules.targetDevice;
    const { passed } = content;
    const dataBytes = isHome && traits.clones && !passed.hasZeroBlocks ? 0 : passed.dataBytes;
    const isLooked = isHome || (sizeBytes >= LARGE_BYTES && thread.session.knowsSize(sizeBytes));
    return { digest, dataBytes, isCopied: !isLooked };
  }

  #settleRead(subject: Subject, fd: number, read: Read, held: Attributes): void {
    const { thread, ledger } = this.#context;
    const { ref, session, counters } = thread;
    const { frame, entry, key, state, group, isShared } = subject;
    ref.setObject(read.digest, thread.variantOf(held), group);
    const isKnown = this.#isKnown(held, state.sizeBytes);
    const isMerged = isKnown && !this.#objectLosesHoles(subject, fd);
    const isTakenOver = !isKnown && this.#takeover.matches(subject, held);
    if (isTakenOver) this.#takeOver(read.dataBytes);
    else if (!isMerged || (read.isCopied && !this.#takeover.isLikely(subject, held)))
      counters.writtenBytes += read.dataBytes;
    if (isMerged && subject.isFirst && group === undefined && !this.#isItself(subject)) {
      counters.mergedInodes++;
      counters.mergedBytes += state.sizeBytes;
    }
    if (isMerged || isTakenOver) {
      if (isShared) ledger.insert(key, ref, session.found);
      this.#linker.link(frame, entry, key);
      return;
    }
    if (state.sizeBytes >= LARGE_BYTES) session.noteSize(state.sizeBytes);
    this.#foresee(state.sizeBytes, read.dataBytes);
    if (isShared) ledger.insert(key, ref, session.found);
    this.#linker.finish(frame, entry.name, "copied");
  }

  /** The target's name is the object already. */
  #takeOver(dataBytes: number): void {
    const { thread, ledger } = this.#context;
    const { session, ref, targetStat } = thread;
    session.remember(targetStat);
    session.found.links++;
    const lacksHoles = dataBytes < targetStat.sizeBytes && targetStat.blocks * 512 >= targetStat.sizeBytes;
    ledger.insertTarget(ref, { ...session.found, dataBytes, lacksHoles });
  }

  /** Then the run makes it anew. What was taken over is not in the store yet; what is to be made has all holes. */
  #objectLosesHoles({ allocatedBytes, state }: Subject, fd: number): boolean {
    const { thread, ledger } = this.#context;
    const object = ledger.target(thread.ref);
    if (allocatedBytes >= state.sizeBytes || object === undefined || isForeseen(object)) return false;
    return object.lacksHoles || objectLosesHoles(thread, fd, state.sizeBytes);
  }

  #isItself({ identity, state }: Subject): boolean {
    const { session, ref } = this.#context.thread;
    return session.known(identity, state.ino)?.ref.equals(ref.bytes) ?? false;
  }

  /** The inode in `ref` will be made, with a name in the store and one in the tree. */
  #foresee(sizeBytes: number, dataBytes: number): void {
    const { thread, ledger, needs } = this.#context;
    const { found } = thread.session;
    found.inoLow = 0;
    found.inoHigh = 0;
    found.links = 2;
    found.sizeBytes = sizeBytes;
    thread.counters.createdInodes++;
    needs.inode(dataBytes);
    ledger.insertTarget(thread.ref, { ...found, dataBytes, lacksHoles: false });
  }

  #settleSpecial(subject: Subject): void {
    const { thread, placer } = this.#context;
    const { targetStat, counters } = thread;
    const { frame, entry } = subject;
    const special = this.#special(subject);
    const attributes = fromSource(() => attributesByName(thread, subject, "all"));
    const held = heldOf(thread, attributes).attributes;
    if (subject.isShared) {
      this.#settleHeld(subject, special, held);
      return;
    }
    if (placer.isPublished(frame) && placer.lookAt(frame, entry.name)) {
      const isIts = targetStat.nlink === 1 || this.#isOwnGroup(subject, targetStat.ino);
      if (isIts && this.#maker.isSame(frame.targetFd, entry.name, special, held)) return;
    }
    if (!this.#isMakeable(special)) {
      counters.lostDevices++;
      return;
    }
    counters.createdInodes++;
    this.#context.needs.inode(0);
    this.#linker.finish(frame, entry.name, "made");
  }

  /** As in settle-special.ts. */
  #isOwnGroup({ identity, key, state }: Subject, targetIno: bigint): boolean {
    const { thread } = this.#context;
    const { ref, session, openStat } = thread;
    ref.setHeld(groupOf(thread, identity, key, state));
    for (; session.stat(ref, openStat) === 0; ref.sibling++) if (openStat.ino === targetIno) return true;
    return false;
  }

  #special({ frame, entry }: Subject): Special {
    const { stat } = this.#context.thread;
    const linkTarget = stat.type === S_IFLNK ? this.#maker.readLink(frame.sourceFd, entry.name) : undefined;
    if (stat.type === S_IFLNK && linkTarget === undefined) throw unstable();
    return { type: stat.type, rdevMajor: stat.rdevMajor, rdevMinor: stat.rdevMinor, linkTarget };
  }

  /** Everyone may make the whiteout of overlayfs, character device 0:0 (mknod(2)). */
  #isMakeable({ type, rdevMajor, rdevMinor }: Special): boolean {
    if (type !== S_IFCHR && type !== S_IFBLK) return true;
    return this.#context.traits.makesDevices || (type === S_IFCHR && rdevMajor === 0 && rdevMinor === 0);
  }

  #settleHeld(subject: Subject, special: Special, held: Attributes): void {
    const { thread, ledger } = this.#context;
    const { ref, session, targetStat, counters } = thread;
    const { frame, entry, key, identity, state } = subject;
    ref.setHeld(groupOf(thread, identity, key, state));
    const result = session.stat(ref, targetStat);
    if (result === 0 && this.#maker.isSame(session.directoryOf(ref), Buffer.from(ref.text), special, held)) {
      session.remember(targetStat);
      ledger.insertTarget(ref, { ...session.found, dataBytes: 0, lacksHoles: false });
      ledger.insert(key, ref, session.found);
      this.#linker.link(frame, entry, key);
      return;
    }
    if (result !== 0 && result !== -errno.ENOENT) onTarget(result, "statx");
    if (!this.#isMakeable(special)) {
      counters.lostDevices++;
      return;
    }
    this.#foresee(0, 0);
    ledger.insert(key, ref, session.found);
    this.#linker.finish(frame, entry.name, "made");
  }
}

import { AT_EMPTY_PATH, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import type { Ref, StoreSession } from "../../store/store.ts";
import { fromSource, onTarget } from "../work/errors.ts";
import { RecordReader } from "../relink/record-file.ts";
import { hashStable, lookOld, refuseOpenForWriting } from "../relink/stable-content.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { RunSorter, type Run } from "../relink/sorter.ts";
import { variantOfStat } from "../relink/variant.ts";
import {
  ATTENTION_WORDS,
  EDITED,
  EMPTIED,
  FILLED,
  INO_HIGH,
  INO_LOW,
  KIND,
  REF,
  REFILE,
  SIZE_HIGH,
  TO,
  decisionLayout,
} from "./attention.ts";
import { isRemembered, rememberObject } from "./memory.ts";
import type { OwnTask } from "./messages.ts";
import { objectPath } from "./object-path.ts";
import type { Teller } from "./teller.ts";

/** struct statx, as 32-bit words: size high and low; mtime's seconds high and low, nanoseconds. */
const STATE_WORDS = [11, 10, 29, 28, 30] as const;

/**
 * Says what an object is by now. Its content is read again where the index does not remember it with this size and
 * time; otherwise only its attributes have moved.
 */
export class Examiner {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;
  readonly #sorter: RunSorter;
  readonly #to: Ref;

  constructor(thread: RelinkThread, session: StoreSession, parts: { teller: Teller; to: Ref }) {
    this.#thread = thread;
    this.#session = session;
    this.#teller = parts.teller;
    this.#to = parts.to;
    const sortFd = thread.files.sortFds[thread.worker] as number;
    this.#sorter = new RunSorter(thread.sys, sortFd, decisionLayout);
  }

  /** What was decided. */
  finish(): Run[] {
    return this.#sorter.finish();
  }

  /** @throws RunFailure, Stopped */
  run(task: OwnTask & { type: "examine" }): void {
    const records = new RecordReader(this.#thread.sys, task.recordsFd, ATTENTION_WORDS);
    for (let index = task.first; index < task.first + task.count; index++) {
      this.#thread.checkStop();
      const record = records.at(index);
      this.#thread.ref.copyFrom(record, REF);
      this.#thread.attempt(
        () => objectPath(this.#thread.ref),
        () => {
          this.#examine(record, task.recordsRows);
        },
      );
    }
  }

  #examine(record: Uint32Array, recordsRows: boolean): void {
    const { sys, ref, stat } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, this.#session.directoryOf(ref), ref.format(), flags);
    if (fd === -errno.ENOENT) return;
    try {
      onTarget(fd, "openat");
      const before = lookOld(this.#thread, fd);
      if (stat.inoLow !== record[INO_LOW] || stat.inoHigh !== record[INO_HIGH]) return;
      refuseOpenForWriting(this.#thread, fd);
      if (ref.kind !== "object") this.#takeHolder(record, before.sizeBytes);
      else if (before.sizeBytes > 0) this.#nameAnew(record, { fd, before, recordsRows });
      else if (this.#isRot(this.#variantOf(fd))) this.#leaveDamaged(undefined, recordsRows);
      else this.#decide(record, EMPTIED);
    } finally {
      if (fd >= 0) sys.close(fd);
    }
  }

  /** Of an empty file: it was written into, and is content by now, which is adopted. */
  #takeHolder(record: Uint32Array, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const { inoLow, inoHigh } = this.#thread.stat;
    this.#decide(record, FILLED);
    this.#teller.again(inoLow, inoHigh);
  }

  #nameAnew(
    record: Uint32Array,
    { fd, before, recordsRows }: { fd: number; before: ReturnType<typeof lookOld>; recordsRows: boolean },
  ): void {
    const { ref, sys, scratch, stat } = this.#thread;
    const isKnown = isRemembered(this.#session, ref, stat);
    const digest = isKnown ? Buffer.from(ref.digest) : hashStable(this.#thread, fd, before);
    if (!isKnown) this.#teller.counts.readObjects++;
    onTarget(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address), "statx");
    const variant = this.#variantOf(fd);
    const isRot = !digest.equals(ref.digest) && this.#isRot(variant);
    if (isRot) {
      this.#leaveDamaged(digest, recordsRows);
      return;
    }
    this.#to.setObject(digest, variant, undefined).setGroup(ref.group);
    if (!digest.equals(ref.digest)) this.#decide(record, EDITED);
    else if (!variant.equals(ref.variant)) this.#decide(record, REFILE);
    else {
      this.#teller.counts.indexed++;
      if (recordsRows) rememberObject(this.#thread, this.#session, ref);
      else this.#teller.learned(stat.inoLow, stat.inoHigh);
    }
  }

  /** Of the inode that `stat` describes. */
  #variantOf(fd: number): Buffer {
    const { stat, rules, xattrs } = this.#thread;
    return variantOfStat(stat, rules.compared, () => fromSource(() => xattrs.read({ fd })));
  }

  /**
   * Whether an inode with other content was damaged, not written to: all attributes are those of its name, time
   * included, and its size is what it was or less. Where times are not compared only the index can tell, and a repair
   * believes it of a file of the same size.
   */
  #isRot(variant: Buffer): boolean {
    const { ref, stat, rules } = this.#thread;
    if (!variant.equals(ref.variant)) return false;
    const row = this.#session.sealed(ref);
    if (row?.ino !== stat.ino) return rules.compared.time;
    const sizeBytes = Math.abs(row.sizeBytes);
    if (row.mtimeNs !== stat.mtimeNs) return false;
    return rules.compared.time ? stat.sizeBytes <= sizeBytes : stat.sizeBytes === sizeBytes;
  }

  /** It keeps its name, by which a repair finds it. */
  #leaveDamaged(digest: Buffer | undefined, recordsRows: boolean): void {
    const { ref, stat } = this.#thread;
    if (recordsRows) this.#session.distrust(ref, stat.ino);
    else if (this.#session.sealed(ref)?.ino === stat.ino) this.#teller.doubted(stat.inoLow, stat.inoHigh);
    this.#teller.damaged(digest);
  }

  /** Of the inode that `stat` describes, whose true name is `#to`. */
  #decide(record: Uint32Array, kind: number): void {
    const decision = this.#sorter.next();
    decision.fill(0);
    decision.set(record);
    decision[KIND] = kind;
    if (kind === REFILE || kind === EDITED) decision.set(this.#to.words, TO);
    this.#thread.stat.copyWords(STATE_WORDS, decision, SIZE_HIGH);
    this.#teller.counts.toRefile++;
    if (kind !== REFILE) this.#teller.damaged(kind !== EDITED ? undefined : Buffer.from(this.#to.digest));
  }
}

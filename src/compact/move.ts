import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { Stat } from "../sys/stat.ts";
import type { StoreSession, Ref } from "../../store/store.ts";
import { procPath } from "../tree/apply.ts";
import { onTarget } from "../work/errors.ts";
import { timeAt } from "../relink/layout.ts";
import { RecordReader } from "../relink/record-file.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { variantOfStat } from "../relink/variant.ts";
import {
  BLOCK_BYTES,
  DECISION_WORDS,
  EMPTIED,
  FILLED,
  INO_HIGH,
  INO_LOW,
  KIND,
  MTIME,
  REF,
  SIZE_HIGH,
  TO,
} from "./attention.ts";
import { rememberObject } from "./memory.ts";
import type { OwnTask } from "./messages.ts";
import { objectPath } from "./object-path.ts";
import type { Teller } from "./teller.ts";

/** Gives objects the names that they have earned (docs/design.md, "Compacting"). */
export class Mover {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;
  readonly #to: Ref;
  readonly #other: Stat;

  constructor(thread: RelinkThread, session: StoreSession, parts: { teller: Teller; to: Ref }) {
    this.#thread = thread;
    this.#session = session;
    this.#teller = parts.teller;
    this.#to = parts.to;
    this.#other = new Stat(thread.sys);
  }

  /** @throws RunFailure, Stopped */
  run(task: OwnTask & { type: "move" }): void {
    const records = new RecordReader(this.#thread.sys, task.recordsFd, DECISION_WORDS);
    for (let index = task.first; index < task.first + task.count; index++) {
      this.#thread.checkStop();
      const decision = records.at(index);
      this.#thread.ref.copyFrom(decision, REF);
      this.#thread.attempt(
        () => objectPath(this.#thread.ref),
        () => {
          this.#carryOut(decision, task.prunes);
        },
      );
    }
  }

  #carryOut(decision: Uint32Array, prunes: boolean): void {
    const { ref, stat } = this.#thread;
    const looked = this.#session.stat(ref, stat);
    if (looked === -errno.ENOENT) return;
    onTarget(looked, "statx");
    // What was written to since is for the next run to read.
    if (!this.#isAsDecided(decision)) return;
    if (decision[KIND] === EMPTIED || decision[KIND] === FILLED) {
      // Its last name is prune's.
      if (stat.nlink > 1 || prunes) this.#leave("held by nobody");
      return;
    }
    this.#to.copyFrom(decision, TO);
    if (!this.#isVariant(this.#to)) return;
    const moved = this.#session.move(ref, this.#to);
    if (moved === -errno.EEXIST) {
      if (stat.nlink === 1 && !prunes) return;
      this.#leave(this.#isItself() ? "named twice" : "equal to another");
      return;
    }
    onTarget(moved, "renameat2");
    rememberObject(this.#thread, this.#session, this.#to);
    this.#teller.counts.refiled++;
  }

  #isAsDecided(decision: Uint32Array): boolean {
    const { stat } = this.#thread;
    return (
      stat.inoLow === decision[INO_LOW] &&
      stat.inoHigh === decision[INO_HIGH] &&
      stat.sizeBytes ===
        (decision[SIZE_HIGH] as number) * 0x100000000 + (decision[SIZE_HIGH + 1] as number) &&
      stat.mtimeNs === timeAt(decision, MTIME)
    );
  }

  /** Size and time may have stayed, and others changed: a mode, an ACL. */
  #isVariant(to: Ref): boolean {
    const { ref, stat, rules, xattrs } = this.#thread;
    const path = procPath(this.#session.fdOf("objects"), Buffer.from(ref.text));
    return variantOfStat(stat, rules.compared, () => xattrs.read({ path })).equals(to.variant);
  }

  /** Whether the inode has its true name as well. */
  #isItself(): boolean {
    const { sys, stat } = this.#thread;
    const fd = this.#session.fdOf("objects");
    if (sys.statx(fd, this.#to.format(), AT_SYMLINK_NOFOLLOW, this.#other.address) < 0) return false;
    return this.#other.inoLow === stat.inoLow && this.#other.inoHigh === stat.inoHigh;
  }

  /**
   * The name goes. Another inode has its true name: the inode's other names are then led to that one, as those of any
   * new inode. Without other names it goes altogether.
   */
  #leave(why: "held by nobody" | "named twice" | "equal to another"): void {
    const { ref, stat } = this.#thread;
    const { counts } = this.#teller;
    this.#session.discard(ref);
    counts.refiled++;
    if (stat.nlink === 1) {
      if (ref.kind === "object") counts.prunedObjects++;
      else counts.prunedHolders++;
      counts.prunedBytes += stat.blocks * BLOCK_BYTES;
    } else if (why === "equal to another") this.#teller.again(stat.inoLow, stat.inoHigh);
  }
}

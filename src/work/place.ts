import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { removeTree } from "../tree/remove.ts";
import { appendAction } from "./actions.ts";
import { EntryFailure, onTarget } from "./errors.ts";
import { pathOf, type Frame } from "./frame.ts";
import type { EntryAction } from "./messages.ts";
import { seenIn, type Seen } from "./seen.ts";
import { updateName } from "./staged-name.ts";
import { beyond } from "./target-path.ts";
import type { Thread } from "./thread.ts";

/** Where a name is made: in the staged directory itself, or aside, to be published after the seal. */
export type Destination = { fd: number; name: Buffer; serial: number; newIno: bigint };

/**
 * Decides where names go. While a snapshot is being built (fill, refill) they are made where they will live. In a
 * published directory nothing is touched: what differs is made in staging/, and an action says where it belongs.
 */
export class Placer {
  readonly #thread: Thread;
  /** What stands under the name that was last looked at. */
  #seen: Seen = "";

  constructor(thread: Thread) {
    this.#thread = thread;
  }

  isPublished(frame: Frame): boolean {
    return frame.mode === "update" || frame.mode === "loose";
  }

  /**
   * Looks at what the target has under the name, into `targetStat`; false: nothing. @throws EntryFailure where something
   * is mounted, whose number may be that of an inode of the target
   */
  lookAt(frame: Frame, name: Buffer): boolean {
    const { sys, scratch, targetStat, rules } = this.#thread;
    const result = sys.statx(frame.targetFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, targetStat.address);
    this.#seen = "";
    if (result === -errno.ENOENT) return false;
    onTarget(result, "statx");
    if (targetStat.isMountRoot === true) throw beyond();
    this.#seen = seenIn(targetStat, rules.delete ? "any" : "empty");
    return true;
  }

  /**
   * Whether the target's name is that inode already, which is the reference in hand, or one of its siblings. Only
   * published directories need the question.
   */
  isThere(frame: Frame, name: Buffer, inoLow: number, inoHigh: number): boolean {
    if (!this.isPublished(frame) || !this.lookAt(frame, name)) return false;
    const { targetStat } = this.#thread;
    return (targetStat.inoLow === inoLow && targetStat.inoHigh === inoHigh) || this.#isSibling();
  }

  /** Which sibling an earlier run gave a name depended on the order of its work: any of them is as right. */
  #isSibling(): boolean {
    const { session, ref, otherRef, openStat, targetStat } = this.#thread;
    otherRef.setBytes(ref.bytes);
    for (otherRef.sibling = 0; ; otherRef.sibling++) {
      if (otherRef.sibling === ref.sibling) continue;
      if (session.stat(otherRef, openStat) < 0) return false;
      if (openStat.inoLow === targetStat.inoLow && openStat.inoHigh === targetStat.inoHigh) return true;
    }
  }

  /**
   * Where the name is to be made, of that inode where it is known. In a published directory `targetStat` then tells what it
   * will replace.
   */
  open(frame: Frame, name: Buffer, inode?: { inoLow: number; inoHigh: number }): Destination {
    const { control, stagingFd } = this.#thread;
    if (!this.isPublished(frame)) return { fd: frame.targetFd, name, serial: -1, newIno: 0n };
    this.lookAt(frame, name);
    const serial = control.nextSerial();
    const newIno = inode === undefined ? 0n : (BigInt(inode.inoHigh) << 32n) | BigInt(inode.inoLow);
    return { fd: stagingFd, name: updateName({ serial, seen: this.#seen, newIno }), serial, newIno };
  }

  /** The name is made (at the destination); in a published directory it waits for the seal. It is told once. */
  finish(frame: Frame, name: Buffer, destination: Destination, action: EntryAction): void {
    if (destination.serial < 0) {
      this.#thread.tell(frame, name, action);
      return;
    }
    appendAction(this.#thread.sys, frame.actionsFd, {
      type: "put",
      unit: frame.unit,
      directory: pathOf(frame),
      name,
      serial: destination.serial,
      seen: this.#seen,
      newIno: destination.newIno,
    });
    this.#thread.tell(frame, name, this.#seen === "" ? action : "replaced");
  }

  /**
   * Clears the way for a name that was found to be there, in a directory that an earlier run began to fill: nothing in it
   * is published yet. Of a published one the name in staging/ was taken, and the next serial is free. @throws EntryFailure
   */
  clear(frame: Frame, name: Buffer): void {
    if (frame.mode === "fill") throw sameName();
    if (frame.mode === "refill") removeTree(this.#thread, frame.targetFd, name);
  }
}

/** A directory that this run made has no leftovers: the target takes two names for one, or a listing told one twice. */
export function sameName(): EntryFailure {
  const message =
    "its directory has the name already: the target takes two names for one, or the source changed while it was read";
  return new EntryFailure("EEXIST", message);
}

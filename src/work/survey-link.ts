import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import type { InodeKey } from "../../store/store.ts";
import type { Entry } from "../tree/listing.ts";
import { dataBytesOf } from "./survey-content.ts";
import { obstacleTexts } from "./doomed.ts";
import { onTarget } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { LINKS_UNDER_WAY } from "./link.ts";
import type { SurveyContext } from "./survey-context.ts";
import { isForeseen } from "./survey-ledger.ts";

/** As in link.ts. */
const RECOUNT_EVERY = 64;

/**
 * Foresees what `Linker` does: when a name is linked, when it is there already, and when the link limit opens a
 * further shared inode (P4). The counts and the order of questions are the linker's own.
 */
export class SurveyLinker {
  readonly #context: SurveyContext;

  constructor(context: SurveyContext) {
    this.#context = context;
  }

  linkKnown(frame: Frame, inoLow: number, inoHigh: number): boolean {
    const { thread, ledger } = this.#context;
    const { ref, counters } = thread;
    const { device } = frame.filesystem;
    if (frame.mode !== "fill" || !ledger.find({ device, inoLow, inoHigh }, ref, frame.unit + 1)) return false;
    const { hit } = ledger;
    if (this.#isNearLimit(hit.links, hit.mostInSnapshot)) return ledger.uncount();
    ledger.addLink(ref);
    counters.linkedNames++;
    counters.plainCopyBytes += hit.sizeBytes;
    return true;
  }

  linkFound(frame: Frame, entry: Entry, key: InodeKey): boolean {
    const { thread, ledger } = this.#context;
    if (!ledger.find(key, thread.ref, frame.unit + 1)) return false;
    const { hit } = ledger;
    const { found } = thread.session;
    found.inoLow = hit.inoLow;
    found.inoHigh = hit.inoHigh;
    found.links = hit.links;
    found.sizeBytes = hit.sizeBytes;
    thread.counters.plainCopyBytes += hit.sizeBytes;
    this.link(frame, entry, key, hit.mostInSnapshot);
    return true;
  }

  /** The name becomes a link to the reference in hand, whose inode `session.found` describes. */
  link(frame: Frame, entry: Entry, key: InodeKey, mostInSnapshot = 1): void {
    const { thread, placer, ledger } = this.#context;
    const { found } = thread.session;
    if (placer.isThere(frame, entry.name, found.inoLow, found.inoHigh)) return;
    if (this.#isNearLimit(found.links, mostInSnapshot)) {
      this.#rollOver(frame, entry, key, mostInSnapshot);
      return;
    }
    ledger.addLink(thread.ref);
    thread.counters.linkedNames++;
    this.finish(frame, entry.name, "linked");
  }

  /** The name is made. In a published directory that is a change, which what stands there may prevent. */
  finish(frame: Frame, name: Buffer, action: "linked" | "copied" | "made"): void {
    const { thread, placer } = this.#context;
    if (!placer.isPublished(frame)) {
      thread.tell(frame, name, action);
      return;
    }
    this.#context.changes++;
    const { targetStat, rules } = thread;
    const stands = placer.lookAt(frame, name);
    thread.tell(frame, name, stands ? "replaced" : action);
    if (!stands || !targetStat.isDirectory) return;
    const obstacle = this.#context.remover.replace(frame, name, rules.delete);
    if (obstacle !== undefined)
      thread.fail(frame, name, { code: "EISDIR", message: obstacleTexts[obstacle] });
  }

  #roomLimit(mostInSnapshot: number): number {
    const limit = this.#context.thread.traits.linkLimit;
    return limit - Math.min(limit >> 1, Math.max(Math.ceil(limit / 100), mostInSnapshot) + LINKS_UNDER_WAY);
  }

  #isNearLimit(links: number, mostInSnapshot: number): boolean {
    const room = this.#roomLimit(mostInSnapshot);
    if (room === 0 || links < room >> 2) return false;
    if (links % RECOUNT_EVERY !== 0 && links < room) return false;
    const { thread, ledger } = this.#context;
    return (ledger.target(thread.ref)?.links ?? 0) >= room;
  }

  /** Looks for the first sibling with room, or foresees a new one. */
  #rollOver(frame: Frame, entry: Entry, key: InodeKey, mostInSnapshot: number): void {
    const { thread, ledger } = this.#context;
    const { ref, otherRef, session } = thread;
    otherRef.setBytes(ref.bytes);
    for (;;) {
      ref.sibling++;
      if (!this.#hasSibling()) {
        this.#openSibling(frame, entry, key);
        return;
      }
      const room = this.#roomLimit(mostInSnapshot);
      if (room !== 0 && session.found.links >= room) {
        otherRef.setBytes(ref.bytes);
        continue;
      }
      ledger.insert(key, ref, session.found);
      this.link(frame, entry, key, mostInSnapshot);
      return;
    }
  }

  /** Whether the sibling in `ref` is foreseen or stands in the store; true describes it in `session.found`. */
  #hasSibling(): boolean {
    const { thread, ledger } = this.#context;
    const { ref, session, targetStat } = thread;
    const known = ledger.target(ref);
    if (known !== undefined) {
      Object.assign(session.found, known);
      return true;
    }
    const result = session.stat(ref, targetStat);
    if (result === -errno.ENOENT) return false;
    onTarget(result, "statx");
    session.remember(targetStat);
    ledger.insertTarget(ref, { ...session.found, dataBytes: targetStat.sizeBytes, lacksHoles: false });
    return true;
  }

  /** `ref` is the sibling to be, `otherRef` the inode that will be copied. */
  #openSibling(frame: Frame, entry: Entry, key: InodeKey): void {
    const { thread, ledger } = this.#context;
    const { ref, otherRef, session, counters } = thread;
    const { found } = session;
    const from = ledger.target(otherRef);
    const isObject = ref.kind === "object";
    found.links = 2;
    found.inoLow = 0;
    found.inoHigh = 0;
    found.sizeBytes = from?.sizeBytes ?? found.sizeBytes;
    counters.siblings++;
    counters.createdInodes++;
    const isStored = from !== undefined && !isForeseen(from) && isObject;
    const dataBytes = (isStored ? this.#storedDataBytes() : undefined) ?? from?.dataBytes ?? 0;
    if (isObject) counters.writtenBytes += dataBytes;
    this.#context.needs.inode(dataBytes);
    ledger.insertTarget(ref, { ...found, dataBytes, lacksHoles: false });
    ledger.insert(key, ref, found);
    this.finish(frame, entry.name, "copied");
  }

  /** What is no hole of the object in `otherRef`; undefined where it is not in the store yet, but on the target. */
  #storedDataBytes(): number | undefined {
    const { sys, session, otherRef, targetStat } = this.#context.thread;
    const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = sys.openat(session.directoryOf(otherRef), otherRef.format(), flags, 0);
    if (fd === -errno.ENOENT) return undefined;
    onTarget(fd, "openat");
    try {
      const at = otherRef.format();
      onTarget(
        sys.statx(session.directoryOf(otherRef), at, AT_SYMLINK_NOFOLLOW, targetStat.address),
        "statx",
      );
      return dataBytesOf(sys, fd, targetStat.sizeBytes);
    } finally {
      sys.close(fd);
    }
  }
}

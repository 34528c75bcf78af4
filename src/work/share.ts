import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import type { Entry } from "../tree/listing.ts";
import { pathOf, type Frame } from "./frame.ts";
import { LentEntries } from "./lent-entries.ts";
import type { Task } from "./messages.ts";
import type { Thread } from "./thread.ts";

/** New entries, or bytes of their content, that are worth a message to another thread. */
const LENT_LEAST = 256;
const LENT_LEAST_BYTES = 32 << 20;

/** Hands parts of a thread's task to idle ones. */
export class Sharer {
  readonly #thread: Thread;
  /** Bytes of the entries that were weighed last. */
  #weighed: { entries: readonly Entry[]; sizes: readonly number[] } = { entries: [], sizes: [] };

  constructor(thread: Thread) {
    this.#thread = thread;
  }

  /** An idle thread gets half of what is left at the shallowest level that has anything left. */
  giveSubdirectories(stack: readonly Frame[]): void {
    const frame = stack.find(({ subdirectories }) => subdirectories.length > 1);
    if (frame === undefined || !this.#thread.control.takeWish()) return;
    const count = frame.subdirectories.length >> 1;
    if (this.#give(frame, { subdirectories: frame.subdirectories.slice(0, count) }))
      frame.subdirectories.splice(0, count);
  }

  /**
   * An idle thread gets the second half of the entries from `at` on, which go from `entries`, where that is worth a
   * message: of a directory that is made for the first time, as nothing else is under these names then.
   */
  lend(frame: Frame, entries: Entry[], at: number): LentEntries | undefined {
    const { control } = this.#thread;
    const left = entries.length - at;
    if (frame.mode !== "fill" || left < 2 || !control.isWished) return undefined;
    const first = left >= LENT_LEAST ? at + (left >> 1) : this.#halfOfBytes(frame, entries, at);
    if (first === undefined || !control.takeWish()) return undefined;
    const loan = LentEntries.lend(entries.slice(first));
    if (!this.#give(frame, { loan })) return undefined;
    entries.length = first;
    return new LentEntries(loan);
  }

  /** Where the second half of the content begins; undefined where there is little. */
  #halfOfBytes(frame: Frame, entries: readonly Entry[], at: number): number | undefined {
    const sizes = this.#sizesOf(frame, entries).slice(at, entries.length);
    const totalBytes = sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0);
    if (totalBytes < LENT_LEAST_BYTES) {
      // What is left later is less still.
      this.#weighed = { entries, sizes: [] };
      return undefined;
    }
    let leftBytes = totalBytes;
    const first = sizes.findIndex((sizeBytes) => (leftBytes -= sizeBytes) <= totalBytes / 2) + 1;
    return first < sizes.length ? at + first : undefined;
  }

  /** Looked at once: the entries are asked about again and again, and fewer each time. */
  #sizesOf(frame: Frame, entries: readonly Entry[]): readonly number[] {
    const { sys, scratch, stat } = this.#thread;
    if (this.#weighed.entries !== entries) {
      const sizes = entries.map(({ name }) => {
        const statted = sys.statx(frame.sourceFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
        return statted === 0 && stat.isRegular ? stat.sizeBytes : 0;
      });
      this.#weighed = { entries, sizes };
    }
    return this.#weighed.sizes;
  }

  /** false: for want of descriptors the work stays here. */
  #give(frame: Frame, part: Pick<Task, "subdirectories" | "loan">): boolean {
    const { sys } = this.#thread;
    const sourceFd = sys.dup(frame.sourceFd);
    const targetFd = sys.dup(frame.targetFd);
    if (sourceFd < 0 || targetFd < 0) {
      for (const fd of [sourceFd, targetFd]) if (fd >= 0) sys.close(fd);
      return false;
    }
    const task: Task = {
      type: "task",
      unit: frame.unit,
      mode: frame.mode,
      sourceFd,
      targetFd,
      actionsFd: frame.actionsFd,
      path: pathOf(frame),
      isPlain: frame.isPlain,
      parentDevice: frame.filesystem.device,
      ...part,
    };
    this.#thread.give({ type: "given", task });
    return true;
  }
}

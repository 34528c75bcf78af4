import { errno } from "../sys/errors.ts";
import type { StoreSession } from "../../store/store.ts";
import { onTarget } from "../work/errors.ts";
import { RecordReader } from "../relink/record-file.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { ATTENTION_WORDS, BLOCK_BYTES, INO_HIGH, INO_LOW, REF } from "./attention.ts";
import type { OwnTask } from "./messages.ts";
import { objectPath } from "./object-path.ts";
import type { Teller } from "./teller.ts";

/**
 * Lets go of what has no name but the store's: every other name, in a snapshot, in staging, in tmp or anywhere else on
 * the filesystem, would be in the link count. Nobody else can give it one: the store is private, and locked.
 */
export class Pruner {
  readonly #thread: RelinkThread;
  readonly #session: StoreSession;
  readonly #teller: Teller;

  constructor(thread: RelinkThread, session: StoreSession, teller: Teller) {
    this.#thread = thread;
    this.#session = session;
    this.#teller = teller;
  }

  /** @throws RunFailure, Stopped */
  run(task: OwnTask & { type: "prune" }): void {
    const records = new RecordReader(this.#thread.sys, task.recordsFd, ATTENTION_WORDS);
    for (let index = task.first; index < task.first + task.count; index++) {
      this.#thread.checkStop();
      const record = records.at(index);
      this.#thread.ref.copyFrom(record, REF);
      this.#thread.attempt(
        () => objectPath(this.#thread.ref),
        () => {
          this.#prune(record);
        },
      );
    }
  }

  #prune(record: Uint32Array): void {
    const { ref, stat } = this.#thread;
    const looked = this.#session.stat(ref, stat);
    if (looked === -errno.ENOENT) return;
    onTarget(looked, "statx");
    const isIt = stat.inoLow === record[INO_LOW] && stat.inoHigh === record[INO_HIGH];
    if (!isIt || stat.nlink !== 1) return;
    this.#session.discard(ref);
    const { counts } = this.#teller;
    if (ref.kind === "object") counts.prunedObjects++;
    else counts.prunedHolders++;
    counts.prunedBytes += stat.blocks * BLOCK_BYTES;
  }
}

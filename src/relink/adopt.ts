import { F_RDLCK, F_UNLCK, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { REF_WORDS, type StoreSession } from "../../store/store.ts";
import { fromSource, onSource, onTarget, targetFailed, EntryFailure } from "../work/errors.ts";
import { statOpen } from "../work/source-file.ts";
import type { BatchView } from "./batch-memory.ts";
import { DONE, FAILED, NO_DIRECTORY, TARGET_ROW } from "./batch-memory.ts";
import { isState } from "./inode-state.ts";
import { CTIME, SIZE_HIGH, STATX_WORDS, numberAt, timeAt } from "./layout.ts";
import { sourceStateOf } from "./read-content.ts";
import { busy, changed, refuseOpenForWriting } from "./stable-content.ts";
import { joined, type RelinkThread } from "./relink-thread.ts";
import { xattrMark } from "./undo-log.ts";
import { hasXattrsOf, variantRecordOf } from "./variant.ts";

const ATTEMPTS = 3;

/** Gives the survivors of a batch their names in the store, without copying anything. */
export class Adopter {
  readonly #thread: RelinkThread;

  constructor(thread: RelinkThread) {
    this.#thread = thread;
  }

  /** @throws RunFailure, Stopped */
  run(batch: BatchView, first: number, count: number): void {
    const { directories, session } = this.#thread;
    if (session === undefined) throw new Error("targets without a store");
    for (let index = first; index < first + count; index++) {
      const target = batch.target(index);
      const path = (): Buffer => {
        const directory = target[TARGET_ROW.directory] as number;
        if (directory === NO_DIRECTORY) return Buffer.from(`.dedupe/objects/${this.#thread.ref.text}`);
        return joined(directories.pathOf(directory), batch.textOf(target, TARGET_ROW.text));
      };
      const isAdopted = this.#thread.attempt(path, () => {
        this.#adopt(session, batch, target);
      });
      target[TARGET_ROW.state] = isAdopted ? DONE : FAILED;
    }
    this.#thread.flush();
  }

  #adopt(session: StoreSession, batch: BatchView, target: Uint32Array): void {
    const { ref, stat, generations } = this.#thread;
    ref.copyFrom(target, TARGET_ROW.ref);
    const directory = target[TARGET_ROW.directory] as number;
    if (directory === NO_DIRECTORY) this.#lookAtObject(session, target);
    else this.#adoptName(session, target, directory, batch.textOf(target, TARGET_ROW.text));
    onTarget(session.stat(ref, stat), "statx");
    if (!isState(stat, target.subarray(TARGET_ROW.inode))) throw changed();
    stat.copyWords(STATX_WORDS, target, TARGET_ROW.inode);
    if (!this.#thread.rules.compared.xattrs) this.#markXattrs(session, target);
    session.remember(stat);
    session.table.insertObject(ref, session.found);
    if (target[TARGET_ROW.generation] === 0)
      target[TARGET_ROW.generation] = generations.of(session.directoryOf(ref), ref.format());
    this.#record(session, target);
  }

  /** Ignored ones, so that it is known which names lose others. */
  #markXattrs(session: StoreSession, target: Uint32Array): void {
    const { sys, ref, xattrs } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onTarget(openQuietly(sys, session.directoryOf(ref), ref.format(), flags), "openat");
    try {
      target.set(xattrMark(fromSource(() => xattrs.read({ fd }))), TARGET_ROW.xattrs);
    } finally {
      sys.close(fd);
    }
  }

  /** An object that has no name in the stock: sound, or its name goes and the next run finds another survivor. */
  #lookAtObject(session: StoreSession, target: Uint32Array): void {
    const look = this.#lookAtRest(session, target);
    if (look === "sound") return;
    if (look === "bad") session.discard(this.#thread.ref);
    throw new EntryFailure("EOBJECT", "the store's object is damaged; run again to use another one");
  }

  /**
   * The object as it lies there, which nobody has open for writing, and which stays as it is while it is looked at: its
   * state goes into the batch.
   */
  #lookAtRest(session: StoreSession, target: Uint32Array): ReturnType<StoreSession["look"]> {
    const { sys, ref, stat } = this.#thread;
    const expected = this.#expected(target);
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, session.directoryOf(ref), ref.format(), flags);
    if (fd === -errno.ENOENT) return "absent";
    onTarget(fd, "openat");
    try {
      refuseOpenForWriting(this.#thread, fd);
      statOpen(this.#thread, fd, stat);
      stat.copyWords(STATX_WORDS, target, TARGET_ROW.inode);
      const look = session.lookOnDisk(ref, expected);
      statOpen(this.#thread, fd, stat);
      if (look === "sound" && !isState(stat, target.subarray(TARGET_ROW.inode))) throw changed();
      return look;
    } finally {
      sys.close(fd);
    }
  }

  #expected(target: Uint32Array) {
    const inode = target.subarray(TARGET_ROW.inode);
    const attributes = variantRecordOf(inode, this.#thread.rules.compared, []);
    return { ...attributes, sizeBytes: numberAt(inode, SIZE_HIGH) };
  }

  #adoptName(session: StoreSession, target: Uint32Array, directory: number, name: Buffer): void {
    const { sys, scratch, stat, ref, directories } = this.#thread;
    const dirFd = directories.open(directory);
    this.#checkSurvivor(dirFd, name, target);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const result = session.adopt(ref, dirFd, scratch.at(name));
      if (result !== 0 && result !== -errno.EEXIST) {
        // Space that was freed may wait for the journal.
        if (result !== -errno.ENOSPC || attempt > 0) targetFailed("linkat", result);
        sys.syncfs(this.#thread.rootFd);
        continue;
      }
      onTarget(session.stat(ref, stat), "statx");
      if (isState(stat, target.subarray(TARGET_ROW.inode))) return;
      if (result === 0) {
        // The name was given to another inode between the look and the link.
        session.discard(ref);
        throw changed();
      }
      const look = this.#lookAtRest(session, target);
      if (look === "sound") return;
      if (look === "bad") session.discard(ref);
    }
    throw changed();
  }

  /** The survivor is still what was hashed, and nobody has it open for writing. */
  #checkSurvivor(dirFd: number, name: Buffer, target: Uint32Array): void {
    const { sys, scratch, stat } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, scratch.at(name), flags), "openat");
    try {
      const leased = sys.setLease(fd, F_RDLCK);
      if (leased === -errno.EAGAIN) throw busy();
      const { ctimeNs } = statOpen(this.#thread, fd, stat);
      if (leased === 0) sys.setLease(fd, F_UNLCK);
      const inode = target.subarray(TARGET_ROW.inode);
      if (!isState(stat, inode)) throw changed();
      // A link moves the ctime too; attributes that statx does not show are read again then.
      if (ctimeNs !== timeAt(inode, CTIME) && !hasXattrsOf(this.#thread, target, fd)) throw changed();
    } finally {
      sys.close(fd);
    }
  }

  /** The object's row: after the seal nobody has to hash it again. */
  #record(session: StoreSession, target: Uint32Array): void {
    const { rules, ref } = this.#thread;
    const inode = new Uint32Array(REF_WORDS + target.length);
    inode.set(target.subarray(TARGET_ROW.inode));
    const state = sourceStateOf(inode);
    const source = { ...state, generation: target[TARGET_ROW.generation] as number };
    const isItself = target[TARGET_ROW.directory] !== NO_DIRECTORY;
    const identity = isItself ? rules.identity : Buffer.alloc(rules.identity.length);
    session.record({ identity, source, target: source, ref: ref.bytes });
  }
}

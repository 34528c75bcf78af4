import { F_RDLCK, F_UNLCK, O_CLOEXEC, O_NONBLOCK, O_RDONLY, POSIX_FADV_DONTNEED } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { REF_WORDS, type StoreSession } from "../../store/store.ts";
import { fromSource, onSource, onTarget, targetFailed, EntryFailure } from "../work/errors.ts";
import { statOpen } from "../work/source-file.ts";
import type { BatchView } from "./batch-memory.ts";
import { DONE, FAILED, NAME_ROW, NO_DIRECTORY, TARGET_ROW } from "./batch-memory.ts";
import { isState } from "./inode-state.ts";
import { CTIME, SIZE_HIGH, STATE_WORDS, STATX_WORDS, numberAt, timeAt } from "./layout.ts";
import { sourceStateOf } from "./read-content.ts";
import { busyWithEquals, changed, hashStable, lookOld, refuseOpenForWriting } from "./stable-content.ts";
import { joined } from "../tree/path.ts";
import type { RelinkThread } from "./relink-thread.ts";
import { xattrMark } from "./undo-log.ts";
import { hasXattrsOf, variantRecordOf } from "./variant.ts";

const ATTEMPTS = 3;

/** What an object is found to be: as its name says; its attributes are others; its content is (and which). */
type Found = "absent" | "sound" | "bad" | Buffer;

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
      target[TARGET_ROW.state] = FAILED;
      this.#thread.attempt(path, () => {
        if (this.#adopt(session, batch, target)) target[TARGET_ROW.state] = DONE;
      });
    }
    this.#thread.flush();
  }

  /** false: it is damaged, which was told, and nothing is to be linked to it. */
  #adopt(session: StoreSession, batch: BatchView, target: Uint32Array): boolean {
    const { ref, stat, generations } = this.#thread;
    ref.copyFrom(target, TARGET_ROW.ref);
    const directory = target[TARGET_ROW.directory] as number;
    const isSound =
      directory === NO_DIRECTORY
        ? this.#lookAtObject(session, batch, target)
        : this.#adoptName(session, target, directory, batch.textOf(target, TARGET_ROW.text));
    if (!isSound) return false;
    onTarget(session.stat(ref, stat), "statx");
    if (!isState(stat, target.subarray(TARGET_ROW.inode))) throw changed();
    stat.copyWords(STATX_WORDS, target, TARGET_ROW.inode);
    if (!this.#thread.rules.compared.xattrs) this.#markXattrs(session, target);
    session.remember(stat);
    session.table.insertObject(ref, session.found);
    if (target[TARGET_ROW.generation] === 0)
      target[TARGET_ROW.generation] = generations.of(session.directoryOf(ref), ref.format());
    this.#record(session, target);
    return true;
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

  /** An object that has no name in the stock. */
  #lookAtObject(session: StoreSession, batch: BatchView, target: Uint32Array): boolean {
    const look = this.#lookAtRest(session, target);
    if (look === "sound") return true;
    if (look === "bad") this.#discardOther(session);
    else if (look !== "absent" && !this.#mayGo(session, look)) return false;
    return this.#adoptEqual(session, batch, target);
  }

  /** Its name in the store is free: the best of the inodes that were to give way to it takes it. */
  #adoptEqual(session: StoreSession, batch: BatchView, target: Uint32Array): boolean {
    const number = target[TARGET_ROW.equal] as number;
    if (number === 0) throw otherObject();
    const name = batch.name(number - 1);
    const directory = batch.directoryOf(number - 1);
    target.set(batch.stateOf(name[NAME_ROW.victim] as number), TARGET_ROW.inode);
    target[TARGET_ROW.directory] = directory;
    target.set(name.subarray(NAME_ROW.text, NAME_ROW.length + 1), TARGET_ROW.text);
    target[TARGET_ROW.generation] = 0;
    // Whether this run has read it is not known any more.
    target[TARGET_ROW.unread] = 1;
    return this.#adoptName(session, target, directory, batch.textOf(name, NAME_ROW.text));
  }

  /** Its attributes moved: the name goes. A compact names it anew instead, and does so first. */
  #discardOther(session: StoreSession): void {
    if (this.#thread.damaged !== undefined) throw otherObject();
    session.discard(this.#thread.ref);
  }

  /**
   * A damaged object that nobody names has nothing to be repaired: it is discarded. What another one lost others may
   * have: it stays, so that a repair finds it, and nothing gives way to it. @returns whether it was discarded
   */
  #mayGo(session: StoreSession, digest: Buffer): boolean {
    const { ref, stat, damaged } = this.#thread;
    if (stat.nlink === 1) {
      session.discard(ref);
      return true;
    }
    session.distrust(ref, stat.ino);
    if (damaged === undefined) throw damage();
    damaged(digest);
    return false;
  }

  /**
   * The object as it lies there, which nobody has open for writing, and which stays as it is while it is looked at: its
   * state goes into the batch. Its content is read, whatever the index says: names are about to give way to it, and
   * with them perhaps the last inode that has what it lost.
   */
  #lookAtRest(session: StoreSession, target: Uint32Array): Found {
    const { sys, ref, stat } = this.#thread;
    const expected = this.#expected(target);
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, session.directoryOf(ref), ref.format(), flags);
    if (fd === -errno.ENOENT) return "absent";
    onTarget(fd, "openat");
    try {
      refuseOpenForWriting(this.#thread, fd);
      const digest = this.#digestOf(fd);
      stat.copyWords(STATX_WORDS, target, TARGET_ROW.inode);
      if (!digest.equals(ref.digest)) return digest;
      const look = session.lookOnDisk(ref, expected);
      statOpen(this.#thread, fd, stat);
      if (look === "sound" && !isState(stat, target.subarray(TARGET_ROW.inode))) throw changed();
      return look;
    } finally {
      sys.close(fd);
    }
  }

  /** From the device: what the page cache has may be what the disk has lost. */
  #digestOf(fd: number): Buffer {
    this.#thread.sys.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return hashStable(this.#thread, fd, lookOld(this.#thread, fd));
  }

  #expected(target: Uint32Array) {
    const inode = target.subarray(TARGET_ROW.inode);
    const attributes = variantRecordOf(inode, this.#thread.rules.compared, []);
    return { ...attributes, sizeBytes: numberAt(inode, SIZE_HIGH), isRead: true };
  }

  #adoptName(session: StoreSession, target: Uint32Array, directory: number, name: Buffer): boolean {
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
      if (isState(stat, target.subarray(TARGET_ROW.inode))) return true;
      if (result === 0) {
        // The name was given to another inode between the look and the link.
        session.discard(ref);
        throw changed();
      }
      const survivor = target.slice(TARGET_ROW.inode, TARGET_ROW.inode + STATE_WORDS);
      const look = this.#lookAtRest(session, target);
      if (look === "sound") return true;
      if (look === "bad") this.#discardOther(session);
      else if (look !== "absent" && !this.#mayGo(session, look)) return false;
      target.set(survivor, TARGET_ROW.inode);
    }
    throw changed();
  }

  /** The survivor is still what was hashed, and nobody has it open for writing. */
  #checkSurvivor(dirFd: number, name: Buffer, target: Uint32Array): void {
    const { sys, scratch, stat } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const opened = openQuietly(sys, dirFd, scratch.at(name), flags);
    if (opened === -errno.ENOENT) throw changed();
    const fd = onSource(opened, "openat");
    try {
      const leased = sys.setLease(fd, F_RDLCK);
      if (leased === -errno.EAGAIN) throw busyWithEquals();
      const { ctimeNs } = statOpen(this.#thread, fd, stat);
      if (leased === 0) sys.setLease(fd, F_UNLCK);
      const inode = target.subarray(TARGET_ROW.inode);
      if (!isState(stat, inode)) throw changed();
      // A link moves the ctime too; attributes that statx does not show are read again then.
      if (ctimeNs !== timeAt(inode, CTIME) && !hasXattrsOf(this.#thread, target, fd)) throw changed();
      // What the index remembers of it is not enough for others to give way to it.
      if (target[TARGET_ROW.unread] !== 0 && !this.#digestOf(fd).equals(this.#thread.ref.digest))
        throw damage();
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

function otherObject(): EntryFailure {
  return new EntryFailure("EOBJECT", "the store's object is not what its name says; run again");
}

function damage(): EntryFailure {
  const message =
    "its content is not what it was, though its time is: nothing was linked to it (dedupe verify --repair restores it)";
  return new EntryFailure("DAMAGED", message);
}

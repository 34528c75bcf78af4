import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { openQuietly } from "../sys/files.ts";
import { REF_BYTES } from "../../store/store.ts";
import type { Xattr } from "../tree/attributes.ts";
import { fromSource, onSource } from "../work/errors.ts";
import { statOpen } from "../work/source-file.ts";
import { DIRECTORY_ROW, FAILED, NAME_ROW, TARGET_ROW, VICTIM_ROW, type BatchView } from "./batch-memory.ts";
import { isInode, isState } from "./inode-state.ts";
import { GID, MODE, MTIME, UID, sameWords } from "./layout.ts";
import { changed } from "./stable-content.ts";
import { joined } from "../tree/path.ts";
import type { RelinkThread } from "./relink-thread.ts";
import { UndoWriter, xattrMark } from "./undo-log.ts";

/** Words of what `--ignore-*` may discard, but for xattrs. */
export const ATTRIBUTES = [MTIME, MTIME + 1, MTIME + 2, MODE, UID, GID];

/** Keeps in the undo log what the names of a batch lose by `--ignore-*`. One per thread. */
export class DiscardKeeper {
  readonly #thread: RelinkThread;
  readonly #writer: UndoWriter;

  constructor(thread: RelinkThread, logFd: number) {
    this.#thread = thread;
    this.#writer = new UndoWriter(thread, logFd, thread.worker);
  }

  /** A name whose attributes cannot be kept is marked as failed, and stays as it is. @throws RunFailure */
  keep(batch: BatchView, row: Uint32Array, serial: number): void {
    const { directories } = this.#thread;
    const id = row[DIRECTORY_ROW.id] as number;
    const first = row[DIRECTORY_ROW.firstName] as number;
    for (let index = first; index < first + (row[DIRECTORY_ROW.nameCount] as number); index++) {
      const name = batch.name(index);
      const path = (): Buffer => joined(directories.pathOf(id), batch.textOf(name, NAME_ROW.text));
      const isKept = this.#thread.attempt(path, () => {
        this.#keepOne(batch, { name, path, id, serial });
      });
      if (!isKept) name[NAME_ROW.state] = FAILED;
    }
  }

  /** Before the batch is sealed. @throws SysError */
  flush(): void {
    this.#writer.flush();
  }

  #keepOne(
    batch: BatchView,
    { name, path, id, serial }: { name: Uint32Array; path: () => Buffer; id: number; serial: number },
  ): void {
    const { directories } = this.#thread;
    const dirFd = directories.open(id);
    const victim = batch.victim(name[NAME_ROW.victim] as number).subarray(VICTIM_ROW.state);
    const row = batch.target(name[NAME_ROW.target] as number);
    const target = row.subarray(TARGET_ROW.inode);
    const { compared } = this.#thread.rules;
    const text = batch.textOf(name, NAME_ROW.text);
    if (this.#leadsTo(dirFd, text, target)) return;
    const xattrs = compared.xattrs ? undefined : this.#xattrsOf(dirFd, text, victim);
    const mark = xattrMark(xattrs ?? []);
    name.set(mark, NAME_ROW.xattrs);
    const hasSame = xattrs === undefined || mark.every((word, at) => word === row[TARGET_ROW.xattrs + at]);
    if (hasSame && sameWords(victim, target, ATTRIBUTES)) return;
    const ref = Buffer.from(row.slice(TARGET_ROW.ref, TARGET_ROW.inode).buffer, 0, REF_BYTES);
    const top = directories.topOf(id);
    this.#writer.append(serial, { path: path(), top, victim, target, ref, xattrs });
  }

  /** On a full disk it was replaced already: it has nothing to lose. */
  #leadsTo(dirFd: number, text: Buffer, target: Uint32Array): boolean {
    const { sys, scratch, stat } = this.#thread;
    const result = sys.statx(dirFd, scratch.at(text), AT_SYMLINK_NOFOLLOW, stat.address);
    return result === 0 && isInode(stat, target);
  }

  #xattrsOf(dirFd: number, text: Buffer, victim: Uint32Array): readonly Xattr[] {
    const { sys, scratch, stat, xattrs } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onSource(openQuietly(sys, dirFd, scratch.at(text), flags), "openat");
    try {
      statOpen(this.#thread, fd, stat);
      if (!isState(stat, victim)) throw changed();
      return fromSource(() => xattrs.read({ fd }));
    } finally {
      sys.close(fd);
    }
  }
}

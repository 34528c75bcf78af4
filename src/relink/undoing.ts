import { setImmediate as nextTurn } from "node:timers/promises";
import type { Compared } from "../options.ts";
import type { UndoCounters } from "../report/events.ts";
import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { openQuietly, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import type { Store } from "../../store/store.ts";
import { EntryFailure, entryFailure, onTarget } from "../work/errors.ts";
import type { Failure } from "../work/messages.ts";
import { BatchDraft } from "./batch.ts";
import { BatchView, DONE, NAME_ROW } from "./batch-memory.ts";
import { BatchRunner } from "./batch-runner.ts";
import { Directories, DirectoryWriter } from "./directories.ts";
import { HeapReader, HeapWriter } from "./heap.ts";
import { INODE_WORDS, NAMES_COUNT } from "./layout.ts";
import type { StockFiles } from "./messages.ts";
import { changed } from "./stable-content.ts";
import type { RelinkPool } from "./relink-pool.ts";
import { Restorer, type Shared } from "./restorer.ts";
import type { Restorable, RestoreGroup } from "./undo-plan.ts";

/** A batch is carried out when so much is together. */
const BATCH_NAMES = 4_096;
const BATCH_BYTES = 256 << 20;

export type UndoingParts = {
  kernel: Kernel;
  pool: RelinkPool;
  files: StockFiles;
  rootFd: number;
  device: number;
  compared: Compared;
  linkLimit: number;
  /** Undefined in a dry run. */
  store: Store | undefined;
  /** -1 for none. */
  objectsFd: number;
  groups: Iterable<RestoreGroup>;
  failed: (failure: Failure) => void;
  counters: UndoCounters;
};

/**
 * Gives names back what `--ignore-*` took from them. Names of one inode that are to have the same again keep sharing
 * one: the inode they have, where all its names are among them; otherwise a sibling with the attributes, made in the
 * store and put in the names' place by the order of docs/design.md, "Relinking".
 */
export class Undoing {
  readonly #parts: UndoingParts;
  readonly #stat: Stat;
  readonly #heap: HeapWriter;
  readonly #writer: DirectoryWriter;
  readonly #directories: Directories;
  readonly #restorer: Restorer;
  readonly #runner: BatchRunner | undefined;
  readonly #ids = new Map<string, number>();
  #nextId = 0;
  readonly #draft = new BatchDraft();
  #draftBytes = 0;

  /** @throws SysError */
  constructor(parts: UndoingParts) {
    const { kernel, files, rootFd, device, store, pool } = parts;
    this.#parts = parts;
    this.#stat = new Stat(kernel.sys);
    this.#heap = new HeapWriter(kernel.sys, files.heapFds[0] as number, 0);
    this.#writer = new DirectoryWriter(kernel, files.directoriesFd);
    const heap = new HeapReader(kernel.sys, files.heapFds);
    this.#directories = new Directories(kernel, {
      ...{ rootFd, device, fd: files.directoriesFd, heap },
      threads: files.sortFds.length,
    });
    this.#restorer = new Restorer(parts);
    const directories = this.#directories;
    if (store !== undefined)
      this.#runner = new BatchRunner({ kernel, rootFd, pool, store, directories, keepsDiscarded: false });
  }

  /** @returns false: cut short by a stop. @throws RunFailure, SysError */
  async run(): Promise<boolean> {
    const { groups, pool } = this.#parts;
    for (const group of groups) {
      await nextTurn();
      if (pool.control.isStopped) return false;
      // What a batch at hand is to link to is not in the inode's count yet.
      if (!group.isFirst && !(await this.#carryOut())) return false;
      this.#attempt(group.names, () => {
        this.#restore(group);
      });
      const isFull = this.#draft.names >= BATCH_NAMES || this.#draftBytes >= BATCH_BYTES;
      if (isFull && !(await this.#carryOut())) return false;
    }
    return this.#carryOut();
  }

  #attempt(names: readonly Restorable[], work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code, message } = entryFailure(error, "target");
      for (const { newest } of names) this.#parts.failed({ path: newest.path, code, message });
    }
  }

  #restore(group: RestoreGroup): void {
    const { counters, store } = this.#parts;
    const shared = this.#open(group);
    try {
      const way = this.#restorer.wayOf(shared, group);
      if (way === "nothing") return;
      if (way === "in-place") {
        if (store !== undefined) this.#restorer.changeInPlace(shared, group);
        counters.changedInodes++;
        counters.restoredNames += group.names.length;
        return;
      }
      counters.createdInodes++;
      counters.writtenBytes += shared.sizeBytes;
      if (store === undefined) counters.restoredNames += group.names.length;
      else this.#addToDraft(shared, group, this.#restorer.makeSibling(store, shared, group));
    } finally {
      this.#parts.kernel.sys.close(shared.fd);
    }
  }

  /** The inode that the group's names share now. */
  #open({ names }: RestoreGroup): Shared {
    const { kernel, rootFd } = this.#parts;
    const { sys, scratch } = kernel;
    const first = names[0] as Restorable;
    const { parent, name } = parentAndName(first.newest.path);
    const dirFd = onTarget(openBelow(kernel, rootFd, parent), "openat");
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, dirFd, scratch.at(name), flags);
    sys.close(dirFd);
    return this.#restorer.look(onTarget(fd, "openat"), first);
  }

  #addToDraft(
    { record, sizeBytes }: Shared,
    { names }: RestoreGroup,
    target: { ref: Uint32Array; inode: Uint32Array },
  ): void {
    const places = names.flatMap(({ newest: { path } }) => {
      const { parent, name } = parentAndName(path);
      const directory = this.#directoryId(parent);
      if (directory === undefined) this.#parts.failed({ path, ...changedFailure() });
      return directory === undefined ? [] : [{ directory, name, unit: 0 }];
    });
    const victim = new Uint32Array(INODE_WORDS);
    victim.set(record);
    victim[NAMES_COUNT] = places.length;
    const index = this.#draft.addTarget({ ...target, place: undefined, isAgain: false });
    const number = this.#draft.addVictim(victim);
    for (const place of places) this.#draft.addName(place, number, index);
    this.#draftBytes += sizeBytes;
  }

  /** A directory enters the stock with its path for a name. undefined: it is not there any more. */
  #directoryId(path: Buffer): number | undefined {
    const key = path.toString("latin1");
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    if (path.length > 0xffff)
      throw new EntryFailure("ENAMETOOLONG", "its path is too long for the undo to follow");
    const { kernel, rootFd } = this.#parts;
    const fd = openBelow(kernel, rootFd, path);
    if (fd < 0) return undefined;
    this.#restorer.statOf(fd, this.#stat);
    kernel.sys.close(fd);
    const id = this.#nextId++;
    const { inoHigh, inoLow } = this.#stat;
    this.#writer.put(id, { parent: -1, name: path, inoHigh, inoLow }, this.#heap);
    this.#ids.set(key, id);
    return id;
  }

  async #carryOut(): Promise<boolean> {
    if (this.#runner === undefined || this.#draft.targets === 0) return true;
    this.#heap.flush();
    this.#restorer.flushRecords();
    const memory = this.#draft.take();
    this.#draftBytes = 0;
    this.#ids.clear();
    const batch = new BatchView(memory);
    const isWhole = await this.#runner.run(memory, batch);
    for (let index = 0; index < batch.nameCount; index++)
      if (batch.name(index)[NAME_ROW.state] === DONE) this.#parts.counters.restoredNames++;
    return isWhole;
  }

  async close(): Promise<void> {
    this.#directories.close();
    await this.#restorer.close();
  }
}

function changedFailure(): { code: string; message: string } {
  const { code, message } = changed();
  return { code, message };
}

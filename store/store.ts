import { LOCK_EX, LOCK_NB, O_CLOEXEC, O_CREAT, O_RDWR } from "../src/sys/constants.ts";
import { SysError, check, errno, isSysError } from "../src/sys/errors.ts";
import {
  ensureDirectory,
  makeDirectories,
  openDirectory,
  statDescriptor,
  type Kernel,
} from "../src/sys/files.ts";
import { Stat } from "../src/sys/stat.ts";
import { ContentMover } from "./content.ts";
import { descriptorsToLend } from "./descriptors.ts";
import { StoreError } from "./errors.ts";
import { nameStore, readPolicy, settleFormat, type MergePolicy } from "./format.ts";
import { rewriteIndex, weighIndex, type IndexFigures } from "./index/compact-index.ts";
import { Index } from "./index/index.ts";
import { RowKeeper } from "./row-keeper.ts";
import { Journal } from "./journal.ts";
import { STORE_NAME, names } from "./layout.ts";
import { MetInodes } from "./met-inodes.ts";
import { RECORD_BYTES } from "./record.ts";
import { moveIndex } from "./index/move.ts";
import { openIndex } from "./index/open-index.ts";
import { recoverRecords } from "./recover.ts";
import { BEGAN_EMPTY, HAD_ROWS, HAS_ROWS, sharedMemory, type StoreShared } from "./session.ts";

export { StoreError } from "./errors.ts";
export { existingPolicy, type MergePolicy } from "./format.ts";
export type { IndexFigures } from "./index/compact-index.ts";
export type { IndexRow } from "./index/index.ts";
export { STORE_NAME } from "./layout.ts";
export { ContentMover, SMALL_BYTES } from "./content.ts";
export { LARGE_BYTES } from "./index/index.ts";
export { blake3, openHasher } from "./hash/blake3.ts";
export { NO_OBJECT, REF_BYTES, REF_WORDS, Ref } from "./ref.ts";
export { Ledger } from "./index/ledger.ts";
export { looksSound } from "./index/soundness.ts";
export { objectHints, type ObjectHint } from "./index/raw-rows.ts";
export { StoreView, ensureIndex } from "./store-view.ts";
export { readIndexedTargets, type IndexedTargets } from "./indexed-targets.ts";
export { StoreSession, shareForReading, type Look, type LookedFor, type StoreShared } from "./session.ts";
export { MetInodes } from "./met-inodes.ts";
export type { InodeKey, TargetInode } from "./inode-table.ts";
export { variantOf, type VariantRecord } from "./variant.ts";
export type { SourceState } from "./record.ts";

type Directories = {
  storeFd: number;
  objectsFd: number;
  groupsFd: number;
  stagingFd: number;
  tmpFd: number;
  logFd: number;
};

/**
 * The content store of a target, open and locked by this process. Order of a seal (docs/design.md, "Sealing a
 * batch"): content and object names are written; syncfs returns 0; only then rows go into the index, in one
 * transaction; the caller publishes afterwards.
 */
export class Store {
  readonly shared: StoreShared;
  readonly directories: Directories;
  readonly #kernel: Kernel;
  /** What became of the index that was there: it may have been missing or empty, or no index of this machine. */
  readonly indexState: "sound" | "empty" | "discarded";
  #index: Index | undefined;
  /** As the last compact left the index, before this one took anything away. */
  #weighedRows: number | undefined;
  readonly #journal: Journal;
  readonly #control: Int32Array;
  readonly #lockFd: number;
  /** Opened before the first write: the kernel reports write errors to descriptors that were open by then. */
  readonly #syncFd: number;
  /** Where the index is until the store is closed, if it is to move. */
  readonly #movesFrom: string | undefined;

  /**
   * Makes or opens TARGET/.dedupe, private to this user, and locks it until the process ends.
   * @throws StoreError when it is locked, foreign or of another format; SysError when the target fails.
   */
  static open(kernel: Kernel, targetFd: number): OpeningStore {
    const storeFd = openPrivate(kernel, targetFd);
    const lockFd = takeLock(kernel, storeFd);
    const directories: Directories = {
      storeFd,
      objectsFd: ensureDirectory(kernel, storeFd, names.objects),
      groupsFd: ensureDirectory(kernel, storeFd, names.groups),
      stagingFd: ensureDirectory(kernel, storeFd, names.staging),
      tmpFd: ensureDirectory(kernel, storeFd, names.tmp),
      logFd: ensureDirectory(kernel, storeFd, names.log),
    };
    return {
      directories,
      settle: (options) => new Store(kernel, { ...options, directories, lockFd, syncFd: storeFd }),
      abandon: () => {
        for (const fd of [...Object.values(directories), lockFd]) kernel.sys.close(fd);
      },
    };
  }

  private constructor(kernel: Kernel, parts: StoreParts) {
    const { directories, policy, granularityNs } = parts;
    this.#kernel = kernel;
    this.directories = directories;
    this.#lockFd = parts.lockFd;
    this.#syncFd = parts.syncFd;
    settleFormat(kernel, directories.storeFd, policy, granularityNs);
    this.#movesFrom = parts.movesIndex === true ? parts.indexDir : undefined;
    const indexPath = this.#movesFrom ?? indexPathOf(kernel, directories.storeFd, parts.indexDir);
    const opened = openIndex(kernel, indexPath);
    this.#index = opened.index;
    this.#journal = new Journal(kernel, directories.storeFd);
    const memory = sharedMemory();
    this.#control = new Int32Array(memory.control);
    const hasRows = opened.index.hasRows;
    this.indexState = opened.isDiscarded ? "discarded" : hasRows ? "sound" : "empty";
    if (hasRows) for (const word of [HAD_ROWS, HAS_ROWS]) Atomics.store(this.#control, word, 1);
    // Two links: no fan-out directory yet. btrfs always says 1, and is looked at name by name.
    const { objectsFd, groupsFd, stagingFd } = directories;
    const { nlink } = statDescriptor(kernel, objectsFd, new Stat(kernel.sys));
    if (nlink === 2) Atomics.store(this.#control, BEGAN_EMPTY, 1);
    Atomics.store(this.#control, 2, descriptorsToLend(kernel));
    this.shared = {
      ...{ objectsFd, groupsFd, stagingFd, journalFds: this.#journal.fds },
      indexPath,
      ...memory,
      met: MetInodes.allocate(),
    };
  }

  /**
   * Takes over the records that a killed run left: makes what it wrote durable, then believes those records whose
   * objects still hash to their names.
   * @returns how many were good.
   */
  async recover(): Promise<number> {
    const content = new ContentMover(this.#kernel.sys, { read: () => undefined, wrote: () => undefined });
    let good = 0;
    for (const which of [0, 1] as const) {
      const sizeBytes = this.#journal.sizeBytes(which);
      if (sizeBytes > 0) await this.sync();
      this.#journal.drain(which, sizeBytes, (records) => {
        const checked = recoverRecords(this.#kernel, this.directories.objectsFd, content, records);
        this.#commit(checked);
        if (checked.length > 0) Atomics.store(this.#control, HAD_ROWS, 1);
        good += checked.length / RECORD_BYTES;
      });
      this.#journal.empty(which);
    }
    return good;
  }

  /** Makes durable all that was written before the call, then lets the index know of it. @throws SysError (the target failed) */
  async seal(): Promise<void> {
    const full = Atomics.load(this.#control, 0) === 0 ? 0 : 1;
    const sizeBytes = this.#journal.sizeBytes(full);
    Atomics.store(this.#control, 0, 1 - full);
    await this.sync();
    this.#journal.drain(full, sizeBytes, (records) => {
      this.#commit(records);
    });
    this.#journal.empty(full);
  }

  /** On a full disk the records are lost, as in `flushRecords`. */
  #commit(records: Buffer): void {
    unlessFull(() => {
      this.#openIndex.commit(records);
      Atomics.store(this.#control, HAS_ROWS, 1);
    });
  }

  get #openIndex(): Index {
    if (this.#index === undefined) throw new Error("the index is closed");
    return this.#index;
  }

  /**
   * To be called before names of the store go. Should the run die with some of them gone, the next one must not believe
   * that each row was looked at; who lives to `compactIndex` still may. @throws Error where the disk fails
   */
  expectChanges(): void {
    // At worst rows of what is gone stay until others join them.
    unlessFull(() => {
      this.#weighedRows = this.#openIndex.forgetWeighed();
    });
  }

  /**
   * Takes rows out that speak of what is no longer in the store, and gives the file its real size. Nobody else may have
   * the index open; nothing can be sealed afterwards. `change`: what this run did to the store's names.
   * @throws SysError
   */
  async compactIndex(change: "names went" | "none"): Promise<IndexFigures> {
    const index = this.#openIndex;
    const { indexPath, ...directories } = this.shared;
    const keeper = new RowKeeper(this.#kernel, directories);
    const isKept = keeper.isKept.bind(keeper);
    const weighedRows = change === "none" ? this.#weighedRows : undefined;
    const figures = weighIndex(this.#kernel, indexPath, { index, isKept, weighedRows });
    if (!figures.isRewritten) {
      if (index.weighedRows !== figures.rows) index.rememberWeighed(figures.rows);
      return figures;
    }
    const bytesAfter = await rewriteIndex(this.#kernel, indexPath, {
      ...{ index, isKept, openNew: (path) => Index.create(path) },
      close: async () => {
        this.#index = undefined;
        await index.close();
      },
    });
    return { ...figures, bytesAfter };
  }

  /** syncfs of the target. @throws SysError */
  async sync(): Promise<void> {
    const result = await this.#kernel.sys.syncfsAsync(this.#syncFd);
    if (result < 0) throw new SysError("syncfs", -result);
  }

  async close(): Promise<void> {
    await this.#index?.close();
    if (this.#movesFrom !== undefined) moveIndex(this.#kernel, this.#movesFrom, this.directories.storeFd);
    this.#journal.close();
    for (const fd of Object.values(this.directories)) this.#kernel.sys.close(fd);
    this.#kernel.sys.close(this.#lockFd);
  }
}

export type StoreOptions = {
  policy: MergePolicy;
  granularityNs: bigint;
  indexDir: string | undefined;
  /** `indexDir` is a place for the run alone: the index goes to the target in the end, if there is room for it. */
  movesIndex?: boolean;
};
/** The policy of a target's store; undefined where there is no store, or an empty one. @throws StoreError, SysError */
export function storedPolicy(kernel: Kernel, targetFd: number): MergePolicy | undefined {
  let storeFd: number;
  try {
    storeFd = openDirectory(kernel, targetFd, STORE_NAME);
  } catch (error) {
    if (isSysError(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    return readPolicy(kernel, storeFd);
  } finally {
    kernel.sys.close(storeFd);
  }
}

/** Locked, its directories there; `settle` checks the format and opens the index once the target has been probed. */
export type OpeningStore = {
  directories: Directories;
  settle: (options: StoreOptions) => Store;
  /** Closes everything, for a target that will not do: FUSE keeps a hidden name of an open file that is removed. */
  abandon: () => void;
};
type StoreParts = StoreOptions & { directories: Directories; lockFd: number; syncFd: number };

/** Mode 0700 and no ACL inherited from the target: an object's name must not open what a snapshot's directories guard (P10). */
function openPrivate(kernel: Kernel, targetFd: number): number {
  const { sys, scratch } = kernel;
  let storeFd: number;
  try {
    storeFd = ensureDirectory(kernel, targetFd, STORE_NAME);
  } catch (cause) {
    if (!isSysError(cause, "ENOTDIR", "ELOOP", "EACCES") || cause.call === "mkdirat") throw cause;
    const what = cause.code === "EACCES" ? "belongs to another user" : "is not a directory";
    throw new StoreError("STORE_UNUSABLE", `${STORE_NAME} on the target ${what}`, {
      hint: "Run as its owner, or move it away.",
      cause,
    });
  }
  const stat = statDescriptor(kernel, storeFd, new Stat(sys));
  if (stat.uid !== sys.geteuid()) {
    sys.close(storeFd);
    throw new StoreError(
      "STORE_UNUSABLE",
      `${STORE_NAME} on the target belongs to user ${String(stat.uid)}`,
      { hint: "Run as that user." },
    );
  }
  for (const name of ["system.posix_acl_default", "system.posix_acl_access"]) {
    sys.fremovexattr(storeFd, scratch.text(name));
  }
  check(sys.fchmod(storeFd, 0o700), "fchmod", STORE_NAME);
  return storeFd;
}

/** The lock of a run that writes, until the descriptor is closed. @throws StoreError, SysError */
export function takeLock({ sys, scratch }: Kernel, storeFd: number): number {
  const flags = O_RDWR | O_CREAT | O_CLOEXEC | sys.O_NOFOLLOW;
  const fd = check(sys.openat(storeFd, scratch.text(names.lock), flags, 0o600), "openat", names.lock);
  const result = sys.flock(fd, LOCK_EX | LOCK_NB);
  if (result === -errno.EAGAIN) {
    sys.close(fd);
    throw new StoreError("STORE_LOCKED", "another run of dedupe is using this target", {
      hint: "Wait until it has ended; if it was killed, the kernel has freed the lock already.",
    });
  }
  check(result, "flock");
  return fd;
}

/** Writes to the index that are not worth a failure where there is no room: what frees a full disk must go on. */
function unlessFull(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!isSysError(error, "ENOSPC", "EDQUOT")) throw error;
  }
}

/** Elsewhere each store has a folder of its own. */
function indexPathOf(kernel: Kernel, storeFd: number, indexDir: string | undefined): string {
  if (indexDir === undefined) return ownIndexPath(kernel, storeFd);
  return makeDirectories(kernel, `${indexDir}/${nameStore(kernel, storeFd)}`);
}

/** Through the descriptor, so that the index is found wherever the target is mounted and however it is named. */
function ownIndexPath(kernel: Kernel, storeFd: number): string {
  kernel.sys.close(ensureDirectory(kernel, storeFd, names.index));
  return `/proc/self/fd/${String(storeFd)}/${names.index}`;
}

import { LOCK_NB, LOCK_SH, O_CLOEXEC, O_CREAT, O_RDONLY, O_WRONLY } from "../src/sys/constants.ts";
import { check, errno, isSysError } from "../src/sys/errors.ts";
import { openDirectory, readFile, statDescriptor, writeAll, type Kernel } from "../src/sys/files.ts";
import { Stat } from "../src/sys/stat.ts";
import { ContentMover } from "./content.ts";
import { StoreError } from "./errors.ts";
import { checkExistingFormat, indexFolder, type MergePolicy } from "./format.ts";
import { weighIndex, type IndexFigures } from "./index/compact-index.ts";
import type { IndexRow } from "./index/index.ts";
import { linkIndex } from "./index/link.ts";
import { isReadable, openIndex } from "./index/open-index.ts";
import { STORE_NAME, journalNames, names } from "./layout.ts";
import { RECORD_BYTES } from "./record.ts";
import { recoverRecords } from "./recover.ts";
import { RowKeeper } from "./row-keeper.ts";
import { shareForReading, type StoreShared } from "./session.ts";

const COPIED_BYTES = 1 << 20;
const JOURNAL_BYTES = 8192 * RECORD_BYTES;

/** A target's store as a dry run sees it: nothing in it is changed, and no other run may change it meanwhile. */
export class StoreView {
  /** -1 where the store has none. */
  readonly objectsFd: number;
  readonly groupsFd: number;
  readonly stagingFd: number;
  readonly tmpFd: number;
  readonly logFd: number;
  readonly #kernel: Kernel;
  readonly #storeFd: number;
  readonly #lockFd: number;

  /** undefined: the target has no store. @throws StoreError when it is locked, foreign or of another format. */
  static open(kernel: Kernel, targetFd: number, policy: MergePolicy): StoreView | undefined {
    const storeFd = openExisting(kernel, targetFd);
    if (storeFd === undefined) return undefined;
    const lockFd = shareLock(kernel, storeFd);
    checkExistingFormat(kernel, storeFd, policy);
    return new StoreView(kernel, storeFd, lockFd);
  }

  private constructor(kernel: Kernel, storeFd: number, lockFd: number) {
    this.#kernel = kernel;
    this.#storeFd = storeFd;
    this.#lockFd = lockFd;
    const { sys, scratch } = kernel;
    const flags = O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW | O_CLOEXEC;
    const open = (name: string): number => Math.max(-1, sys.openat(storeFd, scratch.text(name), flags, 0));
    this.objectsFd = open(names.objects);
    this.groupsFd = open(names.groups);
    this.stagingFd = open(names.staging);
    this.tmpFd = open(names.tmp);
    this.logFd = open(names.log);
  }

  /** Of the target's times, as probed when the store was made. */
  get granularityNs(): bigint | undefined {
    const content = readFile(this.#kernel, this.#storeFd, names.format);
    if (content === undefined) return undefined;
    const { granularityNs } = JSON.parse(content.toString()) as { granularityNs?: number };
    return granularityNs === undefined ? undefined : BigInt(granularityNs);
  }

  /**
   * Copies the index into the directory, since opening LMDB in place would write its lock file, and takes over into
   * the copy what a killed run left in the journal. `writer` writes there.
   */
  async copyIndex(writer: Kernel, directory: string, indexDir: string | undefined): Promise<void> {
    const dirFd = openDirectory(writer, -100, directory);
    const from = indexFolder(this.#kernel, this.#storeFd, indexDir);
    copyFile(this.#kernel, writer, { from: `${from}/data.mdb`, dirFd, name: "data.mdb" });
    writer.sys.close(dirFd);
    if (this.objectsFd < 0) return;
    const { index } = openIndex(writer, directory);
    const content = new ContentMover(this.#kernel.sys, { read: () => undefined, wrote: () => undefined });
    for (const name of journalNames) {
      for (const records of readJournal(this.#kernel, this.#storeFd, name)) {
        index.commit(recoverRecords(this.#kernel, this.objectsFd, content, records));
      }
    }
    await index.close();
  }

  /**
   * For threads that only look, the index is read where it lies, by way of an empty directory that is not on the
   * target. What a killed run left in the journal is not known so. undefined: there is no index that can be read.
   */
  async shareIndex(
    writer: Kernel,
    temporary: { fd: number; path: string },
    indexDir: string | undefined,
  ): Promise<StoreShared | undefined> {
    const state = linkIndex(writer, { storeFd: this.#storeFd, indexDir, temporary });
    if (state !== "read" || !(await isReadable(temporary.path))) return undefined;
    const { objectsFd, groupsFd, stagingFd } = this;
    return shareForReading({ objectsFd, groupsFd, stagingFd, indexPath: temporary.path });
  }

  /** Of the index that was copied there; `keeps`: of rows that are to stay or go, whatever is there now. */
  async weighIndex(
    writer: Kernel,
    directory: string,
    keeps: (row: IndexRow) => boolean | undefined,
  ): Promise<IndexFigures> {
    const { index } = openIndex(writer, directory);
    const keeper = new RowKeeper(this.#kernel, this);
    const isKept = (row: IndexRow): boolean => keeps(row) ?? keeper.isKept(row);
    const figures = weighIndex(this.#kernel, directory, { index, isKept, weighedRows: undefined });
    await index.close();
    return figures;
  }

  close(): void {
    const { objectsFd, groupsFd, stagingFd, tmpFd, logFd } = this;
    for (const fd of [objectsFd, groupsFd, stagingFd, tmpFd, logFd, this.#lockFd, this.#storeFd])
      if (fd >= 0) this.#kernel.sys.close(fd);
  }
}

/** Makes an empty index in the directory, unless there is one that can be read. */
export async function ensureIndex(writer: Kernel, directory: string): Promise<void> {
  await openIndex(writer, directory).index.close();
}

function openExisting(kernel: Kernel, targetFd: number): number | undefined {
  let storeFd: number;
  try {
    storeFd = openDirectory(kernel, targetFd, STORE_NAME);
  } catch (cause) {
    if (isSysError(cause, "ENOENT")) return undefined;
    if (isSysError(cause, "EACCES")) throw unusable("belongs to another user", cause);
    if (isSysError(cause, "ENOTDIR", "ELOOP")) throw unusable("is not a directory", cause);
    throw cause;
  }
  const { uid } = statDescriptor(kernel, storeFd, new Stat(kernel.sys));
  if (uid === kernel.sys.geteuid()) return storeFd;
  kernel.sys.close(storeFd);
  throw unusable(`belongs to user ${String(uid)}`, undefined);
}

function unusable(what: string, cause: unknown): StoreError {
  const hint = "Run as its owner, or move it away.";
  return new StoreError("STORE_UNUSABLE", `${STORE_NAME} on the target ${what}`, { hint, cause });
}

/** A lock changes nothing on disk. Several dry runs may look at once; a run that writes excludes them all. */
function shareLock({ sys, scratch }: Kernel, storeFd: number): number {
  const fd = sys.openat(storeFd, scratch.text(names.lock), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW, 0);
  if (fd < 0) return -1;
  if (sys.flock(fd, LOCK_SH | LOCK_NB) !== -errno.EAGAIN) return fd;
  sys.close(fd);
  sys.close(storeFd);
  throw new StoreError("STORE_LOCKED", "another run of dedupe is using this target", {
    hint: "Wait until it has ended; if it was killed, the kernel has freed the lock already.",
  });
}

type FileCopy = { from: string; dirFd: number; name: string };

/** No copy where there is no such file. */
function copyFile(reader: Kernel, writer: Kernel, { from, dirFd, name }: FileCopy): void {
  const flags = O_RDONLY | O_CLOEXEC | reader.sys.O_NOFOLLOW;
  const fromFd = reader.sys.openat(-100, reader.scratch.text(from), flags, 0);
  if (fromFd < 0) return;
  const toFlags = O_WRONLY | O_CREAT | O_CLOEXEC;
  const toFd = check(writer.sys.openat(dirFd, writer.scratch.text(name), toFlags, 0o600), "openat", name);
  const memory = reader.sys.allocate(COPIED_BYTES);
  try {
    for (;;) {
      const got = check(reader.sys.read(fromFd, memory.address, COPIED_BYTES), "read", from);
      if (got === 0) return;
      writeAll(writer.sys, toFd, memory.bytes.subarray(0, got));
    }
  } finally {
    reader.sys.close(fromFd);
    writer.sys.close(toFd);
  }
}

function* readJournal({ sys, scratch }: Kernel, storeFd: number, name: string): Generator<Buffer> {
  const fd = sys.openat(storeFd, scratch.text(name), O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW, 0);
  if (fd < 0) return;
  const memory = sys.allocate(JOURNAL_BYTES);
  try {
    for (let at = 0; ;) {
      const got = check(sys.pread(fd, memory.address, JOURNAL_BYTES, at), "read", name);
      const whole = got - (got % RECORD_BYTES);
      if (whole === 0) return;
      yield Buffer.from(memory.bytes.subarray(0, whole));
      at += whole;
    }
  } finally {
    sys.close(fd);
  }
}

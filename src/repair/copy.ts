import { O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR, POSIX_FADV_DONTNEED } from "../sys/constants.ts";
import { SysError, errno } from "../sys/errors.ts";
import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { ContentMover } from "../../store/store.ts";
import { AttributeSetter } from "../tree/apply.ts";
import { XattrCalls, readAttributes, sameAttributes } from "../tree/attributes.ts";
import { TimesBuffer } from "../tree/times.ts";
import { EntryFailure, fromSource, onTarget } from "../work/errors.ts";
import { COPY_PREFIX } from "../relink/finish-interrupted.ts";
import { STATE_WORDS, STATX_WORDS } from "../relink/layout.ts";
import type { Candidate, Candidates } from "./candidates.ts";
import type { DamagedInode } from "./damaged.ts";
import { edited, type Examiner } from "./examine.ts";
import { Comparer } from "./likeness.ts";
import type { RecordedObjects } from "./recorded.ts";

/** A new inode in tmp/, with the content that the object's name says and the attributes of the damaged one. */
export type Copy = { inode: DamagedInode; name: Buffer; from: Buffer; sizeBytes: number };

export type CopierParts = {
  kernel: Kernel;
  tmpFd: number;
  examiner: Examiner;
  candidates: Candidates;
  comparesTime: boolean;
  recorded: RecordedObjects;
};

/** The share of its content that an inode must have kept where no record says what it held. */
const ALIKE = 0.9;

/** Writes what damaged inodes are to be replaced by. */
export class Copier {
  readonly #parts: CopierParts;
  readonly #content: ContentMover;
  readonly #comparer: Comparer;
  readonly #xattrs: XattrCalls;
  readonly #setter: AttributeSetter;
  readonly #stat: Stat;
  #written = 0;

  constructor(parts: CopierParts) {
    const { sys, scratch } = parts.kernel;
    this.#parts = parts;
    this.#content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
    this.#comparer = new Comparer(sys);
    this.#xattrs = new XattrCalls(sys, scratch);
    this.#setter = new AttributeSetter(sys, scratch, this.#xattrs, new TimesBuffer(sys));
    this.#stat = new Stat(sys);
  }

  /** @throws EntryFailure: nobody else has the content, or it was no rot; RunFailure */
  write(inode: DamagedInode, damagedFd: number, names: readonly Buffer[]): Copy {
    for (const candidate of this.#parts.candidates.of(inode, names)) {
      const copy = this.#from(candidate, inode, damagedFd);
      if (copy !== undefined) return copy;
    }
    throw new EntryFailure("NO_COPY", "nothing else has the content that it has lost");
  }

  /** undefined: the candidate has another content, or cannot be read. */
  #from(candidate: Candidate, inode: DamagedInode, damagedFd: number): Copy | undefined {
    const { kernel, tmpFd } = this.#parts;
    const { sys, scratch } = kernel;
    const name = Buffer.from(`${COPY_PREFIX}${String(this.#written++)}`);
    const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = onTarget(sys.openat(tmpFd, scratch.at(name), flags, 0o600), "openat");
    let isWhole = false;
    try {
      if (!this.#fill(fd, candidate, inode)) return undefined;
      this.#judge(inode, { damagedFd, soundFd: fd, sizeBytes: candidate.sizeBytes });
      if (this.#setter.toDescriptor(fd, inode.attributes, undefined) > 0)
        throw new EntryFailure("EOPNOTSUPP", "its attributes cannot be given to another inode");
      isWhole = true;
      return { inode, name, from: candidate.path, sizeBytes: candidate.sizeBytes };
    } finally {
      sys.close(fd);
      if (!isWhole) this.drop(name);
    }
  }

  #fill(fd: number, { fd: fromFd, sizeBytes }: Candidate, { ref }: DamagedInode): boolean {
    this.#parts.kernel.sys.fadvise(fromFd, 0, 0, POSIX_FADV_DONTNEED);
    try {
      const job = { fromFd, toFd: fd, sizeBytes, isSource: false };
      const digest = fromSource(() => this.#content.copy(job), "read");
      return digest?.equals(ref.subarray(0, 32)) ?? false;
    } catch (error) {
      if (error instanceof EntryFailure) return false;
      if (!(error instanceof SysError) || (error.errno !== errno.ENOSPC && error.errno !== errno.EDQUOT))
        throw error;
      throw new EntryFailure(error.code, "there is no room for the copy that is to replace it");
    }
  }

  /**
   * Rot leaves the time as it was, and most of the content. What was written by a program, or belongs to another
   * object altogether, must not give way.
   */
  #judge(
    inode: DamagedInode,
    { damagedFd, soundFd, sizeBytes }: { damagedFd: number; soundFd: number; sizeBytes: number },
  ): void {
    if (inode.sizeBytes > sizeBytes) throw edited();
    const { read, agreeing } = this.#comparer.compare(damagedFd, soundFd, inode.sizeBytes);
    const isCutShort = inode.sizeBytes < sizeBytes;
    if (isCutShort && agreeing < read) throw edited();
    if (this.#parts.comparesTime && (isCutShort || agreeing >= read * ALIKE)) return;
    if (!this.#parts.recorded.has(inode))
      throw new EntryFailure(
        "UNLIKE",
        "nothing shows that it ever held what its name says: its content is another one altogether",
      );
  }

  /**
   * Of a copy that is durable: read again from the device, it is what it should be.
   * @returns its state. @throws EntryFailure, RunFailure
   */
  readBack({ name, inode }: Copy): Uint32Array {
    const { kernel, tmpFd, examiner } = this.#parts;
    const { sys, scratch } = kernel;
    const fd = onTarget(sys.openat(tmpFd, scratch.at(name), O_CLOEXEC | sys.O_NOFOLLOW, 0), "openat");
    try {
      const stat = statDescriptor(kernel, fd, this.#stat);
      const state = new Uint32Array(STATE_WORDS);
      stat.copyWords(STATX_WORDS, state, 0);
      const isRight =
        sameAttributes(readAttributes(stat, this.#xattrs, { fd }), inode.attributes) &&
        examiner.digest(fd, stat.sizeBytes)?.equals(inode.ref.subarray(0, 32)) === true;
      if (isRight) return state;
      throw new EntryFailure("EIO", "the copy that was to replace it reads back otherwise");
    } finally {
      sys.close(fd);
    }
  }

  /** One that cannot be dropped goes with the next run. */
  drop(name: Buffer): void {
    const { sys, scratch } = this.#parts.kernel;
    sys.unlinkat(this.#parts.tmpFd, scratch.at(name), 0);
  }
}

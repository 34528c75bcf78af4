import { F_RDLCK, F_UNLCK, O_CLOEXEC, O_NONBLOCK, O_RDONLY, POSIX_FADV_DONTNEED } from "../sys/constants.ts";
import { errno, isSysError } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Compared } from "../options.ts";
import { ContentMover, variantOf, type Ref } from "../../store/store.ts";
import { XattrCalls, readAttributes, type Attributes } from "../tree/attributes.ts";
import { EntryFailure, onTarget } from "../work/errors.ts";
import { STATE_WORDS, STATX_WORDS } from "../relink/layout.ts";
import { busy } from "../relink/stable-content.ts";
import type { RecordedObjects } from "./recorded.ts";
import { namesOfContent, refOf, type DamagedInode } from "./damaged.ts";

/** What is wrong with an object. `rotten`: its inode has lost what its name says, and nobody wrote to it. */
export type Examined =
  | { type: "sound" }
  /** It is another content's. */
  | { type: "other"; digest: Buffer; variant: Buffer; inode: DamagedInode }
  | { type: "rotten"; inode: DamagedInode };

type ExaminerParts = { objectsFd: number; compared: Compared; recorded: RecordedObjects };

/** Looks again at what verify has found; nothing is taken over from there. */
export class Examiner {
  readonly #kernel: Kernel;
  readonly #parts: ExaminerParts;
  readonly #stat: Stat;
  readonly #xattrs: XattrCalls;
  readonly #content: ContentMover;

  constructor(kernel: Kernel, parts: ExaminerParts) {
    this.#kernel = kernel;
    this.#parts = parts;
    this.#stat = new Stat(kernel.sys);
    this.#xattrs = new XattrCalls(kernel.sys, kernel.scratch);
    this.#content = new ContentMover(kernel.sys, { read: () => undefined, wrote: () => undefined });
  }

  /** A descriptor of the object's inode, to be closed. @throws EntryFailure, RunFailure */
  open(ref: Ref): number {
    const { sys } = this.#kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    return onTarget(openQuietly(sys, this.#parts.objectsFd, ref.format(), flags), "openat");
  }

  /** @throws EntryFailure where a program has written to it, or is about to; RunFailure */
  examine(object: Buffer): Examined {
    const ref = refOf(this.#kernel.sys, object);
    if (ref === undefined) throw new EntryFailure("FOREIGN", "no run of dedupe gives such a name");
    const fd = this.open(ref);
    try {
      return this.#examine(fd, ref, object);
    } finally {
      this.#kernel.sys.close(fd);
    }
  }

  #examine(fd: number, ref: Ref, object: Buffer): Examined {
    const { sys } = this.#kernel;
    const stat = statDescriptor(this.#kernel, fd, this.#stat);
    if (!stat.isRegular) throw new EntryFailure("FOREIGN", "it is no regular file");
    if (sys.setLease(fd, F_RDLCK) === -errno.EAGAIN) throw busy();
    sys.setLease(fd, F_UNLCK);
    const state = new Uint32Array(STATE_WORDS);
    stat.copyWords(STATX_WORDS, state, 0);
    const { sizeBytes, nlink: links } = stat;
    const attributes = readAttributes(stat, this.#xattrs, { fd });
    const inode = { object, ref: Buffer.from(ref.bytes), state, attributes, sizeBytes, links };
    const variant = this.variantOf(attributes);
    const digest = this.digest(fd, sizeBytes);
    const hasVariant = variant.equals(ref.variant);
    if (digest?.equals(ref.digest) === true) {
      if (hasVariant) return { type: "sound" };
      throw new EntryFailure("EDITED", "its attributes were changed in place, which is no damage");
    }
    if (digest !== undefined && sizeBytes > 0) {
      const other = { type: "other", digest, variant, inode } as const;
      if (this.#isAnothers(inode, digest)) return other;
    }
    if (!hasVariant) throw edited();
    return { type: "rotten", inode };
  }

  /** From the device. undefined: the disk cannot give it. */
  digest(fd: number, sizeBytes: number): Buffer | undefined {
    this.#kernel.sys.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    try {
      const digest = this.#content.hash(fd, sizeBytes);
      return digest === undefined ? undefined : Buffer.from(digest);
    } catch (error) {
      if (isSysError(error, "EIO", "EBADMSG", "EUCLEAN")) return undefined;
      throw error;
    }
  }

  variantOf({ mode, uid, gid, mtimeNs, xattrs }: Attributes): Buffer {
    const { compared } = this.#parts;
    const variant = variantOf({
      mode: compared.mode ? mode : undefined,
      owner: compared.owner ? { uid, gid } : undefined,
      mtimeNs: compared.time ? mtimeNs : undefined,
      xattrs: compared.xattrs ? xattrs : undefined,
    });
    return Buffer.from(variant);
  }

  /** Whether the content is that of another object, which the store has, or had under this inode. */
  #isAnothers(inode: DamagedInode, digest: Buffer): boolean {
    const { objectsFd, recorded } = this.#parts;
    const { names } = namesOfContent(this.#kernel, objectsFd, digest);
    return names.length > 0 || recorded.hasContent(inode, digest);
  }
}

export function edited(): EntryFailure {
  return new EntryFailure(
    "EDITED",
    "a program wrote to it in place: its time or its size is another one, and what it was given is kept",
  );
}

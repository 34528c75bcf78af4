import { O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { openQuietly } from "../sys/files.ts";
import { procPath } from "../tree/apply.ts";
import { sameXattrs, type Attributes } from "../tree/attributes.ts";
import { readable } from "./errors.ts";
import { losesHoles } from "./holes.ts";
import type { Placer } from "./place.ts";
import type { Subject } from "./subject.ts";
import type { Thread } from "./thread.ts";

/** Finds, in a published directory, that the name is already what it must be, though the store does not know it. */
export class Takeover {
  readonly #thread: Thread;
  readonly #placer: Placer;

  constructor(thread: Thread, placer: Placer) {
    this.#thread = thread;
    this.#placer = placer;
  }

  /** A name of the same size and attributes: worth reading before anything is written. Fills `targetStat`. */
  isLikely({ frame, entry, group, state }: Subject, held: Attributes): boolean {
    // Where inodes are kept apart, the target's may be several of the source's: those are made anew.
    if (group !== undefined || !this.#placer.isPublished(frame)) return false;
    if (!this.#placer.lookAt(frame, entry.name)) return false;
    const { targetStat, xattrs } = this.#thread;
    return (
      targetStat.isRegular &&
      targetStat.sizeBytes === state.sizeBytes &&
      (targetStat.mode & 0o7777) === held.mode &&
      targetStat.uid === held.uid &&
      targetStat.gid === held.gid &&
      targetStat.mtimeNs === held.mtimeNs &&
      sameXattrs(xattrs.read({ path: procPath(frame.targetFd, entry.name) }), held.xattrs)
    );
  }

  /** Whether the name's content hashes to the digest of `thread.ref`. Fills `targetStat`. @throws SysError when the target cannot be read */
  matches(subject: Subject, held: Attributes): boolean {
    if (!this.isLikely(subject, held)) return false;
    const { sys, scratch, ref, content, targetStat } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, subject.frame.targetFd, scratch.at(subject.entry.name), flags);
    if (fd < 0) return false;
    try {
      const digest = readable(() => content.hash(fd, targetStat.sizeBytes));
      const isSame = digest?.equals(ref.digest) === true;
      return isSame && !this.#losesHoles(subject, fd);
    } finally {
      sys.close(fd);
    }
  }

  /** A copy without holes is not what the source has: it is made anew (P3). */
  #losesHoles({ frame, entry, state, allocatedBytes }: Subject, otherFd: number): boolean {
    const { sizeBytes } = state;
    if (allocatedBytes >= sizeBytes) return false;
    const { sys, scratch } = this.#thread;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = openQuietly(sys, frame.sourceFd, scratch.at(entry.name), flags);
    if (fd < 0) return false;
    const isLost = losesHoles(sys, { fd, otherFd, sizeBytes });
    sys.close(fd);
    return isLost;
  }

  /** Takes the inode into the store as `thread.ref`; then `session.found` is that inode. The name is not touched. */
  adopt(subject: Subject, held: Attributes): boolean {
    if (!this.matches(subject, held)) return false;
    const { scratch, session, ref, targetStat } = this.#thread;
    session.remember(targetStat);
    if (session.adopt(ref, subject.frame.targetFd, scratch.at(subject.entry.name)) !== 0) return false;
    session.found.links++;
    session.table.insertObject(ref, session.found);
    return true;
  }
}

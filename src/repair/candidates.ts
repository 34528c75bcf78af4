import { AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow, parentAndName } from "../tree/path.ts";
import { namesOfContent, refOf, type DamagedInode } from "./damaged.ts";
import type { Examiner } from "./examine.ts";

/** Names of a damaged inode that are looked for in the source. */
const MOST_NAMES = 16;

/** An open file that may have the content; `path` for the report. */
export type Candidate = { fd: number; sizeBytes: number; path: Buffer };

export type CandidateParts = {
  kernel: Kernel;
  rootFd: number;
  objectsFd: number;
  /** undefined where none was given; `path` as it was typed. */
  source: { fd: number; path: string } | undefined;
  /** Files in the snapshots that are no object. */
  strangers: readonly Buffer[];
  examiner: Examiner;
};

/**
 * Finds files that may have what a damaged inode has lost: other variants and siblings in the store, what lies in the
 * snapshots without being an object, and the source.
 */
export class Candidates {
  readonly #parts: CandidateParts;
  /** Of strangers that were read: their digest. */
  readonly #digests = new Map<number, Buffer | undefined>();

  constructor(parts: CandidateParts) {
    this.#parts = parts;
  }

  /** Each is closed when the next one is asked for. */
  *of(inode: DamagedInode, names: readonly Buffer[]): Generator<Candidate> {
    yield* this.#variants(inode);
    yield* this.#strangersLike(inode);
    const { source } = this.#parts;
    if (source === undefined) return;
    for (const name of names.slice(0, MOST_NAMES))
      for (const found of this.#open(source.fd, name))
        yield { ...found, path: Buffer.concat([Buffer.from(`${source.path}/`), name]) };
  }

  *#variants({ object, ref }: DamagedInode): Generator<Candidate> {
    const { kernel, rootFd, objectsFd } = this.#parts;
    const { directory, names } = namesOfContent(kernel, objectsFd, ref.subarray(0, 32));
    for (const name of names) {
      const path = Buffer.concat([Buffer.from(`.dedupe/objects/${directory}/`), name]);
      if (!path.equals(object) && refOf(kernel.sys, path) !== undefined) yield* this.#open(rootFd, path);
    }
  }

  /** Rot keeps the size; a file that was cut short was longer. */
  *#strangersLike({ ref, sizeBytes }: DamagedInode): Generator<Candidate> {
    const { strangers, rootFd } = this.#parts;
    for (let index = 0; index < strangers.length; index++) {
      for (const candidate of this.#open(rootFd, strangers[index] as Buffer)) {
        if (candidate.sizeBytes < sizeBytes) continue;
        if (!this.#digests.has(index)) {
          const { examiner } = this.#parts;
          this.#digests.set(index, examiner.digest(candidate.fd, candidate.sizeBytes));
        }
        if (this.#digests.get(index)?.equals(ref.subarray(0, 32)) === true) yield candidate;
      }
    }
  }

  *#open(rootFd: number, path: Buffer): Generator<Candidate> {
    const { kernel } = this.#parts;
    const { sys, scratch } = kernel;
    const { parent, name } = parentAndName(path);
    const dirFd = openBelow(kernel, rootFd, parent);
    if (dirFd < 0) return;
    const stat = new Stat(sys);
    const found = sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address);
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = found === 0 && stat.isRegular ? openQuietly(sys, dirFd, scratch.at(name), flags) : -1;
    sys.close(dirFd);
    if (fd < 0) return;
    try {
      if (statDescriptor(kernel, fd, stat).isRegular) yield { fd, sizeBytes: stat.sizeBytes, path };
    } finally {
      sys.close(fd);
    }
  }
}

import { AT_SYMLINK_NOFOLLOW, S_IFLNK } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { procPath } from "../tree/apply.ts";
import { readAttributes, type Attributes } from "../tree/attributes.ts";
import { onTarget } from "./errors.ts";
import type { Linker } from "./link.ts";
import type { Maker, Special } from "./make.ts";
import type { Destination, Placer } from "./place.ts";
import { unstable } from "./source-file.ts";
import { attributesByName, groupOf, heldOf, type Subject } from "./subject.ts";
import type { Thread } from "./thread.ts";

/** Deals with what has no content to share: symlinks, fifos, sockets, devices and empty files. */
export class SpecialSettler {
  readonly #thread: Thread;
  readonly #placer: Placer;
  readonly #maker: Maker;
  readonly #linker: Linker;

  constructor(thread: Thread, parts: { placer: Placer; maker: Maker; linker: Linker }) {
    this.#thread = thread;
    this.#placer = parts.placer;
    this.#maker = parts.maker;
    this.#linker = parts.linker;
  }

  /** Symlinks, fifos, sockets, devices and empty files: never merged, but the source's own groups are kept. */
  settle(subject: Subject): void {
    const { frame, entry } = subject;
    const { counters, targetStat } = this.#thread;
    const special = this.#special(subject);
    const held = heldOf(this.#thread, attributesByName(this.#thread, subject, "all")).attributes;
    if (subject.isShared) {
      this.#settleHeld(subject, special, held);
      return;
    }
    let published: Pick<Destination, "fd" | "name"> | undefined;
    if (this.#placer.isPublished(frame) && this.#placer.lookAt(frame, entry.name)) {
      // More names than the source's are a group that the source has no longer, unless it is this inode's own:
      // its other names may have been moved.
      const isIts = targetStat.nlink === 1 || this.#isOwnGroup(subject, targetStat.ino);
      if (isIts && this.#maker.isSame(frame.targetFd, entry.name, special, held)) return;
      published = isIts ? { fd: frame.targetFd, name: entry.name } : undefined;
    }
    const at = this.#maker.special(frame, entry.name, special, held);
    if (at === undefined) {
      counters.lostDevices++;
      return;
    }
    if (published !== undefined && this.#isRest(published, at, special, held)) {
      this.#maker.unmake(at);
      return;
    }
    counters.createdInodes++;
    this.#placer.finish(frame, entry.name, at, "made");
  }

  /** Whether an inode that is there is what the new one became, of which the target refused some xattrs. */
  #isRest(
    there: Pick<Destination, "fd" | "name">,
    made: Destination,
    special: Special,
    wanted: Attributes,
  ): boolean {
    if (wanted.xattrs.length === 0) return false;
    const { sys, scratch, targetStat, xattrs } = this.#thread;
    const stat = ({ fd, name }: Pick<Destination, "fd" | "name">): number =>
      sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, targetStat.address);
    onTarget(stat(made), "statx");
    const actual = readAttributes(targetStat, xattrs, { path: procPath(made.fd, made.name) });
    if (actual.xattrs.length === wanted.xattrs.length || stat(there) < 0) return false;
    return this.#maker.isSame(there.fd, there.name, special, actual);
  }

  /** Whether a target inode is what this very source inode became when it had more names. */
  #isOwnGroup({ identity, key, state }: Subject, targetIno: bigint): boolean {
    const { ref, session, openStat } = this.#thread;
    ref.setHeld(groupOf(this.#thread, identity, key, state));
    for (; session.stat(ref, openStat) === 0; ref.sibling++) if (openStat.ino === targetIno) return true;
    return false;
  }

  /** The group's inode has changed in the source: none of its siblings is right any more. */
  #discardGroup(): void {
    const { ref, session, targetStat } = this.#thread;
    for (; session.stat(ref, targetStat) === 0; ref.sibling++) session.discard(ref);
    ref.sibling = 0;
  }

  #special({ frame, entry }: Subject): Special {
    const { stat } = this.#thread;
    const linkTarget = stat.type === S_IFLNK ? this.#maker.readLink(frame.sourceFd, entry.name) : undefined;
    if (stat.type === S_IFLNK && linkTarget === undefined) throw unstable();
    return { type: stat.type, rdevMajor: stat.rdevMajor, rdevMinor: stat.rdevMinor, linkTarget };
  }

  /** The first name of a group makes its inode and leaves a holder's name in the store for the others. */
  #settleHeld(subject: Subject, special: Special, held: Attributes): void {
    const { ref, session, targetStat, scratch, counters } = this.#thread;
    const { frame, entry, key, identity, state } = subject;
    ref.setHeld(groupOf(this.#thread, identity, key, state));
    const result = session.stat(ref, targetStat);
    if (result === 0 && this.#maker.isSame(session.directoryOf(ref), Buffer.from(ref.text), special, held)) {
      this.#linkHeld(subject);
      return;
    }
    if (result !== -errno.ENOENT) onTarget(result, "statx");
    const at = this.#maker.special(frame, entry.name, special, held);
    if (at === undefined) {
      counters.lostDevices++;
      return;
    }
    const holder = { fd: session.directoryOf(ref), name: Buffer.from(ref.text) };
    if (result === 0 && this.#isRest(holder, at, special, held)) {
      this.#maker.unmake(at);
      this.#linkHeld(subject);
      return;
    }
    if (result === 0) this.#discardGroup();
    counters.createdInodes++;
    onTarget(
      this.#thread.sys.statx(at.fd, scratch.at(at.name), AT_SYMLINK_NOFOLLOW, targetStat.address),
      "statx",
    );
    session.remember(targetStat);
    const adopted = session.adopt(ref, at.fd, scratch.at(at.name));
    if (adopted === -errno.EEXIST) {
      // Another worker met the group at the same moment: its inode is the group's.
      this.#maker.unmake(at);
      this.#linkHeld(subject);
      return;
    }
    onTarget(adopted, "linkat");
    session.found.links++;
    session.table.insert(key, ref, session.found);
    this.#placer.finish(frame, entry.name, at, "made");
  }

  /** Links to the group's inode in the store. */
  #linkHeld({ frame, entry, key }: Subject): void {
    const { ref, session, targetStat } = this.#thread;
    onTarget(session.stat(ref, targetStat), "statx");
    session.remember(targetStat);
    session.table.insert(key, ref, session.found);
    this.#linker.link(frame, entry, key);
  }
}

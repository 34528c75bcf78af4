import type { Compared } from "../options.ts";
import { F_RDLCK, O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR, AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly, statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { ContentMover, Ref, StoreSession, variantOf, type Store } from "../../store/store.ts";
import { AttributeSetter } from "../tree/apply.ts";
import { XattrCalls, readAttributes, sameAttributes, type Attributes } from "../tree/attributes.ts";
import { TimesBuffer } from "../tree/times.ts";
import { EntryFailure, onTarget } from "../work/errors.ts";
import { RESTORED_NAME } from "./finish-interrupted.ts";
import {
  GID,
  INODE_WORDS,
  MODE,
  MTIME,
  SIZE_HIGH,
  STATX_WORDS,
  UID,
  XATTR_VARIANT,
  inoAt,
  numberAt,
  timeAt,
} from "./layout.ts";
import { linkRoom } from "./link-room.ts";
import { sourceStateOf } from "./read-content.ts";
import { busy, changed } from "./stable-content.ts";
import type { Discarded } from "./undo-log.ts";
import type { Restorable, RestoreGroup } from "./undo-plan.ts";
import { variantRecordOf } from "./variant.ts";

/** The inode that names share now: an open descriptor, its words as in the stock, what it has. */
export type Shared = {
  fd: number;
  record: Uint32Array;
  sizeBytes: number;
  nlink: number;
  attributes: Attributes;
};

export type RestorerParts = {
  kernel: Kernel;
  compared: Compared;
  linkLimit: number;
  objectsFd: number;
  store: Store | undefined;
};

/** Finds out how names get their attributes back, and makes the inodes that it takes. */
export class Restorer {
  readonly #parts: RestorerParts;
  readonly #stat: Stat;
  readonly #ref: Ref;
  readonly #content: ContentMover;
  readonly #xattrs: XattrCalls;
  readonly #setter: AttributeSetter;
  readonly #session: StoreSession | undefined;
  /** Of the inode at hand: siblings that were there before, and the next number that is free. */
  #siblings = { ino: -1n, before: 0, next: 0 };

  constructor(parts: RestorerParts) {
    const { kernel, store } = parts;
    const { sys, scratch } = kernel;
    this.#parts = parts;
    this.#stat = new Stat(sys);
    this.#ref = new Ref(sys);
    this.#content = new ContentMover(sys, { read: () => undefined, wrote: () => undefined });
    this.#xattrs = new XattrCalls(sys, scratch);
    this.#setter = new AttributeSetter(sys, scratch, this.#xattrs, new TimesBuffer(sys));
    this.#session =
      store === undefined
        ? undefined
        : new StoreSession(kernel, store.shared, { content: this.#content, xattrs: this.#xattrs });
  }

  statOf(fd: number, stat: Stat): Stat {
    return statDescriptor(this.#parts.kernel, fd, stat);
  }

  /** Takes the descriptor over. @throws EntryFailure where it is not what the log says: someone changed it since */
  look(fd: number, { newest: { target, victim }, wanted }: Restorable): Shared {
    const stat = this.statOf(fd, this.#stat);
    const record = new Uint32Array(INODE_WORDS);
    stat.copyWords(STATX_WORDS, record, 0);
    // A run that died while it set attributes has set some of them: of a name that was replaced several times, those
    // that it had at first, which are not those of the inode that gave way last.
    const isEither = (words: number[]): boolean =>
      [target, victim, wanted.victim].some((state) => words.every((word) => record[word] === state[word]));
    const isKnown =
      inoAt(record) === inoAt(target) &&
      numberAt(record, SIZE_HIGH) === numberAt(target, SIZE_HIGH) &&
      isEither([MTIME, MTIME + 1, MTIME + 2]) &&
      isEither([MODE]) &&
      isEither([UID, GID]);
    if (!isKnown) {
      this.#parts.kernel.sys.close(fd);
      throw changed();
    }
    const attributes = readAttributes(stat, this.#xattrs, { fd });
    return { fd, record, sizeBytes: stat.sizeBytes, nlink: stat.nlink, attributes };
  }

  wayOf(shared: Shared, group: RestoreGroup): "nothing" | "in-place" | "sibling" {
    if (sameAttributes(shared.attributes, wantedOf(shared, group))) return "nothing";
    if (!group.isFirst || !group.isWhole) return "sibling";
    const { newest } = group.names[0] as Restorable;
    const isObject = this.#isObject(newest, shared);
    return isObject && shared.nlink === group.names.length + 1 ? "in-place" : "sibling";
  }

  #isObject({ ref }: Discarded, { record }: Shared): boolean {
    const { kernel, objectsFd } = this.#parts;
    if (objectsFd < 0) return false;
    const address = this.#ref.setBytes(ref).format();
    const found = kernel.sys.statx(objectsFd, address, AT_SYMLINK_NOFOLLOW, this.#stat.address) === 0;
    return found && this.#stat.ino === inoAt(record);
  }

  /** All names of the inode are to have the same. @throws EntryFailure, SysError */
  changeInPlace(shared: Shared, group: RestoreGroup): void {
    if (this.#parts.kernel.sys.setLease(shared.fd, F_RDLCK) === -errno.EAGAIN) throw busy();
    this.#dress(shared.fd, wantedOf(shared, group));
  }

  #dress(fd: number, wanted: Attributes): void {
    this.#setter.removeOtherXattrs({ fd }, wanted);
    const refused = this.#setter.toDescriptor(fd, wanted, undefined);
    const actual = readAttributes(this.statOf(fd, this.#stat), this.#xattrs, { fd });
    if (refused > 0 || !sameAttributes(actual, wanted))
      throw new EntryFailure("EATTRIBUTES", "this filesystem does not take the attributes that the file had");
  }

  /**
   * An inode in the store with the content and the wanted attributes; one that a killed run made serves as well.
   * Nothing leads to it yet. @throws EntryFailure, RunFailure, SysError
   */
  makeSibling(store: Store, shared: Shared, group: RestoreGroup): { ref: Uint32Array; inode: Uint32Array } {
    const wanted = wantedOf(shared, group);
    const { newest } = group.names[0] as Restorable;
    this.#ref.setBytes(newest.ref);
    const inode = this.#findSibling(shared, wanted, group) ?? this.#copy(store, shared, wanted);
    if (wanted.xattrs.length > 0 && this.#parts.compared.xattrs) {
      const variant = variantOf(variantRecordOf(inode, this.#parts.compared, wanted.xattrs));
      inode[XATTR_VARIANT] = variant.readUInt32LE(0);
      inode[XATTR_VARIANT + 1] = variant.readUInt32LE(4);
    }
    return { ref: this.#ref.words.slice(), inode };
  }

  /** Leaves the reference at the sibling found, else at the first number that is free. */
  #findSibling(shared: Shared, wanted: Attributes, { names }: RestoreGroup): Uint32Array | undefined {
    const ino = inoAt(shared.record);
    const isNext = this.#siblings.ino === ino;
    const { before } = this.#siblings;
    for (this.#ref.sibling = 0; !isNext || this.#ref.sibling < before; this.#ref.sibling++) {
      const found = this.#usable(wanted, shared, names.length);
      if (found === "free") {
        this.#siblings = { ino, before: this.#ref.sibling, next: this.#ref.sibling };
        break;
      }
      if (found !== undefined) return found;
    }
    this.#ref.sibling = this.#siblings.next;
    return undefined;
  }

  #usable(wanted: Attributes, shared: Shared, names: number): Uint32Array | "free" | undefined {
    const { kernel, linkLimit, objectsFd } = this.#parts;
    const { sys } = kernel;
    const stat = this.#stat;
    const result = sys.statx(objectsFd, this.#ref.format(), AT_SYMLINK_NOFOLLOW, stat.address);
    if (result === -errno.ENOENT) return "free";
    onTarget(result, "statx");
    const hasRoom = linkLimit === 0 || stat.nlink + names <= linkRoom(linkLimit, names);
    if (!hasRoom || stat.ino === inoAt(shared.record) || stat.mtimeNs !== wanted.mtimeNs) return undefined;
    const fd = openQuietly(sys, objectsFd, this.#ref.format(), O_CLOEXEC | sys.O_NOFOLLOW);
    if (fd < 0) return undefined;
    try {
      const actual = readAttributes(this.statOf(fd, stat), this.#xattrs, { fd });
      if (!sameAttributes(actual, wanted) || stat.sizeBytes !== shared.sizeBytes) return undefined;
      const isSound = this.#content.hash(fd, stat.sizeBytes)?.equals(this.#ref.digest) ?? false;
      return isSound ? this.#recordOf(this.statOf(fd, stat)) : undefined;
    } finally {
      sys.close(fd);
    }
  }

  #recordOf(stat: Stat): Uint32Array {
    const record = new Uint32Array(INODE_WORDS);
    stat.copyWords(STATX_WORDS, record, 0);
    return record;
  }

  #copy(store: Store, { fd, sizeBytes }: Shared, wanted: Attributes): Uint32Array {
    const { sys, scratch } = this.#parts.kernel;
    const { tmpFd } = store.directories;
    const remove = (): number => sys.unlinkat(tmpFd, scratch.at(RESTORED_NAME), 0);
    remove();
    const flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | sys.O_NOFOLLOW;
    const made = onTarget(sys.openat(tmpFd, scratch.at(RESTORED_NAME), flags, 0o600), "openat");
    try {
      const digest = this.#content.copy({ fromFd: fd, toFd: made, sizeBytes, isSource: false });
      if (digest === undefined || !digest.equals(this.#ref.digest)) throw changed();
      this.#dress(made, wanted);
      const inode = this.#recordOf(this.statOf(made, this.#stat));
      onTarget((this.#session as StoreSession).adopt(this.#ref, tmpFd, scratch.at(RESTORED_NAME)), "linkat");
      this.#siblings.next++;
      const identity = Buffer.alloc(16);
      const source = sourceStateOf(inode);
      (this.#session as StoreSession).record({ identity, source, target: source, ref: this.#ref.bytes });
      return inode;
    } finally {
      sys.close(made);
      remove();
    }
  }

  /** Before a batch is sealed. */
  flushRecords(): void {
    this.#session?.flushRecords();
  }

  async close(): Promise<void> {
    await this.#session?.close();
  }
}

/** What the group's names had; of xattrs that were compared, what all have. */
function wantedOf({ attributes }: Shared, { names }: RestoreGroup): Attributes {
  const { victim, xattrs } = (names[0] as Restorable).wanted;
  return {
    mode: (victim[MODE] as number) & 0o7777,
    uid: victim[UID] as number,
    gid: victim[GID] as number,
    mtimeNs: timeAt(victim, MTIME),
    xattrs: xattrs ?? attributes.xattrs,
  };
}

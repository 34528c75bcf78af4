import { createHash } from "node:crypto";
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_NONBLOCK, O_RDONLY } from "../sys/constants.ts";
import { S_IFLNK, S_IFMT, S_IFREG } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import { openQuietly, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Memory } from "../sys/sys.ts";
import type { ContentReader } from "./content-reader.ts";
import { bytesOf } from "./listing.ts";
import { XattrReader, type XattrPair } from "./xattr-reader.ts";

/** All that an inode is, but for its content. */
export type Facts = {
  /** S_IFMT's part of the mode. */
  type: number;
  mode: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  sizeBytes: number;
  rdevMajor: number;
  rdevMinor: number;
  xattrs: readonly XattrPair[];
  /** Of a symlink, as latin1. */
  linkTarget: string;
  device: number;
  inoLow: number;
  inoHigh: number;
  links: number;
};

/** An inode in hand. `fd` is -1 where it cannot be opened (symlinks, specials). */
export type Opened = { fd: number; facts: Facts };

/** The inode was not the same before and after it was read. */
export class Changed extends Error {}

const LINK_TARGET_BYTES = 65_536;
export const noContent = Buffer.alloc(32);

/** Reads inodes by their names; one per thread. */
export class InodeReader {
  readonly #kernel: Kernel;
  readonly #stat: Stat;
  readonly #xattrs: XattrReader;
  readonly #content: ContentReader;
  readonly #link: Memory;

  constructor(kernel: Kernel, content: ContentReader) {
    this.#kernel = kernel;
    this.#stat = new Stat(kernel.sys);
    this.#xattrs = new XattrReader(kernel);
    this.#content = content;
    this.#link = kernel.sys.allocate(LINK_TARGET_BYTES);
  }

  /** Type, device and number of what has the name, into `stat`. @throws SysError */
  look(dirFd: number, name: string): Stat {
    const { sys, scratch } = this.#kernel;
    const at = scratch.at(bytesOf(name));
    check(sys.statx(dirFd, at, AT_SYMLINK_NOFOLLOW, this.#stat.address), "statx");
    return this.#stat;
  }

  /** Opens a regular file, looks at anything else. The caller closes. @throws SysError, Changed */
  open(dirFd: number, name: string): Opened {
    const stat = this.look(dirFd, name);
    if (stat.type !== S_IFREG) {
      const facts = this.#facts(stat, []);
      facts.xattrs = this.#xattrs.ofName(dirFd, name);
      if (facts.type === S_IFLNK) facts.linkTarget = this.#readLink(dirFd, name);
      return { fd: -1, facts };
    }
    const { sys, scratch } = this.#kernel;
    const flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | sys.O_NOFOLLOW;
    const fd = check(openQuietly(sys, dirFd, scratch.at(bytesOf(name)), flags), "openat");
    try {
      return { fd, facts: this.ofDescriptor(fd) };
    } catch (error) {
      sys.close(fd);
      throw error;
    }
  }

  /** Of an open file or directory. @throws SysError */
  ofDescriptor(fd: number): Facts {
    const { sys, scratch } = this.#kernel;
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
    return this.#facts(this.#stat, this.#xattrs.ofDescriptor(fd));
  }

  close({ fd }: Opened): void {
    if (fd >= 0) this.#kernel.sys.close(fd);
  }

  /**
   * What stands for the content: a file's digest, a hash of a symlink's target, zeros. "device": what the page cache
   * has of it is dropped first, or a copy in memory would vouch for the disk. @throws SysError, Changed
   */
  content({ fd, facts }: Opened, from: "device" | "anywhere"): Buffer {
    if (facts.type === S_IFLNK) return createHash("sha256").update(facts.linkTarget, "latin1").digest();
    if (facts.type !== S_IFREG || facts.sizeBytes === 0) return noContent;
    if (from === "device") this.#content.forget(fd);
    const digest = this.#content.digest(fd, facts.sizeBytes);
    const { sys, scratch } = this.#kernel;
    check(sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, this.#stat.address), "statx");
    const isSame = this.#stat.sizeBytes === facts.sizeBytes && this.#stat.mtimeNs === facts.mtimeNs;
    if (digest === undefined || !isSame) throw new Changed("changed while it was read");
    return digest;
  }

  #readLink(dirFd: number, name: string): string {
    const { sys, scratch } = this.#kernel;
    const at = scratch.at(bytesOf(name));
    const length = check(sys.readlinkat(dirFd, at, this.#link.address, LINK_TARGET_BYTES), "readlinkat");
    return this.#link.bytes.toString("latin1", 0, length);
  }

  #facts(stat: Stat, xattrs: readonly XattrPair[]): Facts {
    return {
      type: stat.type,
      mode: stat.mode & ~S_IFMT,
      uid: stat.uid,
      gid: stat.gid,
      mtimeNs: stat.mtimeNs,
      sizeBytes: stat.sizeBytes,
      rdevMajor: stat.rdevMajor,
      rdevMinor: stat.rdevMinor,
      xattrs,
      linkTarget: "",
      device: stat.device,
      inoLow: stat.inoLow,
      inoHigh: stat.inoHigh,
      links: stat.nlink,
    };
  }
}

import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  DT_DIR,
  DT_UNKNOWN,
  O_CLOEXEC,
  O_NONBLOCK,
} from "../sys/constants.ts";
import { check, errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import type { Address, Memory } from "../sys/sys.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import { filesystemMagic, trustsDirentIno } from "../tree/traits.ts";
import { pathOf, type Located } from "../work/frame.ts";
import type { WalkTask } from "./messages.ts";
import type { StatsThread } from "./thread.ts";

/** A directory younger than the run's start less this may have changed since its inodes were looked at. */
const YOUNG_SECONDS = 2;
const objectFolders: readonly string[] = ["objects", "groups"];

/** A directory that a thread is in. */
export type Frame = Located & {
  fd: number;
  device: number;
  /** Its d_ino may be believed: see docs/design.md, "The way of a name". */
  isTrusted: boolean;
  isListed: boolean;
  subdirectories: Buffer[];
};

/** What is done with what a walk meets. */
export type Visitor = {
  /** The target itself has no name there. */
  directory(stat: Stat, hasName: boolean): void;
  /** A name by its number alone. @returns false where its inode must be looked at */
  number(frame: Frame, listing: Listing): boolean;
  /** The inode of a name that was looked at. */
  inode(frame: Frame, name: Buffer, stat: Stat): void;
};

/** A name in the listing's buffer. */
type Seen = { address: Address; name: Buffer; inoLow: number; inoHigh: number };

/** Walks subtrees depth-first, across mount points as du does, and shows a visitor each name that is no directory. */
export class StatsWalker {
  readonly #thread: StatsThread;
  readonly #listing: Listing;
  readonly #stat: Stat;
  readonly #memory: Memory;
  readonly #trusted = new Map<number, boolean>();

  constructor(thread: StatsThread) {
    this.#thread = thread;
    this.#listing = new Listing(thread.sys);
    this.#stat = new Stat(thread.sys);
    this.#memory = thread.sys.allocate(256);
  }

  /** @throws RunFailure, Stopped */
  run(task: WalkTask, visitor: Visitor): void {
    const stack: Frame[] = [];
    try {
      this.#thread.attempt(
        () => task.path,
        () => {
          stack.push(this.#firstFrame(task, visitor));
        },
      );
      while (stack.length > 0) this.#step(stack, task, visitor);
    } finally {
      for (const { fd } of stack) this.#thread.sys.close(fd);
    }
  }

  #firstFrame({ path, subdirectories }: WalkTask, visitor: Visitor): Frame {
    const fd = check(openBelow(this.#thread, this.#thread.setup.rootFd, path), "openat");
    const place = { parent: undefined, name: path };
    if (subdirectories === undefined) return this.#enter(place, fd, visitor);
    return { ...place, fd, device: 0, isTrusted: false, isListed: true, subdirectories };
  }

  /** Closes the descriptor where the directory cannot be looked at. @throws SysError */
  #enter({ parent, name }: Located, fd: number, visitor: Visitor): Frame {
    const { sys, scratch, setup } = this.#thread;
    const stat = this.#stat;
    const statted = sys.statx(fd, scratch.text(""), AT_EMPTY_PATH, stat.address);
    if (statted < 0) sys.close(fd);
    check(statted, "statx");
    visitor.directory(stat, name.length > 0);
    const isOld = Math.max(stat.mtimeSeconds, stat.ctimeSeconds) < setup.rules.startSeconds - YOUNG_SECONDS;
    const { device } = stat;
    const isTrusted = isOld && !setup.rules.hasFileMounts && this.#trusts(fd, device);
    const frame = { parent, name, fd, device, isTrusted, isListed: false, subdirectories: [] };
    this.#thread.looked(() => pathOf(frame));
    return frame;
  }

  #trusts(fd: number, device: number): boolean {
    let trusts = this.#trusted.get(device);
    if (trusts === undefined) {
      trusts = trustsDirentIno(filesystemMagic(this.#thread.sys, fd, this.#memory));
      this.#trusted.set(device, trusts);
    }
    return trusts;
  }

  #step(stack: Frame[], task: WalkTask, visitor: Visitor): void {
    const frame = stack.at(-1) as Frame;
    if (!frame.isListed) {
      this.#thread.checkStop();
      frame.isListed = true;
      this.#thread.attempt(
        () => pathOf(frame),
        () => {
          this.#list(frame, visitor);
        },
      );
      if (frame.parent === undefined) frame.subdirectories = this.#chosen(task, frame.subdirectories);
      this.#thread.flush();
    }
    this.#giveAway(stack, task);
    const name = frame.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(frame, name, visitor);
    if (frame.subdirectories.length === 0) {
      stack.pop();
      this.#thread.sys.close(frame.fd);
    }
    if (child !== undefined) stack.push(child);
  }

  #chosen({ extent }: WalkTask, subdirectories: Buffer[]): Buffer[] {
    switch (extent) {
      case "whole":
        return subdirectories;
      case "loose":
        return [];
      case "rest":
        return subdirectories.filter((name) => !objectFolders.includes(name.toString("latin1")));
    }
  }

  /** An idle thread gets half of what is left at the shallowest level that has anything left. */
  #giveAway(stack: Frame[], task: WalkTask): void {
    const frame = stack.find(({ subdirectories }) => subdirectories.length > 1);
    if (frame === undefined || !this.#thread.control.takeWish()) return;
    const subdirectories = frame.subdirectories.splice(0, frame.subdirectories.length >> 1);
    this.#thread.send({
      type: "given",
      task: { ...task, path: pathOf(frame), extent: "whole", subdirectories },
    });
  }

  #descend(parent: Frame, name: Buffer, visitor: Visitor): Frame | undefined {
    const { sys, scratch } = this.#thread;
    let child: Frame | undefined;
    this.#thread.attempt(
      () => pathOf(parent, name),
      () => {
        const flags = sys.O_DIRECTORY | sys.O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
        const fd = openQuietly(sys, parent.fd, scratch.at(name), flags);
        // It went, or became something else, since its parent was read.
        if (fd === -errno.ENOENT || fd === -errno.ENOTDIR) return;
        child = this.#enter({ parent, name }, check(fd, "openat"), visitor);
      },
    );
    return child;
  }

  /** In inode order within what one call returns: on spinning disks that is the order in which inodes lie. */
  #list(frame: Frame, visitor: Visitor): void {
    const listing = this.#listing;
    while (check(listing.readIfThere(frame.fd), "getdents64") > 0) {
      const unknown: Seen[] = [];
      while (listing.next()) {
        if (listing.type === DT_DIR) frame.subdirectories.push(listing.copyName());
        else if (!frame.isTrusted || listing.type === DT_UNKNOWN || !visitor.number(frame, listing))
          unknown.push({
            address: listing.nameAddress,
            name: listing.copyName(),
            inoLow: listing.inoLow,
            inoHigh: listing.inoHigh,
          });
      }
      unknown.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
      for (const entry of unknown) this.#look(frame, entry, visitor);
    }
  }

  #look(frame: Frame, { address, name }: Seen, visitor: Visitor): void {
    const stat = this.#stat;
    this.#thread.attempt(
      () => pathOf(frame, name),
      () => {
        const statted = this.#thread.sys.statx(frame.fd, address, AT_SYMLINK_NOFOLLOW, stat.address);
        if (statted === -errno.ENOENT) return;
        check(statted, "statx");
        if (stat.isDirectory) frame.subdirectories.push(name);
        else visitor.inode(frame, name, stat);
      },
    );
  }
}

import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  DT_DIR,
  DT_REG,
  DT_UNKNOWN,
  O_CLOEXEC,
  O_RDONLY,
} from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { openQuietly } from "../sys/files.ts";
import type { Address } from "../sys/sys.ts";
import { STORE_NAME } from "../../store/store.ts";
import { filterFrom, type Filter } from "../tree/filter.ts";
import { Listing } from "../tree/listing.ts";
import { openBelow } from "../tree/path.ts";
import { onSource } from "../work/errors.ts";
import { pathOf, type Located } from "../work/frame.ts";
import { Choice } from "./choice.ts";
import { DirectoryWriter } from "./directories.ts";
import { HeapWriter } from "./heap.ts";
import {
  INO_HIGH,
  INO_LOW,
  NAME_DIRECTORY,
  NAME_LENGTH,
  NAME_UNIT,
  NAME_WORDS,
  STATX_WORDS,
} from "./layout.ts";
import type { WalkTask } from "./messages.ts";
import type { RelinkThread } from "./relink-thread.ts";
import { RunSorter, type Run } from "./sorter.ts";

/** A directory that a thread is in. */
type Frame = Located & {
  parent: Frame | undefined;
  fd: number;
  /** Its number in the stock; -1 until something in it is taken down. */
  id: number;
  inoHigh: number;
  inoLow: number;
  isLoose: boolean;
  isListed: boolean;
  subdirectories: Buffer[];
};

/** A name in the listing's buffer. */
type Seen = { address: Address; name: Buffer; inoLow: number; inoHigh: number };

const STORE_BYTES = Buffer.from(STORE_NAME);
const LOST_AND_FOUND = Buffer.from("lost+found");

/** Pass 1: walks subtrees depth-first, and writes down each name of a regular file with the state of its inode. */
export class StockTaker {
  readonly #thread: RelinkThread;
  readonly #listing: Listing;
  readonly #heap: HeapWriter;
  readonly #directories: DirectoryWriter;
  readonly #names: RunSorter;
  readonly #filter: Filter | undefined;
  readonly #mountPoints: ReadonlySet<string>;
  readonly #choice: Choice | undefined;
  #unit = 0;

  constructor(thread: RelinkThread) {
    const { sys, files, worker, rules } = thread;
    this.#thread = thread;
    this.#listing = new Listing(sys);
    this.#heap = new HeapWriter(sys, files.heapFds[worker] as number, worker);
    this.#directories = new DirectoryWriter(thread, files.directoriesFd);
    const layout = { words: NAME_WORDS, key: [INO_HIGH, INO_LOW] };
    this.#names = new RunSorter(sys, files.sortFds[worker] as number, layout);
    const isFiltered = thread.choice?.isFiltered ?? true;
    this.#filter = rules.filter === undefined || !isFiltered ? undefined : filterFrom(rules.filter);
    this.#mountPoints = new Set(rules.mountPoints);
    this.#choice = thread.choice === undefined ? undefined : new Choice(thread.choice);
  }

  /** What this thread met, sorted by inode. */
  finish(): Run[] {
    this.#heap.flush();
    return this.#names.finish();
  }

  /** @throws RunFailure, Stopped */
  run(task: WalkTask): void {
    this.#unit = task.unit;
    const stack: Frame[] = [];
    try {
      this.#thread.attempt(
        () => task.path,
        () => {
          const first = this.#firstFrame(task);
          if (first !== undefined) stack.push(first);
        },
      );
      while (stack.length > 0) this.#step(stack);
    } finally {
      for (const { fd } of stack) this.#thread.sys.close(fd);
    }
  }

  #firstFrame({ path, directory, isLoose, subdirectories }: WalkTask): Frame | undefined {
    const opened = openBelow(this.#thread, this.#thread.rootFd, path);
    if (opened === -errno.ENOENT) return undefined;
    const fd = onSource(opened, "openat");
    const place = { parent: undefined, name: path };
    if (subdirectories === undefined) return this.#enter({ ...place, fd, isLoose });
    const numbers = { id: directory, inoHigh: 0, inoLow: 0 };
    return { ...place, ...numbers, fd, isLoose, isListed: true, subdirectories };
  }

  /** Undefined where the directory is another filesystem's. The descriptor is closed then. */
  #enter(opened: Pick<Frame, "parent" | "name" | "fd" | "isLoose">): Frame | undefined {
    const { sys, scratch, stat, rules, tally } = this.#thread;
    onSource(sys.statx(opened.fd, scratch.text(""), AT_EMPTY_PATH, stat.address), "statx");
    const isMounted = this.#mountPoints.size > 0 && this.#mountPoints.has(pathOf(opened).toString("latin1"));
    if (stat.device !== rules.device || isMounted) {
      if (!rules.oneFileSystem) tally.foreignDirectories++;
      sys.close(opened.fd);
      return undefined;
    }
    const { inoHigh, inoLow } = stat;
    return { ...opened, id: -1, inoHigh, inoLow, isListed: false, subdirectories: [] };
  }

  /** The directory's number; it and those above it are taken down with the first name in it. */
  #idOf(frame: Frame): number {
    if (frame.id >= 0) return frame.id;
    const parent = frame.parent === undefined ? -1 : this.#idOf(frame.parent);
    frame.id = this.#thread.control.nextSerial();
    this.#directories.put(frame.id, { ...frame, parent }, this.#heap);
    return frame.id;
  }

  #step(stack: Frame[]): void {
    const frame = stack.at(-1) as Frame;
    if (!frame.isListed) {
      this.#thread.checkStop();
      frame.isListed = true;
      this.#thread.attempt(
        () => pathOf(frame),
        () => {
          this.#list(frame);
        },
      );
      this.#thread.flush();
    }
    this.#giveAway(stack);
    const name = frame.subdirectories.pop();
    const child = name === undefined ? undefined : this.#descend(frame, name);
    if (frame.subdirectories.length === 0) {
      stack.pop();
      this.#thread.sys.close(frame.fd);
    }
    if (child !== undefined) stack.push(child);
  }

  /** An idle thread gets half of what is left at the shallowest level that has anything left. */
  #giveAway(stack: Frame[]): void {
    const frame = stack.find(({ subdirectories }) => subdirectories.length > 1);
    if (frame === undefined || !this.#thread.control.takeWish()) return;
    const subdirectories = frame.subdirectories.splice(0, frame.subdirectories.length >> 1);
    const task = {
      type: "walk",
      unit: this.#unit,
      path: pathOf(frame),
      directory: this.#idOf(frame),
    } as const;
    this.#thread.give({ type: "given", task: { ...task, isLoose: false, subdirectories } });
  }

  #descend(frame: Frame, name: Buffer): Frame | undefined {
    let child: Frame | undefined;
    this.#thread.attempt(
      () => pathOf(frame, name),
      () => {
        const fd = this.#open(frame, name);
        if (fd !== undefined) child = this.#enter({ parent: frame, name, fd, isLoose: false });
      },
    );
    return child;
  }

  /** undefined: it went away since its parent was listed, as snapshots do. */
  #open(frame: Frame, name: Buffer): number | undefined {
    const { sys, scratch } = this.#thread;
    const flags = O_RDONLY | O_CLOEXEC | sys.O_NOFOLLOW | sys.O_DIRECTORY;
    const fd = openQuietly(sys, frame.fd, scratch.at(name), flags);
    return fd === -errno.ENOENT ? undefined : onSource(fd, "openat");
  }

  /** In inode order within what one call returns: on spinning disks that is the order in which inodes lie. */
  #list(frame: Frame): void {
    const listing = this.#listing;
    while (onSource(listing.readIfThere(frame.fd), "getdents64") > 0) {
      const seen: Seen[] = [];
      while (listing.next()) this.#readEntry(frame, seen);
      seen.sort((a, b) => a.inoHigh - b.inoHigh || a.inoLow - b.inoLow);
      for (const entry of seen) this.#takeDown(frame, entry);
    }
  }

  #readEntry(frame: Frame, seen: Seen[]): void {
    const listing = this.#listing;
    const { tally } = this.#thread;
    if (this.#choice?.passes(listing) === true) {
      tally.names++;
      return;
    }
    const name = listing.copyName();
    const type = listing.type === DT_UNKNOWN ? this.#typeOf(frame, listing.nameAddress) : listing.type;
    if (!this.#isTaken(frame, name, type)) return;
    if (type === DT_DIR) {
      if (frame.isLoose) return;
      tally.names++;
      tally.directories++;
      frame.subdirectories.push(name);
      return;
    }
    tally.names++;
    if (type !== DT_REG) return;
    seen.push({ address: listing.nameAddress, name, inoLow: listing.inoLow, inoHigh: listing.inoHigh });
  }

  #typeOf(frame: Frame, name: Address): number {
    const { sys, stat } = this.#thread;
    if (sys.statx(frame.fd, name, AT_SYMLINK_NOFOLLOW, stat.address) < 0) return DT_UNKNOWN;
    return stat.isDirectory ? DT_DIR : stat.isRegular ? DT_REG : DT_UNKNOWN;
  }

  #isTaken(frame: Frame, name: Buffer, type: number): boolean {
    const isTop = frame.parent === undefined && frame.name.length === 0;
    // mkfs made it for root alone; what fsck put into it waits for a person.
    if (isTop && name.equals(LOST_AND_FOUND)) return false;
    // Another target below has a store of its own, whose files change in place.
    if ((isTop || type === DT_DIR) && name.equals(STORE_BYTES)) return false;
    if (this.#filter === undefined) return true;
    return this.#filter.takes(pathOf(frame, name), type === DT_DIR ? "directory" : "other");
  }

  #takeDown(frame: Frame, { address, name }: Seen): void {
    const { sys, stat, rules } = this.#thread;
    const statted = sys.statx(frame.fd, address, AT_SYMLINK_NOFOLLOW, stat.address);
    if (statted === -errno.ENOENT) return;
    this.#thread.attempt(
      () => pathOf(frame, name),
      () => onSource(statted, "statx"),
    );
    // A file mounted over another, or one that became something else by now.
    if (statted < 0 || !stat.isRegular || stat.device !== rules.device || !this.#isWanted(frame, name))
      return;
    const record = this.#names.next();
    stat.copyWords(STATX_WORDS, record, 0);
    record[NAME_DIRECTORY] = this.#idOf(frame);
    this.#heap.append(name, record, NAME_LENGTH);
    record[NAME_UNIT] = this.#unit;
  }
  /** Of the inode that was looked at last. */
  #isWanted(frame: Frame, name: Buffer): boolean {
    const { inoHigh, inoLow, sizeBytes } = this.#thread.stat;
    const choice = this.#choice;
    if (choice?.tells(inoLow, inoHigh) === true) {
      const inode = `${String(inoHigh)}:${String(inoLow)}`;
      this.#thread.give({ type: "met", path: pathOf(frame, name), inode });
    }
    if (sizeBytes === 0) choice?.foundEmpty(inoLow, inoHigh);
    return sizeBytes > 0 && (choice?.takes(inoLow, inoHigh) ?? true);
  }
}

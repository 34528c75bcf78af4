import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { isGone, openBelow } from "../tree/path.ts";
import { inodeText, type Unit } from "../tree/snapshots.ts";
import { EntryFailure, onSource } from "./errors.ts";
import type { SourceDirectory } from "./published-directory.ts";

/** Which directory of the source each unit was when it was walked: a rotation gives its name to another one. */
export class WalkedUnits {
  readonly #kernel: Kernel;
  readonly #sourceFd: number;
  readonly #units: readonly Unit[];
  readonly #inodes = new Map<number, string>();
  readonly #refused = new Set<number>();
  readonly #stat: Stat;

  constructor(kernel: Kernel, sourceFd: number, units: readonly Unit[]) {
    this.#kernel = kernel;
    this.#sourceFd = sourceFd;
    this.#units = units;
    this.#stat = new Stat(kernel.sys);
  }

  note(unit: number, fd: number): void {
    this.#inodes.set(unit, inodeText(statDescriptor(this.#kernel, fd, this.#stat)));
  }

  /** All that were met by now, as `inodeText` has them. */
  inodes(): Set<string> {
    const planned = this.#units.map(({ inode }) => inode).filter((inode) => inode !== "");
    return new Set([...planned, ...this.#inodes.values()]);
  }

  /** Opens the directory that was walked by the path that it must still have. @throws EntryFailure, RunFailure, SysError */
  withDirectory<T>(unit: number, work: (walked: SourceDirectory) => T): T {
    const fd = this.#open(unit);
    try {
      return work({ fd, path: (this.#units[unit] as Unit).path });
    } finally {
      this.#kernel.sys.close(fd);
    }
  }

  #open(unit: number): number {
    const { path, inode } = this.#units[unit] as Unit;
    const fd = openBelow(this.#kernel, this.#sourceFd, path);
    if (fd >= 0 && (inode === "" || this.#inodeOf(fd) === this.#inodes.get(unit))) return fd;
    this.#refused.add(unit);
    if (isGone(fd)) throw left();
    onSource(fd, "openat");
    this.#kernel.sys.close(fd);
    throw rotated();
  }

  /** The walked units that `withDirectory` has not refused yet. */
  unrefused(): number[] {
    return [...this.#inodes.keys()].filter((unit) => !this.#refused.has(unit));
  }

  #inodeOf(fd: number): string {
    return inodeText(statDescriptor(this.#kernel, fd, this.#stat));
  }
}

/** Nothing is lost: the next run finds everything under its new name. */
export function rotated(): EntryFailure {
  const message = "the source was rotated while it was read, and has another directory here now: run again";
  return new EntryFailure("ROTATED", message);
}

function left(): EntryFailure {
  const message =
    "it left the source while it was read: the target may have a part of it, which the next run with --delete removes";
  return new EntryFailure("ROTATED", message);
}

import { statDescriptor, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { openBelow } from "../tree/path.ts";
import { inodeText, type Unit } from "../tree/snapshots.ts";
import { EntryFailure } from "./errors.ts";

/** Which directory of the source each unit was when it was walked: a rotation gives its name to another one. */
export class WalkedUnits {
  readonly #kernel: Kernel;
  readonly #sourceFd: number;
  readonly #units: readonly Unit[];
  readonly #inodes = new Map<number, string>();
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

  /** As `inodeText` has it; undefined: it was not walked. */
  inodeOf(unit: number): string | undefined {
    return this.#inodes.get(unit);
  }

  /** What is published by the source's paths must be of the directory that was walked. @throws EntryFailure, SysError */
  refuseRotated(unit: number): void {
    const { path, inode } = this.#units[unit] as Unit;
    const fd = inode === "" ? -1 : openBelow(this.#kernel, this.#sourceFd, path);
    if (fd < 0) return;
    const now = inodeText(statDescriptor(this.#kernel, fd, this.#stat));
    this.#kernel.sys.close(fd);
    if (now !== this.#inodes.get(unit)) throw rotated();
  }
}

/** Nothing is lost: the next run finds everything under its new name. */
export function rotated(): EntryFailure {
  const message = "the source was rotated while it was read, and has another directory here now: run again";
  return new EntryFailure("ROTATED", message);
}

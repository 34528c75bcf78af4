import { RunSorter, type Run } from "../relink/sorter.ts";
import { DT_REG } from "../sys/constants.ts";
import type { Stat } from "../sys/stat.ts";
import type { Listing } from "../tree/listing.ts";
import {
  BLOCK_BYTES,
  COUNT_DIRECTORIES,
  COUNT_DIRECTORY_BYTES,
  COUNT_NAMES,
  COUNT_OBJECTS,
  COUNT_SIBLINGS,
  DEVICE,
  FACT_STATX,
  INO_HIGH,
  INO_LOW,
  MODE,
  NLINK,
  UNIT,
  factLayout,
  nameLayout,
  storeUnit,
} from "./layout.ts";
import { SeenInodes } from "./seen-inodes.ts";
import type { StatsThread } from "./thread.ts";
import type { Frame, Visitor } from "./walk.ts";

/** docs/store-format.md, "Names": a sibling's number ends the name of an object. */
const objectName = /^[0-9a-f]{62}\.[0-9a-f]{16}(?:\.g[0-9a-f]{16})?(\.[1-9][0-9]{0,8})?$/;

/** Writes down each name of what is walked, and each inode when it is first met. */
export class Counter implements Visitor {
  readonly #thread: StatsThread;
  readonly #seen = new SeenInodes();
  readonly #names: RunSorter;
  readonly #facts: RunSorter;
  readonly #storeUnit: number;
  #unit = 0;

  constructor(thread: StatsThread) {
    const { writer, setup } = thread;
    this.#thread = thread;
    this.#names = new RunSorter(writer, setup.namesFd, nameLayout);
    this.#facts = new RunSorter(writer, setup.factsFd, factLayout);
    this.#storeUnit = storeUnit(setup.rules.units);
  }

  begin(unit: number): void {
    this.#unit = unit;
  }

  directory(stat: Stat, hasName: boolean): void {
    if (hasName) {
      this.#thread.count(this.#unit, COUNT_NAMES, 1);
      this.#thread.count(this.#unit, COUNT_DIRECTORIES, 1);
    }
    this.#thread.count(this.#unit, COUNT_DIRECTORY_BYTES, stat.blocks * BLOCK_BYTES);
  }

  number({ device }: Frame, listing: Listing): boolean {
    const { inoHigh, inoLow } = listing;
    if (!this.#seen.has(device, inoHigh, inoLow)) return false;
    this.#name(device, inoHigh, inoLow);
    if (this.#unit === this.#storeUnit && listing.type === DT_REG) this.#countObject(listing.copyName());
    return true;
  }

  inode(_frame: Frame, name: Buffer, stat: Stat): void {
    const { device, inoHigh, inoLow } = stat;
    this.#name(device, inoHigh, inoLow);
    if (this.#unit === this.#storeUnit && stat.isRegular) this.#countObject(name);
    if (this.#seen.has(device, inoHigh, inoLow)) return;
    this.#seen.add(device, inoHigh, inoLow);
    const fact = this.#facts.next();
    fact[DEVICE] = device;
    fact[INO_HIGH] = inoHigh;
    fact[INO_LOW] = inoLow;
    stat.copyWords(FACT_STATX, fact, NLINK);
    fact[MODE] = stat.mode;
  }

  #name(device: number, inoHigh: number, inoLow: number): void {
    this.#thread.count(this.#unit, COUNT_NAMES, 1);
    const record = this.#names.next();
    record[DEVICE] = device;
    record[INO_HIGH] = inoHigh;
    record[INO_LOW] = inoLow;
    record[UNIT] = this.#unit;
  }

  #countObject(name: Buffer): void {
    const parts = objectName.exec(name.toString("latin1"));
    if (parts === null) return;
    this.#thread.count(this.#unit, COUNT_OBJECTS, 1);
    if (parts[1] !== undefined) this.#thread.count(this.#unit, COUNT_SIBLINGS, 1);
  }

  finish(): { names: Run[]; facts: Run[] } {
    return { names: this.#names.finish(), facts: this.#facts.finish() };
  }
}

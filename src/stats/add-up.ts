import { setImmediate as nextTurn } from "node:timers/promises";
import { mergeRuns, type Run } from "../relink/sorter.ts";
import { S_IFMT, S_IFREG } from "../sys/constants.ts";
import type { Sys } from "../sys/sys.ts";
import { mostOf } from "../tree/most.ts";
import {
  BLOCKS_HIGH,
  BLOCK_BYTES,
  DEVICE,
  INO_HIGH,
  INO_LOW,
  MODE,
  NLINK,
  SIZE_HIGH,
  UNIT,
  factLayout,
  holderUnit,
  indexUnit,
  nameLayout,
  storeRestUnit,
  storeUnit,
} from "./layout.ts";
import { Largest } from "./largest.ts";
import type { Inode } from "./messages.ts";

/** Inodes between two looks at what else there is to do. */
const TURN_INODES = 8192;
const HIGH = 0x100000000;

export type AddUpRules = {
  /** How many units the plan has. */
  units: number;
  /** By unit: the next one is the snapshot made before it. */
  hasNeighbour: readonly boolean[];
  /** By unit: it is in the set that --if-deleted names. */
  isInSet: readonly boolean[];
  /** The store cannot be read: each file with content may have one name in it. */
  storeIsHidden: boolean;
  /** 0: the filesystem has none. */
  linkLimit: number;
  shouldStop: () => boolean;
};

/** Of inodes other than directories. Bytes are what they take on the disk, each inode counted once. */
export type UnitFigures = {
  inodes: Float64Array;
  bytes: Float64Array;
  /** Of regular files: st_size, each name counted. */
  plainBytes: Float64Array;
  /** Inodes that no other unit has a name of, and no one else. */
  aloneInodes: Float64Array;
  aloneBytes: Float64Array;
  /** Regular files with content, all of them, and those that the neighbour has. */
  fileInodes: Float64Array;
  fileBytes: Float64Array;
  chainedInodes: Float64Array;
  chainedBytes: Float64Array;
};

export type WholeFigures = {
  inodes: number;
  bytes: number;
  plainBytes: number;
  contentBytes: number;
  /** Objects that no name but the store's has. */
  unnamedObjects: number;
  unnamedBytes: number;
  /** Files of the store that are no objects (index, log), and what is being built there. */
  storeRestBytes: number;
  /** Inodes with names in the snapshots or in the store, and others elsewhere. */
  elsewhereInodes: number;
  elsewhereBytes: number;
  /** Inodes that were reached by more names than they have. */
  twiceInodes: number;
  indexedInodes: number;
  mergedInodes: number;
  mergedBytes: number;
  freedInodes: number;
  freedBytes: number;
  mostLinks: number;
  /** One more snapshot like the one that has most names of them would pass the limit. */
  nearLimitInodes: number;
};

export type Figures = { units: UnitFigures; whole: WholeFigures; largest: Largest };

const zeroWhole = (): WholeFigures => ({
  inodes: 0,
  bytes: 0,
  plainBytes: 0,
  contentBytes: 0,
  unnamedObjects: 0,
  unnamedBytes: 0,
  storeRestBytes: 0,
  elsewhereInodes: 0,
  elsewhereBytes: 0,
  twiceInodes: 0,
  indexedInodes: 0,
  mergedInodes: 0,
  mergedBytes: 0,
  freedInodes: 0,
  freedBytes: 0,
  mostLinks: 0,
  nearLimitInodes: 0,
});

function zeroUnits(units: number): UnitFigures {
  const column = (): Float64Array => new Float64Array(units);
  return {
    inodes: column(),
    bytes: column(),
    plainBytes: column(),
    aloneInodes: column(),
    aloneBytes: column(),
    fileInodes: column(),
    fileBytes: column(),
    chainedInodes: column(),
    chainedBytes: column(),
  };
}

/** An inode and where it has names. */
type Tallied = Inode & {
  links: number;
  bytes: number;
  sizeBytes: number;
  isFile: boolean;
  /** Units of the plan, ascending, and the names in each. */
  units: number[];
  counts: number[];
  inStore: number;
  inStoreRest: number;
  inIndex: number;
};

/**
 * Merges the names that all threads have written down with what their inodes are. @returns undefined: stopped.
 * @throws SysError
 */
export async function addUp(
  sys: Sys,
  runs: { names: readonly Run[]; facts: readonly Run[] },
  rules: AddUpRules,
): Promise<Figures | undefined> {
  const figures: Figures = {
    units: zeroUnits(rules.units),
    whole: zeroWhole(),
    largest: new Largest(),
  };
  let inodes = 0;
  for (const inode of talliedInodes(sys, runs, rules.units)) {
    take(inode, rules, figures);
    if (++inodes % TURN_INODES !== 0) continue;
    await nextTurn();
    if (rules.shouldStop()) return undefined;
  }
  return rules.shouldStop() ? undefined : figures;
}

/** Inodes that could not be looked at, or went before they were, are passed over. */
function* talliedInodes(
  sys: Sys,
  { names, facts }: { names: readonly Run[]; facts: readonly Run[] },
  units: number,
): Generator<Tallied> {
  const inodes = mergeRuns(sys, facts, factLayout);
  let fact = inodes.next();
  const tallied = emptyTallied();
  let isKnown = false;
  let isBegun = false;
  for (const name of mergeRuns(sys, names, nameLayout)) {
    if (!isBegun || !isSame(name, tallied)) {
      if (isKnown) yield tallied;
      isBegun = true;
      begin(tallied, name);
      while (fact.done !== true && isBefore(fact.value, name)) fact = inodes.next();
      isKnown = fact.done !== true && isSame(fact.value, tallied);
      if (fact.done !== true && isKnown) learn(tallied, fact.value);
    }
    addName(tallied, name[UNIT] as number, units);
  }
  if (isKnown) yield tallied;
}

const emptyTallied = (): Tallied => ({
  device: 0,
  inoHigh: 0,
  inoLow: 0,
  links: 0,
  bytes: 0,
  sizeBytes: 0,
  isFile: false,
  units: [],
  counts: [],
  inStore: 0,
  inStoreRest: 0,
  inIndex: 0,
});

function isSame(record: Uint32Array, { device, inoHigh, inoLow }: Inode): boolean {
  return record[INO_LOW] === inoLow && record[INO_HIGH] === inoHigh && record[DEVICE] === device;
}

function isBefore(a: Uint32Array, b: Uint32Array): boolean {
  for (const word of factLayout.key)
    if (a[word] !== b[word]) return (a[word] as number) < (b[word] as number);
  return false;
}

function begin(tallied: Tallied, name: Uint32Array): void {
  tallied.device = name[DEVICE] as number;
  tallied.inoHigh = name[INO_HIGH] as number;
  tallied.inoLow = name[INO_LOW] as number;
  tallied.units.length = 0;
  tallied.counts.length = 0;
  tallied.inStore = 0;
  tallied.inStoreRest = 0;
  tallied.inIndex = 0;
}

function learn(tallied: Tallied, fact: Uint32Array): void {
  const numberAt = (high: number): number => (fact[high] as number) * HIGH + (fact[high + 1] as number);
  tallied.links = fact[NLINK] as number;
  tallied.bytes = numberAt(BLOCKS_HIGH) * BLOCK_BYTES;
  tallied.sizeBytes = numberAt(SIZE_HIGH);
  tallied.isFile = ((fact[MODE] as number) & S_IFMT) === S_IFREG;
}

function addName(tallied: Tallied, unit: number, units: number): void {
  if (unit === storeUnit(units) || unit === holderUnit(units)) tallied.inStore++;
  else if (unit === storeRestUnit(units)) tallied.inStoreRest++;
  else if (unit === indexUnit(units)) tallied.inIndex++;
  else if (tallied.units.at(-1) === unit) (tallied.counts[tallied.counts.length - 1] as number)++;
  else {
    tallied.units.push(unit);
    tallied.counts.push(1);
  }
}

function take(inode: Tallied, rules: AddUpRules, figures: Figures): void {
  const { whole } = figures;
  const { units, counts, inStore, inStoreRest, links, bytes } = inode;
  const names = counts.reduce((sum, count) => sum + count, 0);
  const met = names + inStore + inStoreRest;
  const hidden = rules.storeIsHidden && inode.isFile && inode.sizeBytes > 0 ? 1 : 0;
  // All its names are known: it goes when they go.
  const isWhole = met === links || met + hidden === links;
  if (met > links) whole.twiceInodes++;
  if (units.length === 0) {
    if (inStore > 0 && inStoreRest === 0 && isWhole) {
      whole.unnamedObjects++;
      whole.unnamedBytes += bytes;
    } else if (inStore === 0 || inStoreRest > 0) whole.storeRestBytes += bytes;
    else if (met < links) {
      whole.elsewhereInodes++;
      whole.elsewhereBytes += bytes;
    }
    return;
  }
  takeWhole(inode, names, { isWhole, rules, whole });
  takeUnits(inode, isWhole && inStoreRest === 0, figures);
  takeChain(inode, rules, figures.units);
}

type Judged = { isWhole: boolean; rules: AddUpRules; whole: WholeFigures };

function takeWhole(inode: Tallied, names: number, { isWhole, rules, whole }: Judged): void {
  const { units, counts, inStore, inStoreRest, inIndex, links, bytes, sizeBytes, isFile } = inode;
  whole.inodes++;
  whole.bytes += bytes;
  if (isFile) {
    whole.contentBytes += sizeBytes;
    whole.plainBytes += names * sizeBytes;
  }
  if (!isWhole && names + inStore + inStoreRest < links) {
    whole.elsewhereInodes++;
    whole.elsewhereBytes += bytes;
  }
  if (inIndex > 0 && inStore > 0) {
    whole.indexedInodes += inIndex;
    whole.mergedInodes += inIndex - 1;
    whole.mergedBytes += (inIndex - 1) * sizeBytes;
  }
  if (isWhole && inStoreRest === 0 && units.every((unit) => rules.isInSet[unit])) {
    whole.freedInodes++;
    whole.freedBytes += bytes;
  }
  whole.mostLinks = Math.max(whole.mostLinks, links);
  if (rules.linkLimit > 0 && links + mostOf(counts) > rules.linkLimit) whole.nearLimitInodes++;
}

function takeUnits(inode: Tallied, mayGo: boolean, { units: columns, largest }: Figures): void {
  const { units, counts, bytes, sizeBytes, isFile } = inode;
  const add = (column: keyof UnitFigures, unit: number, amount: number): void => {
    columns[column][unit] = (columns[column][unit] as number) + amount;
  };
  units.forEach((unit, at) => {
    add("inodes", unit, 1);
    add("bytes", unit, bytes);
    if (isFile) add("plainBytes", unit, (counts[at] as number) * sizeBytes);
    if (!isFile || sizeBytes === 0) return;
    add("fileInodes", unit, 1);
    add("fileBytes", unit, bytes);
  });
  const [only, second] = units;
  if (only === undefined || second !== undefined || !mayGo) return;
  add("aloneInodes", only, 1);
  add("aloneBytes", only, bytes);
  if (isFile && bytes > 0) largest.offer(inode, only);
}

function takeChain(
  { units, bytes, sizeBytes, isFile }: Tallied,
  rules: AddUpRules,
  columns: UnitFigures,
): void {
  if (!isFile || sizeBytes === 0) return;
  for (let at = 1; at < units.length; at++) {
    const unit = units[at - 1] as number;
    if (units[at] !== unit + 1 || rules.hasNeighbour[unit] !== true) continue;
    columns.chainedInodes[unit] = (columns.chainedInodes[unit] as number) + 1;
    columns.chainedBytes[unit] = (columns.chainedBytes[unit] as number) + bytes;
  }
}

import { resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { signalExitCodes } from "../exit-codes.ts";
import { AT_SYMLINK_NOFOLLOW } from "../sys/constants.ts";
import { errno } from "../sys/errors.ts";
import { addUp, type Figures } from "../stats/add-up.ts";
import { keyOf } from "../stats/finder.ts";
import {
  COUNT_DIRECTORIES,
  COUNT_DIRECTORY_BYTES,
  COUNT_NAMES,
  DEVICE,
  INO_HIGH,
  INO_LOW,
  UNIT,
  holderUnit,
  indexUnit,
  nameLayout,
  storeRestUnit,
  storeUnit,
} from "../stats/layout.ts";
import type { WalkTask } from "../stats/messages.ts";
import { openScratch } from "../relink/record-file.ts";
import { RunSorter, type Run } from "../relink/sorter.ts";
import { identifyFilesystem } from "../tree/identity.ts";
import { RunFailure } from "../work/errors.ts";
import { STORE_NAME, readIndexedTargets, type IndexedTargets } from "../../store/store.ts";
import { whenStopped, type StopReason } from "./context.ts";
import { reportStatsProgress, type StatsRun } from "./stats-run.ts";

/** Index rows between two looks at what else there is to do. */
const TURN_ROWS = 4096;
/** Of a snapshot's files with content this share at most is shared where a chain counts as broken … */
const BROKEN_SHARE = 0.05;
/** … unless there are so few of them that nothing follows from it. */
const CHAIN_INODES_LEAST = 16;

export type StatsEnding =
  | { type: "finished"; figures: Figures; index: IndexedTargets; paths: Map<string, Buffer> }
  | { type: "stopped"; exitCode: number }
  | { type: "failed"; error: RunFailure };

/** Walks everything, adds up, and looks for the names of the largest files. @throws bugs */
export async function figuresOf(run: StatsRun): Promise<StatsEnding> {
  const { pool, context } = run;
  const stopProgress = reportStatsProgress(run);
  const letGo = whenStopped(context.stop, () => {
    pool.control.stop();
  });
  try {
    const ending = await count(run);
    if (ending !== undefined) return ending;
    const { signal } = context.stop.reason as StopReason;
    return { type: "stopped", exitCode: signalExitCodes[signal] };
  } catch (error) {
    if (error instanceof RunFailure) return { type: "failed", error };
    throw error;
  } finally {
    letGo();
    stopProgress();
  }
}

/** undefined: stopped. */
async function count(run: StatsRun): Promise<StatsEnding | undefined> {
  const { pool, links, isInSet, writer } = run;
  const [isWhole, indexed] = await Promise.all([pool.run(walks(run)), readIndex(run)]);
  if (!isWhole) return undefined;
  const { names, facts } = await pool.collect();
  const figures = await addUp(
    writer.sys,
    { names: [...names, ...indexed.names], facts },
    {
      units: links.length,
      hasNeighbour: links.map(({ hasNeighbour }) => hasNeighbour),
      isInSet,
      storeIsHidden: run.store === "hidden",
      linkLimit: run.linkLimit,
      shouldStop: () => pool.control.isStopped,
    },
  );
  if (figures === undefined) return undefined;
  const paths = await findLargest(run, figures);
  return paths === undefined ? undefined : { type: "finished", figures, index: indexed.state, paths };
}

function* walks(run: StatsRun): Generator<WalkTask> {
  const { links, store } = run;
  for (const [
    unit,
    {
      unit: { type, path },
    },
  ] of links.entries()) {
    run.begun = unit + 1;
    yield countTask(unit, path, type === "loose" ? "loose" : "whole");
  }
  if (store === "missing") return;
  const storePath = Buffer.from(STORE_NAME);
  yield countTask(storeRestUnit(links.length), storePath, "rest");
  if (store === "hidden") return;
  const parts = [
    ["objects", storeUnit(links.length)] as const,
    ["groups", holderUnit(links.length)] as const,
  ];
  for (const [name, unit] of parts)
    if (hasPart(run, name)) yield countTask(unit, Buffer.from(`${STORE_NAME}/${name}`), "whole");
}

/** A store that lost a directory has none of what was in it, which verify tells. */
function hasPart({ kernel: { sys, scratch }, storeFd }: StatsRun, name: string): boolean {
  const memory = sys.allocate(256);
  return sys.statx(storeFd, scratch.text(name), AT_SYMLINK_NOFOLLOW, memory.address) !== -errno.ENOENT;
}

function countTask(unit: number, path: Buffer, extent: WalkTask["extent"]): WalkTask {
  return { type: "count", unit, path, extent, subdirectories: undefined, wanted: [] };
}

/** Each source inode that the index knows counts as a name of the inode that it became. */
async function readIndex(run: StatsRun): Promise<{ state: IndexedTargets; names: Run[] }> {
  const { writer, storeFd, options, links, target, temporary, pool } = run;
  if (storeFd < 0) return { state: "missing", names: [] };
  const sorter = new RunSorter(writer.sys, openScratch(writer, temporary.fd, "index"), nameLayout);
  const unit = indexUnit(links.length);
  const memory = writer.sys.allocate(512);
  const place = {
    storeFd,
    identity: identifyFilesystem(writer.sys, target.fd, target.device, memory).identity,
    indexDir: options.indexDir === undefined ? undefined : resolve(options.indexDir),
    temporary: { fd: temporary.open("index"), path: `${temporary.path}/index` },
  };
  const state = await readIndexedTargets(writer, place, async (targets) => {
    let rows = 0;
    for (const ino of targets) {
      const record = sorter.next();
      record[DEVICE] = target.device;
      record[INO_HIGH] = Number(ino >> 32n);
      record[INO_LOW] = Number(ino & 0xffffffffn);
      record[UNIT] = unit;
      if (++rows % TURN_ROWS === 0) await nextTurn();
      if (pool.control.isStopped) return;
    }
  });
  return { state, names: state === "read" ? sorter.finish() : [] };
}

/** A name of each of the largest files, by inode: the first in byte order. undefined: stopped. */
async function findLargest(run: StatsRun, { largest }: Figures): Promise<Map<string, Buffer> | undefined> {
  const { pool, links } = run;
  const paths = new Map<string, Buffer>();
  pool.hear((inode, path) => {
    const known = paths.get(keyOf(inode));
    if (known === undefined || path.compare(known) < 0) paths.set(keyOf(inode), path);
  });
  const tasks = links.flatMap(({ unit: { path, type } }, at): WalkTask[] => {
    const wanted = largest.files.filter(({ unit }) => unit === at).map(({ inode }) => inode);
    const task = countTask(at, path, type === "loose" ? "loose" : "whole");
    return wanted.length === 0 ? [] : [{ ...task, type: "find", wanted }];
  });
  return (await pool.run(tasks)) ? paths : undefined;
}

/** A row for each snapshot and for what lies beside, the largest files, and chains that are broken. */
export function tellFigures(run: StatsRun, ending: Extract<StatsEnding, { type: "finished" }>): void {
  const { links, context, pool, isInSet } = run;
  const { figures, paths } = ending;
  const { units } = figures;
  links.forEach(({ unit: { path, type } }, at) => {
    const directoryBytes = pool.counted(at, COUNT_DIRECTORY_BYTES);
    const bytes = (units.bytes[at] as number) + directoryBytes;
    const aloneBytes = (units.aloneBytes[at] as number) + directoryBytes;
    context.reporter.emit({
      type: "holding",
      path,
      kind: type,
      names: pool.counted(at, COUNT_NAMES),
      directories: pool.counted(at, COUNT_DIRECTORIES),
      inodes: units.inodes[at] as number,
      bytes,
      aloneBytes,
      sharedBytes: bytes - aloneBytes,
      aloneInodes: units.aloneInodes[at] as number,
      plainBytes: units.plainBytes[at] as number,
      isInSet: isInSet[at] === true,
    });
  });
  for (const { inode, unit, bytes, sizeBytes, names } of figures.largest.files) {
    const path = paths.get(keyOf(inode));
    const snapshot = links[unit]?.unit.path ?? Buffer.alloc(0);
    if (path !== undefined)
      context.reporter.emit({ type: "largest", path, snapshot, bytes, sizeBytes, names });
  }
  for (const chain of brokenChains(run, figures)) context.reporter.emit({ type: "broken-chain", ...chain });
}

type BrokenChain = {
  path: Buffer;
  neighbour: Buffer;
  inodes: number;
  sharedInodes: number;
  sharedBytes: number;
};

/** Snapshots that share almost nothing with the one made before them. */
export function brokenChains({ links }: StatsRun, { units }: Figures): BrokenChain[] {
  return links.flatMap(({ unit, hasNeighbour }, at) => {
    const neighbour = links[at + 1]?.unit;
    if (!hasNeighbour || neighbour === undefined) return [];
    const least = (column: Float64Array): number => Math.min(column[at] as number, column[at + 1] as number);
    const [inodes, bytes] = [least(units.fileInodes), least(units.fileBytes)];
    const sharedInodes = units.chainedInodes[at] as number;
    const sharedBytes = units.chainedBytes[at] as number;
    const isBroken =
      inodes >= CHAIN_INODES_LEAST &&
      sharedInodes <= inodes * BROKEN_SHARE &&
      sharedBytes <= bytes * BROKEN_SHARE;
    const { path } = unit;
    return isBroken ? [{ path, neighbour: neighbour.path, inodes, sharedInodes, sharedBytes }] : [];
  });
}

import { exitCodes } from "../exit-codes.ts";
import { StoreError, existingPolicy } from "../../store/store.ts";
import type { StatsSummary } from "../report/events.ts";
import { isSysError } from "../sys/errors.ts";
import {
  COUNT_DIRECTORIES,
  COUNT_DIRECTORY_BYTES,
  COUNT_NAMES,
  COUNT_OBJECTS,
  COUNT_SIBLINGS,
  holderUnit,
  storeRestUnit,
  storeUnit,
} from "../stats/layout.ts";
import { brokenChains, type StatsEnding } from "./stats-figures.ts";
import type { StatsRun } from "./stats-run.ts";

type Finished = Extract<StatsEnding, { type: "finished" }>;

/** What is not known of a run that was cut short is zero; its outcome says so. */
export function summariseStats(run: StatsRun, ending: StatsEnding): StatsSummary {
  const { links, target, store, linkLimit, started, peakRssAnonBytes } = run;
  const { failures } = run.watch;
  const finished = ending.type === "finished" ? ending : undefined;
  return {
    type: "summary",
    command: "stats",
    ...outcomeOf(ending, failures),
    target: target.path,
    snapshots: links.filter(({ unit }) => unit.type === "snapshot").length,
    ...counted(run),
    ...wholeOf(run, finished),
    ...storeOf(run, finished),
    store,
    ...rulesOf(run),
    linkLimit,
    brokenChains: finished === undefined ? 0 : brokenChains(run, finished.figures).length,
    failures,
    elapsedMs: performance.now() - started,
    peakRssAnonBytes,
    ...(ending.type === "failed" ? { error: errorOf(ending) } : {}),
  };
}

/** By which rules the store was made, where it says so. */
function rulesOf({ kernel, storeFd }: StatsRun): Pick<StatsSummary, "merge" | "ignored"> {
  if (storeFd < 0) return {};
  try {
    const policy = existingPolicy(kernel, storeFd);
    if (policy === undefined) return {};
    const { merge, compared } = policy;
    const ignored = (["time", "mode", "owner", "xattrs"] as const).filter((name) => !compared[name]);
    return { merge, ignored };
  } catch (error) {
    if (!(error instanceof StoreError) && !isSysError(error)) throw error;
    return {};
  }
}

function outcomeOf(ending: StatsEnding, failures: number): Pick<StatsSummary, "outcome" | "exitCode"> {
  switch (ending.type) {
    case "finished":
      return failures > 0
        ? { outcome: "partial", exitCode: exitCodes.partial.code }
        : { outcome: "complete", exitCode: exitCodes.ok.code };
    case "stopped":
      return { outcome: "stopped", exitCode: ending.exitCode };
    case "failed":
      return { outcome: "failed", exitCode: exitCodes.failed.code };
  }
}

function errorOf({ error }: Extract<StatsEnding, { type: "failed" }>): NonNullable<StatsSummary["error"]> {
  const hint =
    error.code === "STOCK"
      ? "Set TMPDIR to a directory with room, some 20 bytes a name."
      : "Check the drive and its cable, then run the same command again.";
  const message =
    error.code === "STOCK" ? "there is no room for scratch files in the temporary folder" : error.message;
  return { code: error.code, message, hint };
}

/** Over all units of the plan, or those in the set. */
function sum({ pool, links, isInSet }: StatsRun, column: number, which: "all" | "set"): number {
  return links.reduce(
    (total, _, unit) =>
      which === "all" || isInSet[unit] === true ? total + pool.counted(unit, column) : total,
    0,
  );
}

function counted(run: StatsRun): Pick<StatsSummary, "names" | "directories"> {
  return { names: sum(run, COUNT_NAMES, "all"), directories: sum(run, COUNT_DIRECTORIES, "all") };
}

type Whole = Pick<
  StatsSummary,
  | "inodes"
  | "bytes"
  | "contentBytes"
  | "plainBytes"
  | "aloneBytes"
  | "elsewhereInodes"
  | "elsewhereBytes"
  | "twiceInodes"
  | "mostLinks"
  | "nearLimitInodes"
  | "ifDeleted"
>;

function wholeOf(run: StatsRun, finished: Finished | undefined): Whole {
  const directoryBytes = sum(run, COUNT_DIRECTORY_BYTES, "all");
  const whole = finished?.figures.whole;
  const alone = finished?.figures.units.aloneBytes.reduce((total, bytes) => total + bytes, 0) ?? 0;
  return {
    inodes: whole?.inodes ?? 0,
    bytes: (whole?.bytes ?? 0) + directoryBytes,
    contentBytes: whole?.contentBytes ?? 0,
    plainBytes: whole?.plainBytes ?? 0,
    aloneBytes: alone + directoryBytes,
    elsewhereInodes: whole?.elsewhereInodes ?? 0,
    elsewhereBytes: whole?.elsewhereBytes ?? 0,
    twiceInodes: whole?.twiceInodes ?? 0,
    mostLinks: whole?.mostLinks ?? 0,
    nearLimitInodes: whole?.nearLimitInodes ?? 0,
    ...ifDeleted(run, finished),
  };
}

function ifDeleted(run: StatsRun, finished: Finished | undefined): Pick<StatsSummary, "ifDeleted"> {
  const { ifDeleted: sets } = run.options;
  if (sets.length === 0 || finished === undefined) return {};
  const { freedInodes, freedBytes } = finished.figures.whole;
  return {
    ifDeleted: {
      sets,
      snapshots: run.isInSet.filter((isIn) => isIn).length,
      names: sum(run, COUNT_NAMES, "set"),
      inodes: freedInodes,
      bytes: freedBytes + sum(run, COUNT_DIRECTORY_BYTES, "set"),
    },
  };
}

type StoreFigures = Pick<
  StatsSummary,
  | "objects"
  | "siblings"
  | "unnamedObjects"
  | "unnamedBytes"
  | "storeBytes"
  | "index"
  | "indexedInodes"
  | "mergedInodes"
  | "mergedBytes"
>;

function storeOf({ pool, links }: StatsRun, finished: Finished | undefined): StoreFigures {
  const objects = storeUnit(links.length);
  const rest = storeRestUnit(links.length);
  const whole = finished?.figures.whole;
  return {
    objects: pool.counted(objects, COUNT_OBJECTS),
    siblings: pool.counted(objects, COUNT_SIBLINGS),
    unnamedObjects: whole?.unnamedObjects ?? 0,
    unnamedBytes: whole?.unnamedBytes ?? 0,
    storeBytes:
      (whole?.storeRestBytes ?? 0) +
      pool.counted(objects, COUNT_DIRECTORY_BYTES) +
      pool.counted(holderUnit(links.length), COUNT_DIRECTORY_BYTES) +
      pool.counted(rest, COUNT_DIRECTORY_BYTES),
    index: finished?.index ?? "missing",
    indexedInodes: whole?.indexedInodes ?? 0,
    mergedInodes: whole?.mergedInodes ?? 0,
    mergedBytes: whole?.mergedBytes ?? 0,
  };
}

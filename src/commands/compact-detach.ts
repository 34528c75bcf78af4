import { setImmediate as nextTurn } from "node:timers/promises";
import { DedupeError } from "../errors.ts";
import type { CompactOptions, WithTarget } from "../options.ts";
import { AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_RDONLY } from "../sys/constants.ts";
import { check, isSysError } from "../sys/errors.ts";
import { openDirectory, type Kernel } from "../sys/files.ts";
import { Stat } from "../sys/stat.ts";
import { Listing } from "../tree/listing.ts";
import { rssAnonBytes } from "../tree/memory.ts";
import { removeTree } from "../tree/remove.ts";
import { planSweep, sweptPath } from "../compact/sweep.ts";
import { undoFiles } from "../relink/undo-log.ts";
import { STORE_NAME } from "../../store/store.ts";
import { openForCare, openToLook, type CompactTarget } from "./compact-target.ts";
import { summariseCompact, type CompactEnding } from "./compact-summary.ts";
import type { CommandContext } from "./context.ts";
import { becomeIdle } from "./idle.ts";
import { openKernel } from "./migrate-run.ts";
import { openNamed, preflightRefusal, targetWarnings, tellNotices, type Root } from "./preflight.ts";
import { putTimeBack, timeOf } from "./settle-beside.ts";

type Counts = { objects: number; holders: number; freedBytes: number };
type Detaching = {
  kernel: Kernel;
  options: WithTarget<CompactOptions>;
  context: CommandContext;
  target: Root;
  opened: CompactTarget;
  counts: Counts;
};

/** `dedupe compact --detach`: the store goes, the snapshots stay. @returns the exit code. @throws DedupeError */
export async function detach(options: WithTarget<CompactOptions>, context: CommandContext): Promise<number> {
  const started = performance.now();
  const detaching = await open(options, context).catch((error: unknown) => {
    throw preflightRefusal(error, `the target ${options.target}`);
  });
  const { kernel, opened, counts } = detaching;
  let ending: CompactEnding;
  try {
    refuseLoss(detaching);
    ending = await takeAway(detaching);
  } finally {
    await opened.close();
  }
  const { objects, holders } = counts;
  const figures = { ...nothing, prune: counts };
  if (options.dryRun && ending.type === "finished")
    context.reporter.emit({ type: "compact-plan", detached: true, ...figures });
  const summary = summariseCompact(options, ending, {
    ...{ ...figures, ...unlooked, objects, holders },
    ...{ elapsedMs: performance.now() - started, peakRssAnonBytes: rssAnonBytes(kernel) },
  });
  context.reporter.emit(summary);
  return summary.exitCode;
}

const unlooked = {
  names: 0,
  directories: 0,
  readBytes: 0,
  findings: {},
  affectedNames: 0,
  leftAlone: 0,
  failures: 0,
};

const nothing = {
  sweep: { leftovers: 0, unfinished: 0 },
  adopt: {
    ...{ inodes: 0, bytes: 0, objects: 0, linkedNames: 0 },
    ...{ mergedInodes: 0, freedBytes: 0, siblings: 0 },
  },
  refile: { objects: 0 },
  fold: { siblings: 0 },
  index: { unknown: 0, rows: 0, droppedRows: 0, bytesBefore: 0, bytesAfter: 0 },
};

async function open(options: WithTarget<CompactOptions>, context: CommandContext): Promise<Detaching> {
  const { kernel } = await openKernel(context.sysModule);
  if (options.priority === "idle") becomeIdle(kernel.sys);
  const target = openNamed(kernel, options.target, "target");
  const { reporter, version } = context;
  const { dryRun } = options;
  reporter.emit({ type: "start", command: "compact", version, target: target.path, jobs: 1, dryRun });
  tellNotices(reporter, targetWarnings(kernel, target));
  const opened = await (dryRun ? openToLook : openForCare)(kernel, target, options);
  return { kernel, options, context, target, opened, counts: { objects: 0, holders: 0, freedBytes: 0 } };
}

/** The last name of a file, what is somebody else's, or what a migration has copied so far, is not taken away in passing. @throws DedupeError */
function refuseLoss({ kernel, options, target, opened }: Detaching): void {
  const { directories, policy } = opened;
  const forgetsUnfinished = options.forgetUnfinished;
  const items = planSweep({ kernel, directories, compared: policy.compared, forgetsUnfinished });
  const unknown = items.find(({ verdict }) => verdict === "unknown");
  if (unknown !== undefined) {
    const path = `${target.path}/${sweptPath(unknown).toString("latin1")}`;
    const what =
      unknown.folder === "staging"
        ? "was somebody else's: it came under a name that a killed run was about to remove or replace"
        : "was left by a killed run and has no other name";
    throw new DedupeError("LEFTOVER", `${path} ${what}`, {
      hint: "Look at it, move it out or delete it, then run the same command again.",
    });
  }
  refuseForgetting(kernel, { target, logFd: directories.logFd });
  if (!items.some(({ verdict }) => verdict === "keep")) return;
  throw new DedupeError(
    "UNFINISHED",
    `a migration to ${target.path} has begun snapshots that are not finished yet`,
    {
      hint: "Run the migration again to finish them, or name --forget-unfinished to remove what it has copied.",
    },
  );
}

/** What --ignore-* took from names is nowhere else. @throws DedupeError */
function refuseForgetting(kernel: Kernel, { target, logFd }: { target: Root; logFd: number }): void {
  if (logFd < 0 || undoFiles(kernel, logFd).length === 0) return;
  throw new DedupeError(
    "UNDO_LOG",
    `${target.path}/${STORE_NAME}/log keeps the attributes that relink --ignore-* took from names`,
    {
      hint: `dedupe relink --undo puts them back; to do without them remove ${STORE_NAME}/log/undo.*, then run the same command again.`,
    },
  );
}

/** format.json goes last but for the lock: what is left of a store says by which rules its names were made. */
async function takeAway(detaching: Detaching): Promise<CompactEnding> {
  const { kernel, options, context, target, opened } = detaching;
  const { objectsFd, groupsFd } = opened.directories;
  const { stop } = context;
  try {
    for (const [parentFd, kind] of [[objectsFd, "objects"] as const, [groupsFd, "holders"] as const]) {
      for (const directory of parentFd < 0 ? [] : listOf(kernel, parentFd)) {
        await nextTurn();
        if (stop.aborted) return { type: "stopped", reason: stop.reason };
        if (!isDirectory(kernel, parentFd, directory)) continue;
        removeCounting(detaching, { parentFd, directory, kind });
      }
    }
    if (options.dryRun) return { type: "finished" };
    removeRest(kernel, target);
    check(await kernel.sys.syncfsAsync(target.fd), "syncfs");
    return { type: "finished" };
  } catch (error) {
    if (!isSysError(error)) throw error;
    return { type: "failed", error };
  }
}

function listOf(kernel: Kernel, fd: number): Buffer[] {
  const { sys, scratch } = kernel;
  const own = check(sys.openat(fd, scratch.text("."), O_RDONLY | sys.O_DIRECTORY | O_CLOEXEC, 0), "openat");
  const listing = new Listing(sys);
  const names: Buffer[] = [];
  while (check(listing.read(own), "getdents64") > 0) while (listing.next()) names.push(listing.copyName());
  sys.close(own);
  return names;
}

function isDirectory({ sys, scratch }: Kernel, dirFd: number, name: Buffer): boolean {
  const stat = new Stat(sys);
  check(sys.statx(dirFd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
  return stat.isDirectory;
}

/** In a dry run nothing is removed. */
function removeCounting(
  { kernel, options, counts }: Detaching,
  { parentFd, directory, kind }: { parentFd: number; directory: Buffer; kind: "objects" | "holders" },
): void {
  const { sys, scratch } = kernel;
  const stat = new Stat(sys);
  const fd = openDirectory(kernel, parentFd, directory);
  for (const name of listOf(kernel, fd)) {
    check(sys.statx(fd, scratch.at(name), AT_SYMLINK_NOFOLLOW, stat.address), "statx", name);
    counts[kind]++;
    if (stat.nlink === 1) counts.freedBytes += stat.blocks * 512;
    if (!options.dryRun) removeTree(kernel, fd, name);
  }
  sys.close(fd);
  if (!options.dryRun) check(sys.unlinkat(parentFd, scratch.at(directory), AT_REMOVEDIR), "rmdir", directory);
}

function removeRest(kernel: Kernel, target: Root): void {
  const { sys, scratch } = kernel;
  const before = timeOf(kernel, target);
  const storeFd = openDirectory(kernel, target.fd, STORE_NAME);
  const last = ["format.json", "lock"];
  const names = listOf(kernel, storeFd).filter((name) => !last.includes(name.toString("latin1")));
  for (const name of [...names, ...last.map((each) => Buffer.from(each))]) removeTree(kernel, storeFd, name);
  sys.close(storeFd);
  check(sys.unlinkat(target.fd, scratch.text(STORE_NAME), AT_REMOVEDIR), "rmdir", STORE_NAME);
  putTimeBack(kernel, target, before);
}

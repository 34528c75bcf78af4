import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeChangingTree } from "./changing-tree.ts";
import { requireTool } from "./skip.ts";

/* At scale 1 a snapshot has some 5,000 names (files, directories and symlinks). */
const filesAtScaleOne = 3900;

export interface RsnapshotOptions {
  readonly snapshots: number;
  /** 1 and 30 snapshots: 150,000 names of 9,700 inodes. 0.2 and 10 snapshots: 10,000 names. Default 0.1. */
  readonly scale?: number;
  readonly seed?: number;
  /** Leaves larger files out of the live tree. Default 12 MB. */
  readonly largestFileBytes?: number;
  /** Let rsync --link-dest make the links rather than `cp -al`. */
  readonly linkDest?: boolean;
  /** `retain daily N`; default: ten more than are made, so that none falls off the end. */
  readonly retain?: number;
}

/** A root of daily.0 (newest) to daily.N, made by real rsnapshot from a tree that changes every day. */
export interface RsnapshotRoot {
  readonly root: string;
  /** What is backed up; daily.0/localhost is to equal it after backup(). */
  readonly live: string;
  /** The live tree as it lies in a snapshot of a root: `${root}/daily.0/localhost`. */
  inSnapshot(snapshot: string, root?: string): string;
  /** Lets the live tree live on for a day. */
  change(): void;
  /** Runs `rsnapshot daily` once, with the same configuration, on this root or on a copy of it. */
  backup(root?: string): void;
  /** Deletes the live tree and the configuration; the root stays. */
  close(): void;
}

export function requireRsnapshot(): boolean {
  return requireTool("rsnapshot") && requireTool("rsync");
}

/** Fills the folder (made if need be) with snapshots. */
export function makeRsnapshotRoot(root: string, options: RsnapshotOptions): RsnapshotRoot {
  const { snapshots, scale = 0.1, seed = 1, largestFileBytes = 12_000_000 } = options;
  const work = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "dedupe-rsnapshot-"));
  const live = join(work, "live");
  mkdirSync(live);
  mkdirSync(root, { recursive: true });
  const deleteWork = () => rmSync(work, { recursive: true, force: true });
  // Also after a failure: it lies in memory.
  process.once("exit", deleteWork);
  const tree = makeChangingTree(live, { files: Math.round(filesAtScaleOne * scale), seed, largestFileBytes });
  const backup = (at: string) => {
    runRsnapshot({ work, live, root: at, ...options });
    // rsnapshot stamps a snapshot with the moment it is made: here as if the runs were a day apart.
    utimesSync(join(at, "daily.0"), tree.dayMs / 1000, tree.dayMs / 1000);
  };
  for (let made = 0; made < snapshots; made += 1) {
    if (made > 0) tree.change();
    backup(root);
  }
  return {
    root,
    live,
    inSnapshot: (snapshot, at = root) => join(at, snapshot, "localhost"),
    change: () => tree.change(),
    backup: (at = root) => backup(at),
    close: () => {
      process.off("exit", deleteWork);
      deleteWork();
    },
  };
}

interface Run extends RsnapshotOptions {
  readonly work: string;
  readonly live: string;
  readonly root: string;
}

function runRsnapshot(run: Run): void {
  const config = join(run.work, "rsnapshot.conf");
  writeFileSync(config, configOf(run));
  execFileSync("rsnapshot", ["-c", config, "daily"], { stdio: ["ignore", "pipe", "pipe"] });
}

/** Debian's defaults, but for --relative: the path of a temporary folder would be part of every name. */
function configOf({ work, live, root, snapshots, linkDest = false, retain = snapshots + 10 }: Run): string {
  const lines = [
    ["config_version", "1.2"],
    ["snapshot_root", `${root}/`],
    ["no_create_root", "1"],
    ["cmd_cp", toolPath("cp")],
    ["cmd_rm", toolPath("rm")],
    ["cmd_rsync", toolPath("rsync")],
    ["retain", "daily", String(retain)],
    ["verbose", "2"],
    ["loglevel", "3"],
    ["logfile", join(work, "rsnapshot.log")],
    ["lockfile", join(work, "rsnapshot.pid")],
    ["rsync_short_args", "-a"],
    ["rsync_long_args", "--delete --numeric-ids --delete-excluded"],
    ["link_dest", linkDest ? "1" : "0"],
    ["backup", `${live}/`, "localhost/"],
  ];
  return lines.map((line) => `${line.join("\t")}\n`).join("");
}

function toolPath(name: string): string {
  return execFileSync("which", [name], { encoding: "utf8" }).trim();
}

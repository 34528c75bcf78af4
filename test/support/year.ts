import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { compact, objectsOf, type CompactRun } from "./compact.ts";
import { dedupeScript, migrate } from "./dedupe.ts";
import { manifest } from "./oracle.ts";
import { makeRsnapshotRoot } from "./rsnapshot.ts";

/** What a year does to a backup drive. */
export interface YearOptions {
  readonly folder: string;
  readonly days: number;
  /** Of rsnapshot.ts: 1 is some 5,000 names a snapshot. */
  readonly scale: number;
  readonly retain: number;
  /** Before each compact up to so many are killed. */
  readonly kills: number;
  readonly seed: number;
}

export interface Year {
  readonly target: string;
  /** Names that do not read as when their snapshot was made, but for those edited in place. */
  readonly wrong: readonly string[];
  /** Edits in place whose names no compact told. */
  readonly untold: readonly string[];
  /** Compacts that ended as they should not. */
  readonly complaints: readonly string[];
  readonly did: { compacts: number; kills: number; edits: number; deleted: number; chmods: number };
}

/** Digests of the files with content, by path below the snapshot. */
type Snapshot = { readonly digests: Map<string, string>; readonly edited: Set<string> };

const everyDays = 7;

/** The same seed, the same year. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A migrated root that real rsnapshot goes on with, while people delete, chmod and edit, and compacts are killed. */
export async function liveThroughYear(options: YearOptions): Promise<Year> {
  const target = join(options.folder, "target");
  const root = makeRsnapshotRoot(join(options.folder, "source"), {
    ...{ snapshots: 2, largestFileBytes: 200_000, retain: options.retain },
    ...{ scale: options.scale, seed: options.seed },
  });
  mkdirSync(target);
  const migrated = migrate(root.root, target);
  if (migrated.code !== 0) throw new Error(migrated.err);
  const drive = new Drive(target, options);
  for (let day = 1; day <= options.days; day += 1) {
    root.change();
    root.backup(target);
    drive.rotated();
    drive.live();
    if (day % everyDays === 0) await drive.care();
  }
  root.close();
  await drive.care();
  return drive.end();
}

class Drive {
  readonly #target: string;
  readonly #retain: number;
  readonly #kills: number;
  readonly #random: (below: number) => number;
  /** By number; those that were deleted by hand are missing. */
  #snapshots: (Snapshot | undefined)[] = [];
  /** Inodes that were edited in place since a compact told of them. */
  readonly #pending = new Set<number>();
  readonly #untold: string[] = [];
  readonly #complaints: string[] = [];
  readonly #did = { compacts: 0, kills: 0, edits: 0, deleted: 0, chmods: 0 };
  #lastMs = 1000;

  constructor(target: string, { retain, kills, seed }: YearOptions) {
    this.#target = target;
    this.#kills = kills;
    this.#retain = retain;
    this.#random = randomFrom(seed);
    this.#snapshots = [0, 1].map((number) => this.#take(number));
  }

  #folder(number: number): string {
    return join(this.#target, `daily.${number}`);
  }

  #take(number: number): Snapshot {
    const files = filesBelow(this.#folder(number));
    return {
      digests: new Map(files.map((path) => [path, digestOf(join(this.#folder(number), path))])),
      edited: new Set(),
    };
  }

  /** As rsnapshot does: every snapshot moves on by one, and what reaches the end goes. */
  rotated(): void {
    this.#snapshots = [this.#take(0), ...this.#snapshots].slice(0, this.#retain);
  }

  /** What people do in a day. */
  live(): void {
    const dice = this.#random(10);
    const there = this.#snapshots.flatMap((snapshot, number) => (snapshot === undefined ? [] : [number]));
    const number = there[this.#random(there.length)]!;
    if (dice === 0 && there.length > 3 && number > 1) {
      rmSync(this.#folder(number), { recursive: true });
      this.#snapshots[number] = undefined;
      this.#did.deleted += 1;
    } else if (dice === 1) {
      execFileSync("chmod", ["-R", this.#random(2) === 0 ? "o-rwx" : "o+r", this.#folder(number)]);
      this.#did.chmods += 1;
    } else if (dice <= 3) this.#edit(number);
  }

  /** Writes into a file, by one of its names: all of them show it. */
  #edit(number: number): void {
    const paths = [...(this.#snapshots[number]?.digests.keys() ?? [])];
    const path = paths[this.#random(paths.length)]!;
    const { ino } = lstatSync(join(this.#folder(number), path));
    appendFileSync(join(this.#folder(number), path), `written in place ${this.#did.edits}\n`);
    // What no compact has seen yet has nothing to be compared with.
    if (new Set(objectsOf(this.#target).values()).has(String(ino))) this.#pending.add(ino);
    this.#did.edits += 1;
    for (const name of this.#namesOf(ino)) name.snapshot.edited.add(name.path);
  }

  *#namesOf(ino: number): Generator<{ snapshot: Snapshot; number: number; path: string }> {
    for (const [number, snapshot] of this.#snapshots.entries())
      for (const path of snapshot?.digests.keys() ?? [])
        if (lstatSync(join(this.#folder(number), path), { throwIfNoEntry: false })?.ino === ino)
          yield { snapshot: snapshot!, number, path };
  }

  /** A compact, perhaps after some that are killed on the way. */
  async care(): Promise<void> {
    const wanted = new Map<number, string[]>();
    for (const ino of this.#pending)
      wanted.set(
        ino,
        [...this.#namesOf(ino)].map(({ number, path }) => `daily.${number}/${path}`),
      );
    const told = new Set<string>();
    for (let kills = this.#random(this.#kills + 1); kills > 0; kills -= 1) {
      for (const path of await killedCompact(this.#target, this.#random(this.#lastMs))) told.add(path);
      this.#did.kills += 1;
    }
    const started = performance.now();
    const run = compact(this.#target);
    this.#lastMs = Math.ceil(performance.now() - started);
    this.#did.compacts += 1;
    for (const path of affectedOf(run.events)) told.add(path);
    if (run.code !== 0 && run.code !== 4)
      this.#complaints.push(`a compact ended with ${run.code}: ${JSON.stringify(failuresOf(run))}`);
    for (const names of wanted.values()) this.#untold.push(...names.filter((name) => !told.has(name)));
    this.#pending.clear();
  }

  end(): Year {
    const wrong = this.#snapshots.flatMap((snapshot, number) =>
      snapshot === undefined ? [] : this.#wrongIn(snapshot, number),
    );
    return {
      ...{ target: this.#target, wrong, untold: this.#untold },
      ...{ complaints: this.#complaints, did: this.#did },
    };
  }

  #wrongIn({ digests, edited }: Snapshot, number: number): string[] {
    const folder = this.#folder(number);
    if (!existsSync(folder)) return [`daily.${number} is gone`];
    const now = new Set(filesBelow(folder));
    return [
      ...[...digests]
        .filter(
          ([path, digest]) =>
            !edited.has(path) && (!now.has(path) || digestOf(join(folder, path)) !== digest),
        )
        .map(([path]) => `daily.${number}/${path}`),
      ...[...now].filter((path) => !digests.has(path)).map((path) => `daily.${number}/${path} is new`),
    ];
  }
}

/** The names that it told of before it died. */
async function killedCompact(target: string, afterMs: number): Promise<string[]> {
  const args = [dedupeScript, "compact", "--json", "--priority", "normal", target];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  let out = "";
  child.stdout.on("data", (part: Buffer) => (out += part.toString()));
  const timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
  await new Promise((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  const lines = out.split("\n").filter((line) => line.endsWith("}"));
  return affectedOf(lines.map((line) => JSON.parse(line) as CompactRun["events"][number]));
}

const affectedOf = (events: CompactRun["events"]): string[] =>
  events.flatMap(({ type, path }) => (type === "affected" && path !== undefined ? [path] : []));
const failuresOf = ({ events }: CompactRun) => events.filter(({ type }) => type === "failure").slice(0, 3);

function filesBelow(root: string, at = ""): string[] {
  return readdirSync(join(root, at), { withFileTypes: true }).flatMap((entry) => {
    const path = at === "" ? entry.name : `${at}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(root, path);
    return entry.isFile() && lstatSync(join(root, path)).size > 0 ? [path] : [];
  });
}

const digestOf = (path: string): string => createHash("sha1").update(readFileSync(path)).digest("hex");

/** st_blocks of the snapshots' files, each inode counted once, and of a fresh migration of the same tree, in bytes. */
export function diskUse(target: string, folder: string): { kept: number; fresh: number } {
  const other = mkdtempSync(join(folder, "fresh-"));
  const { code, err } = migrate(target, other);
  if (code !== 0) throw new Error(err);
  return { kept: blocksOf(target), fresh: blocksOf(other) };
}

function blocksOf(root: string): number {
  const files = manifest(root).filter(({ path, type }) => type === "file" && !path.startsWith(".dedupe"));
  const blocks = new Map(files.map(({ inode, blocks: count }) => [inode, count]));
  return [...blocks.values()].reduce((sum, count) => sum + count * 512, 0);
}

import {
  chmodSync,
  closeSync,
  copyFileSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { repositoryRoot } from "./repository-root.ts";

const dayMs = 86_400_000;
const firstDayMs = Date.UTC(2024, 2, 1, 2, 30);
/* A day. Over 30 days one and a half times as many inodes come as there were at first. */
const changedShare = 0.05;

/** A tree of real files that changes as a server's does from day to day; the same seed, the same tree. */
export interface ChangingTree {
  readonly root: string;
  /** Midnight backups: the day whose state the tree has. */
  readonly dayMs: number;
  /** Lives one day on: packages get new versions, files come, go, move, are touched and change their mode. */
  change(): void;
}

export interface ChangingTreeOptions {
  readonly files: number;
  readonly seed: number;
  /** Larger ones are left out. Default 12 MB. */
  readonly largestFileBytes?: number;
}

export function makeChangingTree(root: string, options: ChangingTreeOptions): ChangingTree {
  const { files: fileCount, seed, largestFileBytes = 12_000_000 } = options;
  const startedMs = Date.now();
  const random = randomFrom(seed);
  const packages = shuffled(listPackages(), random);
  const spare: string[] = [];
  let copied = 0;
  for (let round = 0; copied < fileCount; round += 1) {
    for (const from of packages) {
      const files = listFiles(from.path).filter((file) => statSync(file).size <= largestFileBytes);
      if (copied >= fileCount) spare.push(...files.slice(0, 4));
      else copied += copyPackage(from.path, files, join(root, round === 0 ? "" : `site-${round}`, from.name));
    }
  }
  linkCommands(root, random);
  let day = 0;
  stampFresh(root, firstDayMs, startedMs);
  return {
    root,
    get dayMs() {
      return firstDayMs + day * dayMs;
    },
    change: () => {
      day += 1;
      changeDay({ root, random, spare, atMs: firstDayMs + day * dayMs });
      stampFresh(root, firstDayMs + day * dayMs, startedMs);
    },
  };
}

interface Day {
  readonly root: string;
  readonly random: () => number;
  /** Real files that are not in the tree yet. */
  readonly spare: readonly string[];
  readonly atMs: number;
}

function changeDay(day: Day): void {
  const groups = shuffled([...groupBy(listFiles(day.root), dirname).values()], day.random);
  let left = Math.max(6, Math.round(groups.flat().length * changedShare));
  for (const group of groups) {
    if (left <= 0) return;
    const some = shuffled(group, day.random).slice(0, Math.min(left, 1 + Math.ceil(group.length * 0.4)));
    some.forEach((path) => changeFile(path, day));
    left -= some.length;
  }
}

function changeFile(path: string, day: Day): void {
  const dice = day.random();
  if (dice < 0.62) editFile(path, day);
  else if (dice < 0.74) addFile(path, day);
  else if (dice < 0.82) rmSync(path);
  else if (dice < 0.9) renameSync(path, `${path}.${Math.floor(day.random() * 1000)}`);
  else if (dice < 0.97) touch(path, day);
  else chmodSync(path, (statSync(path).mode & 0o7777) ^ 0o011);
}

/** In package.json the next version; elsewhere a line more, or other bytes at the same length. */
function editFile(path: string, day: Day): void {
  const content = readFileSync(path);
  if (path.endsWith("/package.json")) {
    writeFileSync(path, content.toString().replace(/("version": *"\d+\.\d+\.)(\d+)/, bumped));
  } else if (content.length === 0 || day.random() < 0.5) {
    writeFileSync(path, Buffer.concat([content, Buffer.from(`\n// ${new Date(day.atMs).toISOString()}\n`)]));
  } else {
    const opened = openSync(path, "r+");
    writeSync(opened, `changed ${day.random()}`.slice(0, content.length), 0);
    closeSync(opened);
  }
  touch(path, day);
}

function bumped(_match: string, before: string, patch: string): string {
  return `${before}${Number(patch) + 1}`;
}

function addFile(beside: string, day: Day): void {
  const from = day.spare[Math.floor(day.random() * day.spare.length)] ?? beside;
  const added = `${beside}.${Math.floor(day.random() * 1000)}.new`;
  copyFileSync(from, added);
  chmodSync(added, 0o644);
  touch(added, day);
}

/**
 * What carries today's real date gets the day's. rsync compares times by the second: where two runs are less
 * than a second apart it would leave directories and symlinks with the time of the run before.
 */
function stampFresh(root: string, atMs: number, startedMs: number): void {
  const entries = readdirSync(root, { withFileTypes: true, recursive: true });
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  for (const path of [...paths, root]) {
    if (lstatSync(path).mtimeMs >= startedMs - 1000) lutimesSync(path, atMs / 1000, atMs / 1000);
  }
}

/** At some moment of the day before the backup. */
function touch(path: string, day: Day): void {
  const seconds = (day.atMs - day.random() * dayMs) / 1000;
  utimesSync(path, seconds, seconds);
}

interface Package {
  readonly name: string;
  readonly path: string;
}

/** The packages installed for this project; sorted, so that a seed means the same on every machine. */
function listPackages(): Package[] {
  const modules = join(repositoryRoot, "node_modules");
  const names = readdirSync(modules).filter((name) => !name.startsWith("."));
  const nested = names.flatMap((name) =>
    name.startsWith("@") ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`) : [name],
  );
  return nested.sort().map((name) => ({ name, path: join(modules, name) }));
}

function listFiles(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function copyPackage(from: string, files: readonly string[], to: string): number {
  for (const file of files) {
    const found = statSync(file);
    const target = to + file.slice(from.length);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file, target);
    utimesSync(target, found.mtime, found.mtime);
  }
  return files.length;
}

/** What npm puts into .bin, and an empty file and a dangling link, as every real tree has them. */
function linkCommands(root: string, random: () => number): void {
  const bin = join(repositoryRoot, "node_modules/.bin");
  mkdirSync(join(root, ".bin"), { recursive: true });
  for (const name of readdirSync(bin).sort()) {
    if (lstatSync(join(bin, name)).isSymbolicLink() && random() < 0.5) {
      symlinkSync(readlinkSync(join(bin, name)), join(root, ".bin", name));
    }
  }
  symlinkSync("../gone", join(root, ".bin/dangling"));
  writeFileSync(join(root, "empty.lock"), "");
}

function groupBy(paths: readonly string[], key: (path: string) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const path of paths) {
    const group = groups.get(key(path));
    if (group === undefined) groups.set(key(path), [path]);
    else group.push(path);
  }
  return groups;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}

/** mulberry32: 32 bits of state are plenty for picking files. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compact, compactWell, mismatches, objectsOf } from "../support/compact.ts";
import { makeWorkplace, migrate, type Workplace } from "../support/dedupe.ts";
import { manifest } from "../support/oracle.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { keepingTime } from "../support/store-objects.ts";

let work: Workplace;
beforeAll(() => {
  work = makeWorkplace(2 ** 30);
});
afterAll(() => work.close());

/** A fresh target whose store needs no care, and files in it that are what the cases below begin with. */
function makeTarget(files: Record<string, [content: string, mode?: number]> = {}): string {
  const folder = mkdtempSync(join(work.path, "plan-"));
  const [source, target] = [join(folder, "source"), join(folder, "target")];
  makeSmallRoot(source, "monday");
  for (const [name, [content, mode = 0o644]] of Object.entries(files)) put(join(source, name), content, mode);
  mkdirSync(target);
  const run = migrate(source, target);
  if (run.code !== 0) throw new Error(run.err);
  compactWell(target);
  return target;
}

function put(path: string, content: string, mode = 0o644): void {
  writeFileSync(path, content);
  chmodSync(path, mode);
  utimesSync(path, 1, 1_600_000_000);
}

function copy(from: string, to: string): void {
  execFileSync("cp", ["-p", from, to]);
}

/** What a dry run and the run itself both tell. */
function sharedFigures({ summary, events }: ReturnType<typeof compact>) {
  const { sweep, adopt, refile, prune, fold, freedBytes, findings, affectedNames } = summary;
  const { names, directories, objects, holders } = summary;
  const { unknown, droppedRows } = summary.index;
  const index = { unknown, droppedRows };
  const affected = events.flatMap(({ type, path }) => (type === "affected" ? [path] : [])).sort();
  const counts = { freedBytes, findings, affectedNames, names, directories, objects, holders };
  return { sweep, adopt, refile, prune, fold, index, ...counts, affected };
}

/** Runs both. @returns what they agree in, which is what the run did */
function foreseen(target: string, ...options: string[]): ReturnType<typeof sharedFigures> {
  const dry = compact(target, "--dry-run", ...options);
  const run = compact(target, ...options);
  expect(run.summary.failures).toBe(0);
  expect(sharedFigures(dry)).toEqual(sharedFigures(run));
  expect(dry.code).toBe(run.code);
  return sharedFigures(run);
}

const pathOfObject = (target: string, name: string): string => {
  const { inode } = manifest(target).find(({ path }) => path === name)!;
  const [object] = [...objectsOf(target)].find(([, of]) => of === inode)!;
  return join(target, ".dedupe/objects", object);
};

describe("a dry run of compact foresees", () => {
  it("merges of what becomes another object, and of what become one", () => {
    const target = makeTarget({
      "daily.0/a": ["the same\n"],
      "daily.0/b": ["the same\n", 0o600],
      "daily.0/c": ["the same, too\n", 0o600],
      "daily.0/d": ["the same, too\n", 0o640],
      "daily.0/e": ["becomes what is new\n", 0o600],
    });
    chmodSync(join(target, "daily.0/b"), 0o644);
    for (const name of ["c", "d", "e"]) chmodSync(join(target, "daily.0", name), 0o666);
    copy(join(target, "daily.0/e"), join(target, "daily.0/new"));
    const { adopt, refile } = foreseen(target);
    expect(refile.objects).toBe(4);
    expect(adopt).toMatchObject({ inodes: 1, mergedInodes: 3, linkedNames: 3 });
    expect(mismatches(target)).toEqual([]);
  });

  it("that two objects change places", () => {
    const target = makeTarget({ "daily.0/a": ["the same\n"], "daily.0/b": ["the same\n", 0o600] });
    chmodSync(join(target, "daily.0/a"), 0o600);
    chmodSync(join(target, "daily.0/b"), 0o644);
    expect(foreseen(target)).toMatchObject({ refile: { objects: 2 } });
  });

  it("merges by what was written in place, and its names where the index is gone", () => {
    const target = makeTarget({ "daily.0/a": ["the same\n"], "daily.0/b": ["another\n"] });
    const [a, b] = [join(target, "daily.0/a"), join(target, "daily.0/b")];
    writeFileSync(b, readFileSync(a));
    utimesSync(b, 1, 1_600_000_000);
    appendFileSync(join(target, "daily.0/docs/kept"), "written into\n");
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expect(foreseen(target)).toMatchObject({ findings: { content: 2 } });
  });

  it("what is pruned when leftovers are swept, and what new names keep", () => {
    const target = makeTarget({
      "daily.0/a": ["only what was staged has it\n"],
      "daily.0/c": ["somebody has it again\n"],
      "daily.0/d": ["nobody has it\n"],
    });
    const [a, c, d] = ["a", "c", "d"].map((name) => join(target, "daily.0", name));
    const staged = join(target, ".dedupe/staging/s0123456789abcdef0123456789abcdef");
    mkdirSync(join(staged, "below"), { recursive: true });
    linkSync(a!, join(staged, "a"));
    linkSync(a!, join(staged, "below/a"));
    linkSync(join(target, "daily.0/docs/kept"), join(staged, "kept"));
    copyFileSync(c!, join(target, "daily.0/new"));
    chmodSync(join(target, "daily.0/new"), 0o644);
    utimesSync(join(target, "daily.0/new"), 1, 1_600_000_000);
    for (const path of [a!, c!, d!]) rmSync(path);
    const { prune, adopt, index } = foreseen(target, "--forget-unfinished");
    expect(prune.objects).toBe(2);
    expect(adopt).toMatchObject({ inodes: 1, mergedInodes: 1 });
    expect(index.droppedRows).toBeGreaterThan(2);
    expect(mismatches(target)).toEqual([]);
  });

  it.each(["sweep,refile,prune", "sweep,prune", "sweep,adopt,refile,prune,fold,index"])(
    "what is pruned of what was emptied, and of what was filled, when leftovers are swept: %s",
    (steps) => {
      const target = makeTarget({ "daily.0/a": ["to be emptied\n"] });
      const staged = join(target, ".dedupe/staging/s0123456789abcdef0123456789abcdef");
      mkdirSync(staged, { recursive: true });
      const holder = execFileSync("find", [join(target, ".dedupe/groups"), "-type", "f"])
        .toString()
        .split("\n")[0]!;
      const { ino } = statSync(holder);
      const names = execFileSync("find", [target, "-path", "*/daily.*", "-inum", String(ino)]).toString();
      renameSync(join(target, "daily.0/a"), join(staged, "a"));
      linkSync(holder, join(staged, "holder"));
      for (const name of names.trim().split("\n")) rmSync(name);
      truncateSync(join(staged, "a"));
      writeFileSync(holder, "filled\n");
      const { prune } = foreseen(target, "--forget-unfinished", "--steps", steps);
      expect(prune).toMatchObject({ objects: 1, holders: 1 });
    },
  );

  it("that the index remembers what was lost", () => {
    const target = makeTarget({ "daily.0/a": ["to be emptied by a failing disk\n"] });
    const object = pathOfObject(target, "daily.0/a");
    keepingTime(object, () => truncateSync(object));
    for (let night = 0; night < 2; night++)
      expect(foreseen(target)).toMatchObject({ findings: { content: 1 }, index: { droppedRows: 0 } });
  });

  it("names of a sibling that is folded", () => {
    const target = makeTarget();
    const [first, second] = [join(target, "daily.0/docs/kept"), join(target, "daily.1/docs/kept")];
    const sibling = `${pathOfObject(target, "daily.0/docs/kept")}.1`;
    copy(first, sibling);
    rmSync(second);
    linkSync(sibling, second);
    compactWell(target, "--steps", "index");
    const { fold, adopt } = foreseen(target);
    expect(fold.siblings).toBe(1);
    expect(adopt).toMatchObject({ inodes: 0, mergedInodes: 1, linkedNames: 1 });
    expect(statSync(first).ino).toBe(statSync(second).ino);
  });

  it("that siblings stay where something else has the name of one", () => {
    const target = makeTarget();
    const [first, second] = [join(target, "daily.0/docs/kept"), join(target, "daily.1/docs/kept")];
    const object = pathOfObject(target, "daily.0/docs/kept");
    copy(first, `${object}.2`);
    rmSync(second);
    linkSync(`${object}.2`, second);
    renameSync(object, `${object}.1`);
    mkdirSync(object);
    for (const run of [compact(target, "--dry-run", "--steps", "fold"), compact(target, "--steps", "fold")])
      expect(run.summary.fold).toEqual({ siblings: 0 });
    expect(statSync(`${object}.2`).ino).toBe(statSync(second).ino);
  });

  it("nothing of steps that are not asked for", () => {
    const target = makeTarget({ "daily.0/a": ["gone\n"] });
    rmSync(join(target, "daily.0/a"));
    foreseen(target, "--steps", "sweep,refile");
  });
});

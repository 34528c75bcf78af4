import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { dedupe, makeWorkplace, startDedupe, type Workplace } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { migrateWell } from "../support/migrate.ts";
import { makeManyNames } from "../support/many-names.ts";
import { makeRsnapshotRoot, requireRsnapshot, type RsnapshotRoot } from "../support/rsnapshot.ts";
import { requireLoop } from "../support/skip.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { figuresOf, oracleFigures, stats } from "../support/stats.ts";

const MIB = 2 ** 20;

let workplace: Workplace;
let work = "";

beforeAll(() => {
  workplace = makeWorkplace();
});
afterAll(() => workplace.close());
beforeEach(() => {
  work = join(workplace.path, "work");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work);
});

/** What du says of one folder, or of several together. */
function du(...paths: string[]): number {
  const said = execFileSync("du", ["-s", "-c", "--block-size=1", ...paths], { encoding: "utf8" });
  return Number(/^(\d+)\ttotal$/m.exec(said)?.[1]);
}

function agree(root: string, ...options: string[]): ReturnType<typeof stats> {
  const run = stats([...options, root]);
  expect(run).toMatchObject({ code: 0, err: "" });
  expect(figuresOf(run)).toEqual(oracleFigures(root, run));
  return run;
}

describe.skipIf(!requireRsnapshot() || !requireLoop())("stats of a real rsnapshot root", () => {
  let made: RsnapshotRoot;
  let target = "";

  beforeAll(() => {
    made = makeRsnapshotRoot(join(workplace.path, "root"), {
      snapshots: 8,
      scale: 0.04,
      largestFileBytes: 1e6,
    });
    target = join(workplace.path, "target");
    mkdirSync(target);
    migrateWell(made.root, target);
  });
  afterAll(() => made.close());

  it("agrees with an independent count, before and after a migrate, and with du", () => {
    const before = agree(made.root, "--if-deleted", "daily.2..daily.5");
    expect(before.summary).toMatchObject({ store: "missing", snapshots: 8, brokenChains: 0, objects: 0 });
    const after = agree(target, "--if-deleted", "daily.2..daily.5");
    expect(after.summary).toMatchObject({ store: "read", snapshots: 8, index: "read", brokenChains: 0 });
    for (const root of [made.root, target]) {
      const run = root === target ? after : before;
      expect(run.rows["daily.3"]).toMatchObject({ bytes: du(join(root, "daily.3")) });
      const { bytes, unnamedBytes, storeBytes } = run.summary;
      expect(bytes + unnamedBytes + storeBytes).toBe(du(root));
    }
  });

  it("says what deleting snapshots frees, which is what is free once the store lets go, too", () => {
    const run = stats(["--if-deleted", "daily.6..7", "--if-deleted", "daily.0/", target]);
    const { ifDeleted } = run.summary;
    expect(ifDeleted).toMatchObject({ sets: ["daily.6..7", "daily.0/"], snapshots: 3 });
    const before = du(target);
    const copy = join(workplace.path, "copy");
    execFileSync("cp", ["-a", target, copy]);
    for (const name of ["daily.0", "daily.6", "daily.7"]) rmSync(join(copy, name), { recursive: true });
    const left = agree(copy).summary;
    expect(left.unnamedObjects).toBeGreaterThan(0);
    for (const two of readdirSync(join(copy, ".dedupe/objects")))
      for (const rest of readdirSync(join(copy, ".dedupe/objects", two))) {
        const path = join(copy, ".dedupe/objects", two, rest);
        if (lstatSync(path).nlink === 1) rmSync(path);
      }
    expect(before - du(copy)).toBe(ifDeleted!.bytes);
    rmSync(copy, { recursive: true });
  });

  it("counts the same with any number of threads, and when directories are too young to be trusted", () => {
    const one = stats(["-j", "1", target]);
    execFileSync("find", [target, "-type", "d", "-exec", "touch", "-d", "tomorrow", "{}", "+"]);
    const four = stats(["-j", "4", target]);
    expect(figuresOf(four)).toEqual(figuresOf(one));
    const largest = ({ events }: typeof one) => events.filter(({ type }) => type === "largest");
    expect(largest(four)).toEqual(largest(one));
  });

  it("points out a snapshot whose links were lost, and the command that heals it", () => {
    const broken = join(workplace.path, "broken");
    execFileSync("cp", ["-a", made.root, broken]);
    execFileSync("cp", ["-a", join(broken, "daily.4"), join(broken, "copied")]);
    rmSync(join(broken, "daily.4"), { recursive: true });
    execFileSync("mv", [join(broken, "copied"), join(broken, "daily.4")]);
    const { out } = dedupe(["stats", "--no-progress", broken]);
    expect(out.match(/^broken chain: .*$/gm)).toEqual([
      "broken chain: daily.3 shares no file with daily.4, which was made before it",
      "broken chain: daily.4 shares no file with daily.5, which was made before it",
    ]);
    expect(out).toContain(`  dedupe relink --dry-run ${broken}\n`);
    execFileSync(process.execPath, ["bin/dedupe.js", "relink", "--no-progress", "-q", broken]);
    expect(agree(broken).summary.brokenChains).toBe(0);
    rmSync(broken, { recursive: true });
  });
});

describe("stats", () => {
  it("knows snapshots, other directories and loose names, and what merging saved", () => {
    const [source, target] = [join(work, "source"), join(work, "target")];
    makeSmallRoot(source, "monday");
    mkdirSync(target);
    migrateWell(source, target);
    const { rows, summary } = agree(target);
    expect(Object.entries(rows).map(([path, { kind }]) => [path, kind])).toEqual([
      ["daily.0", "snapshot"],
      ["daily.1", "snapshot"],
      ["other", "directory"],
      ["", "loose"],
    ]);
    // "twin" is two inodes in the source.
    expect(summary).toMatchObject({ mergedInodes: 1, mergedBytes: 32, index: "read" });
    writeFileSync(join(target, ".dedupe/index/data.mdb"), "no index".repeat(1000));
    expect(agree(target).summary).toMatchObject({ mergedInodes: 0, index: "damaged" });
  });

  it("knows what merging saved though the index was made anew, and what objects/ holds besides objects", () => {
    const [source, target] = [join(work, "source"), join(work, "target")];
    makeSmallRoot(source, "monday");
    mkdirSync(target);
    migrateWell(source, target);
    const { objects, indexedInodes } = agree(target).summary;
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expect(dedupe(["compact", "-q", "--no-progress", target]).code).toBe(0);
    migrateWell(source, target);
    const inObjects = (...names: string[]): string => join(target, ".dedupe/objects", ...names);
    const [folder] = readdirSync(inObjects());
    const [object] = readdirSync(inObjects(folder!));
    execFileSync("mkfifo", [inObjects(folder!, "0".repeat(62))]);
    symlinkSync("nowhere", inObjects("link"));
    // No snapshot has it, but one that is being built; and one that lies outside.
    for (const at of [0, 1])
      writeFileSync(inObjects(folder!, `${"0".repeat(62)}.${at}${"0".repeat(15)}`), "x");
    linkSync(inObjects(folder!, `${"0".repeat(62)}.0${"0".repeat(15)}`), join(target, ".dedupe/staging/u1"));
    linkSync(inObjects(folder!, `${"0".repeat(62)}.1${"0".repeat(15)}`), join(work, "outside"));
    expect(object).toMatch(/^[0-9a-f]{62}\./);
    expect(agree(target).summary).toMatchObject({
      ...{ index: "read", merge: "all", ignored: [] },
      ...{ indexedInodes, mergedInodes: 1, mergedBytes: 32 },
      ...{ objects: objects + 2, elsewhereInodes: 1, elsewhereBytes: 4096 },
    });
  });

  it("counts no inode as alone that has a name outside, and says so", () => {
    const root = join(work, "root");
    makeSmallRoot(root, "monday");
    linkSync(join(root, "daily.1/docs/edited"), join(work, "outside"));
    expect(agree(root).summary).toMatchObject({ elsewhereInodes: 1, elsewhereBytes: 4096 });
  });

  it("does not count as free what a run has staged", () => {
    const [source, target] = [join(work, "source"), join(work, "target")];
    makeSmallRoot(source, "monday");
    mkdirSync(target);
    migrateWell(source, target);
    linkSync(join(target, "daily.0/docs/edited"), join(target, ".dedupe/staging/kept"));
    expect(agree(target).rows["daily.0"]).toMatchObject({ aloneInodes: 0 });
    rmSync(join(target, "daily.0"), { recursive: true });
    expect(agree(target).summary.unnamedObjects).toBe(0);
    rmSync(join(target, ".dedupe/staging/kept"));
    expect(agree(target).summary).toMatchObject({ unnamedObjects: 1, unnamedBytes: 4096 });
  });

  it("takes ranges and patterns of nested snapshots, and refuses those that mean nothing", () => {
    const root = join(work, "root");
    for (const host of ["one", "two"])
      for (const day of ["2024-05-01", "2024-05-02", "2024-05-03"]) {
        mkdirSync(join(root, host, day), { recursive: true });
        writeFileSync(join(root, host, day, "file"), day);
      }
    const sets = ["--if-deleted", "*/2024-05-03", "--if-deleted", "two/2024-05-01..two/2024-05-02"];
    expect(agree(root, ...sets).summary.ifDeleted).toMatchObject({ snapshots: 4, inodes: 4 });
    const refused = dedupe(["stats", "--if-deleted", "daily.3..daily.5", root]);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.err).toContain(`dedupe: no snapshot of ${root} is meant by 'daily.3..daily.5'\n`);
  });

  it("takes what --snapshots names", () => {
    const root = join(work, "root");
    for (const name of ["left", "right"]) {
      mkdirSync(join(root, name, "deep"), { recursive: true });
      writeFileSync(join(root, name, "deep/file"), name);
    }
    expect(agree(root, "--snapshots", "l*").summary.snapshots).toBe(1);
  });

  it("escapes names on a terminal and in rows, and gives them exactly as JSON", () => {
    const root = join(work, "root");
    const bytes = Buffer.concat([Buffer.from(join(root, 'daily.0/a"b,\n')), Buffer.from([0xff, 0x1b])]);
    mkdirSync(join(root, "daily.0"), { recursive: true });
    writeFileSync(bytes, "x".repeat(5000));
    mkdirSync(join(root, 'a "quoted", name\nin two lines'));
    writeFileSync(join(root, 'a "quoted", name\nin two lines/f'), "x");
    const run = agree(root);
    const largest = run.events.find(({ type }) => type === "largest");
    expect(Buffer.from((largest!["path"] as { bytes: string }).bytes, "base64")).toEqual(
      Buffer.concat([Buffer.from('daily.0/a"b,\n'), Buffer.from([0xff, 0x1b])]),
    );
    const { out } = dedupe(["stats", "--no-progress", root]);
    expect(out).toContain(String.raw`daily.0/a"b,\n\xff\x1b`);
    const csv = dedupe(["stats", "--csv", root]);
    expect(csv).toMatchObject({ code: 0, err: "" });
    expect(csv.out.split("\r\n")[2]).toMatch(/^directory,"a ""quoted"", name\\nin two lines",2,1,1,\d+,/);
    expect(csv.out.split("\r\n").map((line) => line.split(",")[0])).toEqual([
      "kind",
      "snapshot",
      "directory",
      "loose",
      "",
    ]);
  });

  it("prints a table that adds up", () => {
    const root = join(work, "root");
    mkdirSync(join(root, "daily.0"), { recursive: true });
    writeFileSync(join(root, "daily.0/file"), Buffer.alloc(1_000_000, 1));
    symlinkSync("file", join(root, "daily.0/link"));
    execFileSync("cp", ["-al", join(root, "daily.0"), join(root, "daily.1")]);
    const { out } = dedupe(["stats", "-j", "2", "--no-progress", "--if-deleted", "daily.*", root]);
    const shown = out.replace(/after [\d.]+ s/, "after T").replaceAll(root, "ROOT");
    expect(shown).toBe(readFileSync(new URL("golden/stats.txt", import.meta.url), "utf8"));
  });

  it("goes on past what it may not read, lists it and ends with 3", () => {
    const root = join(work, "root");
    mkdirSync(join(root, "daily.0/closed"), { recursive: true });
    writeFileSync(join(root, "daily.0/open"), "x");
    chmodSync(join(root, "daily.0/closed"), 0o700);
    chmodSync(work, 0o755);
    mkdirSync(join(root, ".dedupe"), { mode: 0o700 });
    if (process.getuid?.() !== 0) return;
    const run = stats([root], { uid: 1000, gid: 1000 });
    expect(run.code).toBe(3);
    expect(run.events.filter(({ type }) => type === "failure").map(({ path, code }) => [path, code])).toEqual(
      expect.arrayContaining([
        ["daily.0/closed", "EACCES"],
        [".dedupe", "EACCES"],
      ]),
    );
    expect(run.summary).toMatchObject({ outcome: "partial", store: "hidden", failures: 2, inodes: 1 });
  });

  it("refuses what is no directory, and options that contradict each other", () => {
    writeFileSync(join(work, "file"), "");
    const refused = dedupe(["stats", join(work, "file")]);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain("is not a directory");
    expect(dedupe(["stats", "--json", "--csv", work]).code).toBe(2);
  });

  it("stops on a signal without figures", async () => {
    const root = join(work, "root");
    makeManyNames(root, { kind: "file", snapshots: 20, namesInEach: 3000 });
    const { process: started, ended } = startDedupe(["stats", "--json", root]);
    started.stdout!.once("data", () => started.kill("SIGTERM"));
    const run = await ended;
    const summary = JSON.parse(run.out.trim().split("\n").at(-1)!) as object;
    expect(run.code).toBe(143);
    expect(summary).toMatchObject({ outcome: "stopped", exitCode: 143 });
  });
});

describe("stats on other mounts", () => {
  it.skipIf(!requireFilesystem("ext4"))("reads a read-only mount and leaves nothing there", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount, filesystem) => {
      const [source, target] = [join(work, "source"), join(mount, "target")];
      makeSmallRoot(source, "monday");
      mkdirSync(target);
      migrateWell(source, target);
      filesystem.cycle("ro");
      const list = () =>
        execFileSync("find", [target, "-printf", "%p %i %s %T@ %C@\n"], { encoding: "utf8" });
      const before = list();
      expect(agree(target).summary).toMatchObject({ index: "read", mergedInodes: 1 });
      filesystem.cycle("");
      agree(target);
      expect(list()).toBe(before);
    });
  });

  it.skipIf(!requireFilesystem("btrfs"))(
    "tells btrfs snapshots apart, whose inode numbers repeat",
    async () => {
      await withFilesystem({ type: "btrfs", sizeBytes: 256 * MIB }, (mount) => {
        const run = (...args: string[]) => execFileSync("btrfs", ["subvolume", ...args], { stdio: "pipe" });
        run("create", join(mount, "daily.1"));
        for (let at = 0; at < 30; at++)
          writeFileSync(join(mount, "daily.1", `f${at}`), "x".repeat(5000 + at));
        run("snapshot", join(mount, "daily.1"), join(mount, "daily.0"));
        execFileSync("sync", ["-f", mount]);
        const { rows, summary } = agree(mount, "--if-deleted", "daily.1");
        expect(rows["daily.0"]).toMatchObject({ inodes: 30, aloneInodes: 30 });
        expect(summary.inodes).toBe(60);
      });
    },
  );

  it.skipIf(!requireLoop())("sees through a mount below the target that inodes are reached twice", () => {
    const root = join(work, "root");
    mkdirSync(join(root, "daily.0/inner"), { recursive: true });
    mkdirSync(join(root, "daily.1"));
    writeFileSync(join(root, "daily.1/file"), "x".repeat(5000));
    execFileSync("mount", ["--bind", join(root, "daily.1"), join(root, "daily.0/inner")]);
    try {
      const { summary, rows } = stats([root]);
      expect(summary).toMatchObject({ inodes: 1, twiceInodes: 1 });
      expect(rows["daily.1"]).toMatchObject({ aloneInodes: 0 });
    } finally {
      execFileSync("umount", [join(root, "daily.0/inner")]);
    }
  });

  it.skipIf(!requireFilesystem("ext4"))("says how near the link limit inodes are", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount) => {
      const root = join(mount, "root");
      makeManyNames(root, { kind: "file", snapshots: 9, namesInEach: 7000 });
      const { summary } = agree(root);
      expect(summary).toMatchObject({ linkLimit: 65_000, mostLinks: 63_000, nearLimitInodes: 1 });
    });
  });
});

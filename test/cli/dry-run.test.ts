import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { Summary } from "../../src/report/events.ts";
import { dedupeScript, migrateJson, type JsonEvent } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem, type FilesystemType } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { makeHostileTree } from "../support/hostile.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "../support/rsnapshot.ts";
import { requirement } from "../support/skip.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { device, directory, file, linkTo, makeTree, symlink } from "../support/tree.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
const root = requirement(process.getuid?.() === 0, "needs root");
const user = 12_345;

let temporary = "";

useFolders(2 ** 30);

beforeEach(() => {
  temporary = join(work, "tmp");
  mkdirSync(temporary);
  chmodSync(temporary, 0o777);
});

type Settings = { uid?: number; gid?: number };

function environment() {
  return { PATH: process.env["PATH"], LC_ALL: "C", TERM: "dumb", TMPDIR: temporary };
}

/** Runs it with a temporary folder of its own, so that what it leaves there is seen. */
function dryRun(args: readonly string[], settings: Settings = {}) {
  const all = [dedupeScript, "migrate", "--dry-run", "--json", "--no-progress", ...args];
  const options = { encoding: "utf8", maxBuffer: 2 ** 28, env: environment(), ...settings } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, all, options);
  const events = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as JsonEvent);
  return { code: status, events, summary: events.at(-1) as unknown as Summary, err: stderr };
}

/** Everything about every name but the access time, which looking at it changes; and content, but of what is huge. */
function manifest(folder: string): string {
  const names = execFileSync("find", [folder, "-printf", "%P %i %y %m %U %G %s %n %b %T@ %C@ %l\\0"], {
    encoding: "latin1",
    maxBuffer: 2 ** 28,
  });
  const hash = 'find "$1" -type f -size -16M -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum';
  return names + execFileSync("sh", ["-c", hash, "sh", folder], { encoding: "utf8" });
}

const figures = (summary: Summary) => {
  const { readBytes, elapsedMs, peakRssAnonBytes, dryRun: isDry, ...rest } = summary;
  expect(typeof isDry).toBe("boolean");
  expect([readBytes, elapsedMs, peakRssAnonBytes].every((each) => each >= 0)).toBe(true);
  return rest;
};

/** What became of each snapshot and what failed, in an order of their own. */
const outcomes = (events: readonly JsonEvent[]) =>
  events
    .filter(({ type }) => type === "snapshot" || type === "loose" || type === "failure")
    .map((event) => JSON.stringify({ ...event, index: undefined }))
    .sort();

/** The dry run says what the run then does, and leaves no trace. One thread: two may write an equal file twice. */
function expectForeseen(args: readonly string[], settings: Settings = {}) {
  const [, to] = args.slice(-2) as [string, string];
  const before = manifest(to);
  const foreseen = dryRun(args, settings);
  expect(foreseen.err).toBe("");
  expect(manifest(to)).toBe(before);
  expect(readdirSync(temporary)).toEqual([]);
  expect(foreseen.summary.dryRun).toBe(true);
  const done = migrateJson(["-j", "1", ...args], settings);
  expect(done.summary.type, done.err).toBe("summary");
  expect(figures(foreseen.summary)).toEqual(figures(done.summary));
  expect(outcomes(foreseen.events)).toEqual(outcomes(done.events));
  expect(foreseen.code).toBe(done.code);
  return { foreseen, done };
}

describe("on small trees", () => {
  it("foresees a first run, a second one, and one after the source was made anew with changes", () => {
    makeSmallRoot(source, "monday");
    const { done } = expectForeseen([source, target]);
    expect(done.summary).toMatchObject({ mergedInodes: 1, failures: 0, exitCode: 0 });
    const again = expectForeseen([source, target]).foreseen.summary;
    expect(again).toMatchObject({ writtenBytes: 0, createdInodes: 0, linkedNames: 0 });
    expect(again.snapshots).toMatchObject({ unchanged: again.snapshots.total });
    rmSync(source, { recursive: true });
    makeSmallRoot(source, "wednesday");
    expect(expectForeseen([source, target]).done.summary.snapshots.updated).toBeGreaterThan(0);
  });

  it.each([
    ["--merge", "none"],
    ["--ignore-time"],
    ["--ignore-mode", "--ignore-owner", "--ignore-xattrs"],
    ["--no-xattrs"],
    ["--remove-source-files"],
    ["--remove-source-files", "--exclude", "*.too"],
    ["--min-size", "20"],
    ["--max-size", "30"],
    ["--exclude", "docs/", "--exclude", "*too"],
    ["--include", "*/", "--include", "kept*", "--exclude", "*"],
    ["--snapshots", "other"],
    ["--one-file-system"],
    ["--checksum"],
  ])("foresees what %s %s %s %s makes of it, at first and again", (...options) => {
    makeSmallRoot(source, "monday");
    const typed = options.filter((option) => typeof option === "string");
    expectForeseen([...typed, source, target]);
    appendFileSync(join(source, "daily.0/docs/edited"), "more\n");
    writeFileSync(join(source, "daily.1/new"), "identical content in two inodes\n");
    expectForeseen([...typed, source, target]);
  });

  it("knows that directories keep their xattrs with --no-xattrs", () => {
    makeTree(source, { "daily.0/sub": directory({ xattrs: { "user.a": "b" } }), "daily.0/sub/f": file("f") });
    expectForeseen([source, target]);
    const { done } = expectForeseen(["--no-xattrs", source, target]);
    expect(done.summary.snapshots.unchanged).toBe(1);
  });

  it("foresees what --checksum makes anew because it rotted on the target", () => {
    makeTree(source, { "daily.0/a": file("x".repeat(9)), "daily.0/b": file("x".repeat(3 * MIB)) });
    expectForeseen([source, target]);
    for (const name of ["a", "b"]) {
      const [from, to] = [source, target].map((root) => join(root, "daily.0", name)) as [string, string];
      writeFileSync(to, "y".repeat(statSync(to).size));
      execFileSync("touch", ["-r", from, to]);
    }
    const { createdInodes } = expectForeseen(["--checksum", source, target]).done.summary;
    expect(createdInodes).toBe(2);
  });

  it("foresees what --delete removes, what filters protect, and what --max-delete holds back", () => {
    makeSmallRoot(source, "monday");
    makeTree(join(source, "daily.2"), { "a/b/c": file("c"), "a/b/d": symlink("c"), e: file("e") });
    expectForeseen([source, target]);
    rmSync(join(source, "daily.2"), { recursive: true });
    rmSync(join(source, "daily.1/docs"), { recursive: true });
    rmSync(join(source, "loose"));
    writeFileSync(join(source, "daily.0/docs/more"), "more\n");
    const held = expectForeseen(["--delete", "--max-delete", "3", source, target]).done.summary;
    expect(held).toMatchObject({ exitCode: 3 });
    expect(held.deletedNames).toBeLessThan(4);
    const filtered = expectForeseen(["--delete", "--exclude", "c", source, target]).done.summary;
    expect(filtered.deletedNames).toBeGreaterThan(0);
    expect(existsSync(join(target, "daily.2/a/b/c"))).toBe(true);
    expectForeseen(["--delete", source, target]);
    expect(existsSync(join(target, "daily.2"))).toBe(false);
  });

  it("lists the directory that stands in a file's way, as the run does", () => {
    makeTree(source, { "daily.0/x": file("x"), "daily.0/y": file("y"), "daily.1/x": linkTo("daily.0/x") });
    expectForeseen([source, target]);
    makeTree(target, { "daily.1/z/inner": file("in the way") });
    writeFileSync(join(source, "daily.1/z"), "z");
    const { done } = expectForeseen([source, target]);
    expect(done.summary).toMatchObject({ failures: 1, exitCode: 3 });
    expectForeseen(["--delete", source, target]);
  });

  it("counts the names below a directory that became a file, and holds them back beyond --max-delete", () => {
    makeTree(source, { "daily.0/x": file("x"), "daily.0/z/a": file("a"), "daily.0/z/b/c": file("c") });
    expectForeseen([source, target]);
    rmSync(join(source, "daily.0/z"), { recursive: true });
    writeFileSync(join(source, "daily.0/z"), "z");
    const held = expectForeseen(["--delete", "--max-delete", "3", source, target]).done;
    expect(held.summary).toMatchObject({ exitCode: 3, deletedNames: 0, heldDeletes: 1, failures: 1 });
    expect(existsSync(join(target, "daily.0/z/b/c"))).toBe(true);
    const { done } = expectForeseen(["--delete", "--max-delete", "4", source, target]);
    expect(done.summary).toMatchObject({ exitCode: 0, deletedNames: 4, heldDeletes: 0 });
  });

  it("counts what was there before a killed run began, and what that run had finished", async () => {
    makeTree(source, { "daily.0/a": file("a"), "daily.1/a": linkTo("daily.0/a") });
    for (let each = 0; each < 4000; each++) writeFileSync(join(source, `daily.0/${each}`), `${each % 1500}`);
    const args = [dedupeScript, "migrate", "-j", "1", "-q", source, target];
    const killed = spawn(process.execPath, args, { env: environment() });
    const staging = join(target, ".dedupe/staging");
    while (!existsSync(staging) || readdirSync(staging).length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 60));
    killed.kill("SIGKILL");
    await new Promise((resolve) => killed.once("close", resolve));
    expectForeseen([source, target]);
  });

  it.skipIf(!root)("foresees what an ordinary user may not do", () => {
    makeTree(source, {
      "daily.0/secret": file("s", { mode: 0o600 }),
      "daily.0/foreign": file("f", { mode: 0o6755 }),
      "daily.0/closed": directory({ mode: 0o700 }),
      "daily.0/device": device("c", 1, 3),
      "daily.0/mine": file("m", { uid: user, gid: user, xattrs: { "user.a": "b" } }),
      "daily.1/mine": linkTo("daily.0/mine"),
      "daily.1/device": linkTo("daily.0/device"),
    });
    chownSync(target, user, user);
    const { done } = expectForeseen([source, target], { uid: user, gid: user });
    expect(done.summary).toMatchObject({ exitCode: 3, failures: 2 });
    expect(done.summary.lostDevices).toBeGreaterThan(0);
    expectForeseen([source, target], { uid: user, gid: user });
  });
});

describe.skipIf(!requireRsnapshot())("on real rsnapshot roots", () => {
  const types: FilesystemType[] = isLong ? ["ext4", "ext3-128", "xfs", "btrfs"] : ["ext3-128"];
  for (const type of types) {
    it.skipIf(!requireFilesystem(type))(`foresees a life on ${type}`, async () => {
      const made = makeRsnapshotRoot(source, { snapshots: 5, scale: 0.1, largestFileBytes: 2 * MIB });
      // Making .dedupe touches the target's root: in this very second ext3 would have the source's time by chance.
      utimesSync(source, 1e9, 1e9);
      await withFilesystem({ type, sizeBytes: 512 * MIB }, (mount) => {
        expectForeseen([source, mount]);
        expectForeseen([source, mount]);
        made.change();
        made.backup();
        rmSync(join(source, "daily.4"), { recursive: true });
        expectForeseen(["--delete", source, mount]);
        expectForeseen(["--delete", "--checksum", source, mount]);
      });
      made.close();
    });
  }

  it("foresees what an inflated copy becomes", () => {
    // A larger file is written before it is known to be a copy of another, as long as no batch was sealed.
    const made = makeRsnapshotRoot(join(work, "linked"), {
      snapshots: 5,
      scale: 0.1,
      largestFileBytes: 900_000,
    });
    execFileSync("rsync", ["-a", `${made.root}/`, `${source}/`]);
    const { done } = expectForeseen([source, target]);
    expect(done.summary.mergedInodes).toBeGreaterThan(1000);
    expectForeseen([source, target]);
    made.close();
  });
});

describe.skipIf(!root)("at the edges", () => {
  it("foresees what becomes of a hostile tree", () => {
    const hostile = makeHostileTree(source, { entries: isLong ? 500 : 50 });
    try {
      const { done } = expectForeseen([source, target]);
      expect(done.summary.failures).toBe(0);
      expectForeseen([source, target]);
      expectForeseen(["--merge", "all", "--checksum", source, target]);
    } finally {
      hostile.close();
      execFileSync("rm", ["-rf", "--", target]);
    }
  });

  it.skipIf(!requireFilesystem("tmpfs"))("foresees the siblings that the link limit asks for", async () => {
    await withFilesystem({ type: "tmpfs", sizeBytes: 256 * MIB }, (mount) => {
      const from = join(mount, "source");
      mkdirSync(join(from, "daily.0"), { recursive: true });
      writeFileSync(join(from, "daily.0/0"), "linked\n");
      const [names, siblings] = isLong ? [140_000, 2] : [70_000, 1];
      for (let each = 1; each < names; each++) {
        const [snapshot, name] = [`daily.${Math.floor(each / 10_000)}`, String(each % 10_000)];
        if (name === "0") mkdirSync(join(from, snapshot));
        linkSync(join(from, "daily.0/0"), join(from, snapshot, name));
      }
      const { foreseen } = expectForeseen([from, target]);
      expect(foreseen.summary).toMatchObject({ siblings, createdInodes: siblings + 1, linkLimit: 65_000 });
      expectForeseen([from, target]);
    });
  });

  it("works on a target that is mounted read-only, with a store and without", async () => {
    makeSmallRoot(source, "monday");
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, (mount, filesystem) => {
      filesystem.cycle("ro");
      expect(dryRun([source, mount])).toMatchObject({ code: 0, err: "" });
      filesystem.cycle("rw");
      expectForeseen([source, mount]);
      filesystem.cycle("ro");
      const again = dryRun([source, mount]);
      expect(again.summary.snapshots).toMatchObject({ unchanged: again.summary.snapshots.total });
      expect(again.summary.linkedNames).toBe(0);
    });
  });

  it("says that bytes or inodes will not be enough", async () => {
    mkdirSync(join(source, "daily.0"), { recursive: true });
    for (let each = 0; each < 600; each++) writeFileSync(join(source, `daily.0/${each}`), String(each));
    const noticesAbout = (to: string) => dryRun([source, to]).events.filter(({ type }) => type === "notice");
    const codes = (to: string) =>
      noticesAbout(to)
        .filter(({ level }) => level === "warning")
        .map(({ code }) => code);
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB, options: ["-N", "300"] }, (mount) => {
      expect(codes(mount)).toEqual(["TOO_FEW_INODES"]);
    });
    await withFilesystem({ type: "ext4", sizeBytes: 16 * MIB }, (mount) => {
      expect(codes(mount)).toEqual([]);
      writeFileSync(join(source, "daily.0/large"), Buffer.alloc(20 * MIB, "x"));
      expect(codes(mount)).toEqual(["TOO_FEW_BYTES"]);
      for (const { message } of noticesAbout(mount)) expect(message).toMatch(/\d MB/);
    });
  });
});

describe("beside others", () => {
  it("ends with 5 when another run holds the target, and touches nothing", () => {
    makeSmallRoot(source, "monday");
    expect(migrateJson([source, target]).code).toBe(0);
    const before = manifest(target);
    const lock = join(target, ".dedupe/lock");
    const held = ["--exclusive", "--no-fork", lock, process.execPath, dedupeScript];
    const options = { encoding: "utf8", env: environment() } as const;
    const { status, stderr } = spawnSync("flock", [...held, "migrate", "-n", source, target], options);
    expect(stderr).toMatch(/another run of dedupe is using this target/);
    expect(status).toBe(5);
    expect(manifest(target)).toBe(before);
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("refuses another merge policy than the store's, and an unknown store", () => {
    makeSmallRoot(source, "monday");
    expect(migrateJson([source, target]).code).toBe(0);
    expect(dryRun(["--merge", "none", source, target])).toMatchObject({ code: 1 });
    writeFileSync(join(target, ".dedupe/format.json"), '{"version": 99}');
    const before = manifest(target);
    expect(dryRun([source, target]).events.at(-1)).toMatchObject({ type: "error", code: "STORE_FORMAT" });
    expect(manifest(target)).toBe(before);
  });

  it("ignores a damaged index, and leaves it as it is", () => {
    makeSmallRoot(source, "monday");
    expect(migrateJson([source, target]).code).toBe(0);
    truncateSync(join(target, ".dedupe/index/data.mdb"), 5000);
    const { foreseen } = expectForeseen([source, target]);
    expect(foreseen.summary.createdInodes).toBe(0);
  });

  it("reads a source and an index elsewhere", () => {
    makeSmallRoot(source, "monday");
    const index = join(work, "index");
    mkdirSync(index);
    expectForeseen(["--index", index, source, target]);
    renameSync(join(source, "daily.0"), join(source, "daily.2"));
    expectForeseen(["--index", index, "--delete", source, target]);
  });

  it("stops at a signal, even in the middle of a large file", async () => {
    mkdirSync(join(source, "daily.0"), { recursive: true });
    writeFileSync(join(source, "daily.0/large"), Buffer.alloc(64 * MIB, "x"));
    const args = [dedupeScript, "migrate", "-n", "--json", "--bwlimit", "1m", source, target];
    const started = spawn(process.execPath, args, { env: environment() });
    let out = "";
    started.stdout.on("data", (part: Buffer) => (out += part.toString()));
    while (!out.includes('"plan"')) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 400));
    started.kill("SIGINT");
    const code = await new Promise((resolve) => started.once("close", resolve));
    expect(code).toBe(130);
    expect(JSON.parse(out.trim().split("\n").at(-1) ?? "")).toMatchObject({ outcome: "stopped" });
    expect(readdirSync(target)).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  });
});

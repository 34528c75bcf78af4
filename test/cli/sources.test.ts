import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { access } from "../support/acl.ts";
import { dedupe, migrate, migrateJson, type JsonEvent, type RunSettings } from "../support/dedupe.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { fingerprint, migrateWell, nothingDone, workDone } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { requireTool, requirement } from "../support/skip.ts";
import { stats } from "../support/stats.ts";
import { directory, file, linkTo, makeTree, symlink } from "../support/tree.ts";

const MIB = 2 ** 20;
const root = requirement(process.getuid?.() === 0, "needs root");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

useFolders();

const snapshotsOf = (...options: string[]) => {
  const { events, code, err } = migrateJson([...options, source, target]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return pathsOf(events);
};

const pathsOf = (events: readonly JsonEvent[]) =>
  events.filter(({ type }) => type === "snapshot").map(({ path }) => path);

const twoDays = () =>
  makeTree(source, {
    "daily.0/a": file("a"),
    "daily.0/b": file("b0"),
    "daily.1/a": linkTo("daily.0/a"),
    "daily.1/b": file("b1"),
  });

describe("what a snapshot is", () => {
  it("is found below containers, whose own metadata arrives too", () => {
    makeTree(source, {
      "hosts/h1": directory({ mode: 0o750, mtimeNs: 11n }),
      "hosts/h1/daily.0/x": file("x"),
      "hosts/h1/daily.1/x": linkTo("hosts/h1/daily.0/x"),
      "hosts/h2/2024-05-31/x": linkTo("hosts/h1/daily.0/x"),
      "hosts/h2/notes": file("notes"),
    });
    for (const path of ["hosts/h1/daily.0", "hosts/h1/daily.1", "hosts/h2/2024-05-31"])
      expect(snapshotsOf()).toContain(path);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("is found by its name where hosts share inodes, which is so once they were merged", () => {
    makeTree(source, {
      "h1/daily.0/etc/hosts": file("same"),
      "h1/daily.1/etc/hosts": linkTo("h1/daily.0/etc/hosts"),
      "h1/notes": file("the same notes"),
      "h2/daily.0/etc/hosts": file("same"),
      "h2/daily.1/etc/hosts": linkTo("h2/daily.0/etc/hosts"),
      "h2/notes": file("the same notes"),
    });
    const units = snapshotsOf().sort();
    expect(statSync(join(target, "h1/notes")).ino).toBe(statSync(join(target, "h2/notes")).ino);
    expect(stats(["--if-deleted", "h1/daily.1", target]).summary.ifDeleted).toMatchObject({ snapshots: 1 });
    const again = join(work, "again");
    mkdirSync(again);
    expect(pathsOf(migrateWell(target, again).events).sort()).toEqual(units);
  });

  it("is what --snapshots says", () => {
    makeTree(source, { "backup-a/x": file("x"), "backup-b/x": linkTo("backup-a/x"), "daily.0/y": file("y") });
    expect(snapshotsOf("--snapshots", "backup-*")).toEqual(expect.arrayContaining(["backup-a", "backup-b"]));
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("is told of where --snapshots names nothing", () => {
    makeTree(source, { "daily.0/y": file("y") });
    for (const args of [
      ["migrate", "-n", source, target],
      ["migrate", source, target],
      ["relink", "-n", target],
      ["stats", target],
    ]) {
      const { code, err } = dedupe([...args, "--snapshots", "hourly.*"]);
      expect(code).toBe(0);
      expect(err).toContain("--snapshots 'hourly.*' is no directory's name");
    }
  });

  it("comes newest first", () => {
    makeTree(source, {
      "2024-01-01": directory({ mtimeNs: 1_000_000_000n }),
      "2024-01-02": directory({ mtimeNs: 3_000_000_000n }),
      "2024-01-03": directory({ mtimeNs: 2_000_000_000n }),
    });
    const order = snapshotsOf("-j1").filter((path) => path !== "");
    expect(order).toEqual(["2024-01-02", "2024-01-03", "2024-01-01"]);
  });
});

describe.skipIf(!root)("filesystems within the source", () => {
  it("are crossed, and not crossed with -x; an empty lost+found is left out", async () => {
    twoDays();
    mkdirSync(join(source, "daily.0/mnt"));
    mkdirSync(join(source, "hosts"));
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, (mount) => {
      mkdirSync(join(mount, "daily.0"));
      writeFileSync(join(mount, "daily.0/x"), "x");
      writeFileSync(join(mount, "on-it"), "on it");
      for (const at of ["daily.0/mnt", "hosts"]) run("mount", "--bind", mount, join(source, at));
      try {
        const other = join(work, "other");
        mkdirSync(other);
        expect(migrate(source, target)).toMatchObject({ code: 0, err: "" });
        expect(readdirSync(join(target, "daily.0/mnt")).sort()).toEqual(["daily.0", "on-it"]);
        expect(readdirSync(join(target, "hosts")).sort()).toEqual(["daily.0", "on-it"]);
        expect(migrate(source, other, "-x")).toMatchObject({ code: 0, err: "" });
        expect(readdirSync(join(other, "daily.0/mnt"))).toEqual([]);
        expect(readdirSync(join(other, "hosts"))).toEqual([]);
      } finally {
        for (const at of ["daily.0/mnt", "hosts"]) run("umount", join(source, at));
      }
    });
  });

  it("may be a file mounted over another, also where the source is named relatively", () => {
    twoDays();
    writeFileSync(join(work, "cover"), "covering");
    run("touch", "-d", "2020-01-01", source, join(source, "daily.0"), join(source, "daily.1"));
    run("mount", "--bind", join(work, "cover"), join(source, "daily.1/a"));
    try {
      execFileSync("sleep", ["3.2"]);
      const { code } = dedupe(["migrate", "--no-progress", "-j1", "source", "target"], { cwd: work });
      expect(code).toBe(0);
      expect(readFileSync(join(target, "daily.1/a"), "utf8")).toBe("covering");
    } finally {
      run("umount", join(source, "daily.1/a"));
    }
  });

  it.skipIf(!requireFilesystem("btrfs"))("may be btrfs snapshots, whose inode numbers repeat", async () => {
    await withFilesystem({ type: "btrfs", sizeBytes: 256 * MIB }, (mount) => {
      run("btrfs", "subvolume", "create", join(mount, "live"));
      for (let made = 0; made < 50; made++) writeFileSync(join(mount, "live", `f${made}`), `first ${made}`);
      for (let made = 0; made < 10; made++)
        linkSync(join(mount, "live", `f${made}`), join(mount, "live", `l${made}`));
      run("btrfs", "subvolume", "snapshot", "-r", join(mount, "live"), join(mount, "daily.1"));
      for (let made = 0; made < 25; made++) writeFileSync(join(mount, "live", `f${made}`), `other ${made}`);
      run("btrfs", "subvolume", "snapshot", "-r", join(mount, "live"), join(mount, "daily.0"));
      expect(migrate(mount, target)).toMatchObject({ code: 0, err: "" });
      expect(compareTrees(mount, target, { mergedOk: true })).toEqual([]);
      expect(statSync(join(target, "daily.0/f40")).ino).toBe(statSync(join(target, "daily.1/f40")).ino);
      expect(migrateJson([mount, target]).summary).toMatchObject({
        readBytes: 0,
        createdInodes: 0,
        exitCode: 0,
      });
    });
  });
});

describe("the report", () => {
  it("counts every inode once, though the table of them forgets some", { timeout: 360_000 }, () => {
    const count = 12_000;
    for (const day of [0, 1])
      for (let folder = 0; folder < 12; folder++)
        mkdirSync(join(source, `daily.${day}/${folder}`), { recursive: true });
    for (let made = 0; made < count; made++) {
      const name = `${made % 12}/f${made}`;
      writeFileSync(join(source, "daily.0", name), `${made >> 1}`);
      linkSync(join(source, "daily.0", name), join(source, "daily.1", name));
    }
    const counted = migrateJson([source, target]).summary;
    expect(counted).toMatchObject({ exitCode: 0, inodes: count, approximate: false });
    // Of each pair, if both are of the same moment.
    expect(counted.createdInodes + counted.mergedInodes).toBe(count);
    expect(migrateJson([source, target]).summary).toMatchObject({
      inodes: count,
      readBytes: 0,
      mergedInodes: 0,
    });
  });
});

describe.skipIf(!requireFilesystem("xfs"))("xattrs too large for the target", () => {
  it("are counted in every run, of which the second writes nothing", async () => {
    await withFilesystem({ type: "xfs", sizeBytes: 320 * MIB }, (mount) => {
      const xattrs = { "user.big": "b".repeat(30_000), "user.small": "s" };
      makeTree(join(mount, "root"), {
        "daily.0/d": directory({ xattrs }),
        "daily.0/empty": file("", { xattrs }),
        "daily.0/first": file("", { xattrs }),
        "daily.0/second": linkTo("daily.0/first"),
      });
      const first = migrateWell(join(mount, "root"), target);
      expect(first.summary.lostXattrs).toBe(3);
      const made = fingerprint(target);
      const second = migrateWell(join(mount, "root"), target);
      expect(workDone(second.summary)).toEqual(nothingDone);
      expect(second.summary.lostXattrs).toBe(3);
      expect(fingerprint(target).filter((each) => !each.startsWith(".dedupe"))).toEqual(
        made.filter((each) => !each.startsWith(".dedupe")),
      );
    });
  });
});

describe.skipIf(!requireFilesystem("btrfs") || !requireTool("filefrag"))("two subvolumes of a btrfs", () => {
  it("share the extents of what is copied from one to the other", async () => {
    await withFilesystem({ type: "btrfs", sizeBytes: 128 * MIB }, (mount) => {
      for (const name of ["from", "to"]) run("btrfs", "subvolume", "create", join(mount, name));
      mkdirSync(join(mount, "from/daily.0"));
      writeFileSync(join(mount, "from/daily.0/large"), Buffer.alloc(3 * MIB, "content"));
      migrateWell(join(mount, "from"), join(mount, "to"));
      expect(run("filefrag", "-v", join(mount, "to/daily.0/large"))).toContain("shared");
      expect(compareTrees(join(mount, "from"), join(mount, "to"))).toEqual([]);
    });
  });
});

describe("filter rules", () => {
  beforeEach(() => {
    makeTree(source, { "daily.0/a": file("a"), "daily.0/b": file("b") });
  });
  const expectOnlyA = (...args: readonly [string, RunSettings?]): void => {
    const [rules, settings] = args;
    expect(dedupe(["migrate", `--exclude-from=${rules}`, source, target], settings).code).toBe(0);
    expect(readdirSync(join(target, "daily.0"))).toEqual(["a"]);
  };

  it("come from a file behind a symlink", () => {
    writeFileSync(join(work, "rules"), "b\n");
    symlinkSync("rules", join(work, "link"));
    expectOnlyA(join(work, "link"));
  });

  it("come from standard input", () => {
    expectOnlyA("-", { input: "b\n" });
  });
});

describe("options", () => {
  it("--bwlimit takes the time it should", () => {
    twoDays();
    for (let made = 0; made < 40; made++)
      writeFileSync(join(source, `daily.0/f${made}`), Buffer.alloc(100_000, made + 1));
    const { summary } = migrateJson(["--bwlimit=1m", source, target]);
    expect(summary.elapsedMs).toBeGreaterThan(3400);
    expect(summary.elapsedMs).toBeLessThan(7000);
  });

  it("--no-xattrs leaves them out, and a run without it brings them", { skip: !root }, () => {
    makeTree(source, {
      "daily.0/a": file("a", { xattrs: { "user.x": "1" } }),
      "daily.0/d": directory({ xattrs: { "user.y": "2" } }),
    });
    expect(migrate(source, target, "--no-xattrs").code).toBe(0);
    expect(compareTrees(source, target).map((each) => each.class)).toEqual(["xattr", "xattr"]);
    expect(compareTrees(source, target, { ignore: ["xattr"] })).toEqual([]);
    expect(migrate(source, target).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it(
    "--no-xattrs of a later run leaves a directory those that it has, as it does a file",
    { skip: !root },
    () => {
      makeTree(source, {
        "daily.0/a": file("a", { xattrs: { "user.x": "1" } }),
        "daily.0/d": directory({ mode: 0o770, xattrs: { "user.y": "2", ...access(7, 5) } }),
      });
      expect(migrate(source, target).code).toBe(0);
      const { summary } = migrateJson(["--no-xattrs", source, target]);
      expect(summary.snapshots).toMatchObject({ updated: 0, unchanged: 1 });
      expect(compareTrees(source, target)).toEqual([]);
    },
  );

  it("--index keeps the index elsewhere, and makes the folder", () => {
    twoDays();
    const index = join(work, "fast/index");
    mkdirSync(join(work, "fast"));
    expect(migrate(source, target, "--index", index)).toMatchObject({ code: 0, err: "" });
    const folders = readdirSync(index);
    expect(folders.map((folder) => existsSync(join(index, folder, "data.mdb")))).toEqual([true]);
    expect(existsSync(join(target, ".dedupe/index/data.mdb"))).toBe(false);
    expect(migrateJson(["--index", index, source, target]).summary).toMatchObject({ readBytes: 0 });
    expect(migrateJson([source, target]).summary).toMatchObject({ exitCode: 0, createdInodes: 0 });
  });

  it("--index keeps the rows of several targets apart: none vouches for an object of another", () => {
    twoDays();
    const index = join(work, "shared");
    const other = join(work, "other");
    // Two targets whose inodes are the same: what one's row says of an object would fit the other's.
    expect(migrate(source, target, "--index", index)).toMatchObject({ code: 0 });
    run("cp", "-a", target, other);
    const format = join(other, ".dedupe/format.json");
    expect(JSON.parse(readFileSync(format, "utf8"))).toMatchObject({ id: readdirSync(index)[0] });
    rmSync(join(other, ".dedupe"), { recursive: true });
    expect(migrate(source, other, "--index", index)).toMatchObject({ code: 0 });
    expect(readdirSync(index)).toHaveLength(2);
    expect(migrateJson(["--index", index, source, target]).summary).toMatchObject({ readBytes: 0 });
    expect(migrateJson(["--index", index, source, other]).summary).toMatchObject({ readBytes: 0 });
  });

  it("-q says nothing, -v a line a name, --log-file all of it", () => {
    twoDays();
    const log = join(work, "log");
    expect(migrate(source, target, "-q", "--log-file", log)).toEqual({ code: 0, out: "", err: "" });
    expect(readFileSync(log, "utf8")).toMatch(/migrate .* -> [\s\S]*daily\.0[\s\S]*Finished after/);
    rmSync(join(source, "daily.0/b"));
    writeFileSync(join(source, "daily.0/b"), "another");
    writeFileSync(join(source, "daily.0/n\u001bew"), "new");
    const { out } = migrate(source, target, "-v");
    expect(out).toMatch(/replaced +daily\.0\/b/);
    expect(out).not.toContain("\u001b");
    const plain = migrate(source, target);
    expect(plain.out).toMatch(/snapshot 1 of 2 +daily\.\d +.* unchanged/);
    expect(plain.out).not.toContain("\r");
  });

  it("-v tells each name of an update once, and what the dry run told of it", () => {
    makeTree(source, { "daily.0/a": file("a"), "daily.0/l": symlink("x"), "daily.0/gone": file("gone") });
    makeTree(source, {
      "kept/sub/gone": file("gone"),
      "kept/x.keep": file("kept"),
      "old/sub/gone": file("gone"),
    });
    expect(migrate(source, target)).toMatchObject({ code: 0, err: "" });
    for (const name of ["a", "l", "gone"]) rmSync(join(source, "daily.0", name));
    for (const name of ["kept", "old"]) rmSync(join(source, name), { recursive: true });
    makeTree(source, {
      "daily.0/a": file("changed"),
      "daily.0/l": symlink("y"),
      "daily.0/new": file("new"),
      "daily.0/symlink": symlink("z"),
      "daily.0/empty": file(""),
      "daily.0/d/inner": file("inner"),
      loose: file("loose"),
    });
    const told = (...options: string[]) => {
      const { events } = migrateJson([
        "-v",
        "-j1",
        "--delete",
        "--exclude=*.keep",
        ...options,
        source,
        target,
      ]);
      return events
        .filter(({ type }) => type === "entry")
        .map(({ path, action }) => `${String(path)} ${String(action)}`);
    };
    const foreseen = told("--dry-run").sort();
    expect(told().sort()).toEqual(foreseen);
    expect(foreseen).toEqual([
      "daily.0/a replaced",
      "daily.0/d directory",
      "daily.0/d/inner copied",
      "daily.0/empty made",
      "daily.0/gone removed",
      "daily.0/l replaced",
      "daily.0/new copied",
      "daily.0/symlink made",
      "kept/sub removed",
      "loose copied",
      "old removed",
    ]);
  });

  it("--min-size and --merge none keep apart what only looks alike", () => {
    makeTree(source, {
      "daily.0/a": file("same"),
      "daily.1/a": file("same"),
      "daily.0/z": file("x".repeat(99)),
      "daily.1/z": file("x".repeat(99)),
    });
    expect(migrate(source, target, "--min-size=50").code).toBe(0);
    const ino = (path: string) => statSync(join(target, path)).ino;
    expect(ino("daily.0/a")).not.toBe(ino("daily.1/a"));
    expect(ino("daily.0/z")).toBe(ino("daily.1/z"));
    const other = join(work, "other");
    mkdirSync(other);
    expect(migrate(source, other, "--merge=none").code).toBe(0);
    expect(compareTrees(source, other)).toEqual([]);
  });
});

import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { dedupe, dedupeScript, migrate, migrateJson, startDedupe } from "../support/dedupe.ts";
import { makeFilesystem, requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement } from "../support/skip.ts";
import { makeTwoSnapshots } from "../support/two-snapshots.ts";

const MIB = 2 ** 20;
const root = requirement(process.getuid?.() === 0, "needs root");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

useFolders();

beforeEach(() => {
  makeTwoSnapshots(source);
});

/** Two lines on stderr: what and where, then what to do. */
function expectRefusal(refused: { code: number | null; err: string }, code: number, message: RegExp): void {
  expect(refused.err).toMatch(message);
  expect(refused.code).toBe(code);
  expect(refused.err.split("\n")[0]).toMatch(/^dedupe: /);
  expect(refused.err).not.toMatch(/bug|    at /);
  expect(refused.err.trim().split("\n")).toHaveLength(2);
}

describe("roots that cannot be used", () => {
  it("refuses a source that does not exist", () => {
    const missing = join(work, "missing");
    expectRefusal(migrate(missing, target), 1, /the source \S+missing does not exist\nCheck the spelling/);
    expect(readdirSync(target)).toEqual([]);
  });

  it("refuses a source that is a file", () => {
    writeFileSync(join(work, "file"), "x");
    expectRefusal(migrate(join(work, "file"), target), 1, /the source \S+file is not a directory/);
  });

  it("refuses a target that does not exist", () => {
    expectRefusal(
      migrate(source, join(work, "missing")),
      1,
      /the target \S+missing does not exist\nMake it first/,
    );
    expect(existsSync(join(work, "missing"))).toBe(false);
  });

  it("refuses a target that is a file", () => {
    writeFileSync(join(work, "file"), "x");
    expectRefusal(migrate(source, join(work, "file")), 1, /the target \S+file is not a directory/);
  });

  it("refuses a symlink that leads nowhere or round in circles", () => {
    symlinkSync("nowhere", join(work, "dangling"));
    symlinkSync("circle", join(work, "circle"));
    expectRefusal(migrate(join(work, "dangling"), target), 1, /the source \S+dangling does not exist/);
    expectRefusal(migrate(join(work, "circle"), target), 1, /the source \S+circle cannot be opened/);
  });

  it("refuses a log or an index inside the source, though a symlink hides it, before it is made", () => {
    const link = join(work, "link");
    symlinkSync(source, link);
    symlinkSync(join(source, "daily.0/docs/edited"), join(work, "log"));
    // To nothing yet, and twice over; and a directory whose ".." is another than its path says.
    symlinkSync("further", join(work, "dangling"));
    symlinkSync(join(source, "new.log"), join(work, "further"));
    symlinkSync(join(source, "daily.0"), join(work, "in"));
    for (const [from, option] of [
      [link, `--log-file=${join(source, "run.log")}`],
      [source, `--log-file=${join(link, "daily.0/run.log")}`],
      [source, `--log-file=${join(work, "log")}`],
      [source, `--log-file=${join(work, "dangling")}`],
      [source, `--log-file=${work}/in/../run.log`],
      [source, `--index=${work}/in/../index`],
      [link, `--index=${join(source, "new/index")}`],
      [link, `--index=${join(source, "new/index")}`, "--dry-run"],
    ] as const) {
      expectRefusal(migrate(from, target, option), 2, /lies inside the source, which is never written/);
    }
    expect(readdirSync(source).sort()).toEqual(["daily.0", "daily.1"]);
    expect(readdirSync(join(source, "daily.0"))).not.toContain("run.log");
    expect(readdirSync(target)).toEqual([]);
    expect(migrate(link, target, `--log-file=${join(work, "run.log")}`).code).toBe(0);
  });

  it("refuses a log or an index among the snapshots of the target", () => {
    for (const option of [
      `--log-file=${join(target, "run.log")}`,
      `--index=${join(target, "daily.0/index")}`,
    ]) {
      for (const args of [
        ["migrate", source, target],
        ["relink", target],
        ["compact", target],
      ])
        expectRefusal(dedupe([...args, option]), 2, /lies inside \S+, among the snapshots/);
      expect(readdirSync(target)).toEqual([]);
    }
    expect(migrate(source, target).code).toBe(0);
    const log = join(target, ".dedupe/log/run.log");
    expect(migrate(source, target, "--delete", `--log-file=${log}`).code).toBe(0);
    expect(existsSync(log)).toBe(true);
  });

  it("refuses a path longer than the kernel takes", () => {
    const long = `${work}/${"x".repeat(200)}/`.repeat(25);
    expectRefusal(migrate(long, target), 1, /the source \S+ cannot be opened: name too long/);
  });

  it("says so when a root is named that needs escaping for the terminal", () => {
    const odd = join(work, "a\u001b[31m\nb");
    const refused = migrate(odd, target);
    expect(refused.err).not.toContain("\u001b");
    expectRefusal(refused, 1, /does not exist/);
  });
});

describe("roots of which one is in the other", () => {
  it("refuses a target inside the source", () => {
    mkdirSync(join(source, "daily.0/deep"));
    expectRefusal(migrate(source, join(source, "daily.0/deep")), 1, /the target is inside the source/);
    expect(readdirSync(join(source, "daily.0/deep"))).toEqual([]);
  });

  it("refuses a source inside the target", () => {
    expectRefusal(migrate(source, work), 1, /the source is inside the target/);
    expect(existsSync(join(work, ".dedupe"))).toBe(false);
  });

  it("refuses the same directory twice, however it is named", () => {
    symlinkSync(source, join(work, "alias"));
    for (const name of [source, `${source}/`, `${source}/daily.0/..`, join(work, "alias")]) {
      expectRefusal(migrate(source, name), 1, /source and target are the same directory/);
    }
    expect(existsSync(join(source, ".dedupe"))).toBe(false);
  });

  it("sees through a symlink", () => {
    mkdirSync(join(source, "inner"));
    symlinkSync(join(source, "inner"), join(work, "elsewhere"));
    expectRefusal(migrate(source, join(work, "elsewhere")), 1, /the target is inside the source/);
    expectRefusal(migrate(join(work, "elsewhere"), source), 1, /the source is inside the target/);
  });

  it.skipIf(!root)("refuses a log that is a file of the source by a bind mount", () => {
    const bound = join(work, "bound.log");
    writeFileSync(bound, "");
    execFileSync("mount", ["--bind", join(source, "daily.0/docs/edited"), bound]);
    try {
      const before = readFileSync(bound);
      expectRefusal(migrate(source, target, `--log-file=${bound}`), 2, /lies inside the source/);
      expect(readFileSync(bound)).toEqual(before);
    } finally {
      execFileSync("umount", [bound]);
    }
  });

  it("refuses a log or a certificate of verify inside what is compared, though a symlink hides it", () => {
    symlinkSync(source, join(work, "link"));
    for (const option of ["--log-file", "--certificate"]) {
      const args = ["verify", "--against", source, `${option}=${join(work, "link/daily.0/new")}`, target];
      expectRefusal(dedupe(args), 2, /lies inside \S+, which is to be read as it is/);
    }
    expect(readdirSync(join(source, "daily.0"))).not.toContain("new");
  });

  it.skipIf(!root)("sees through a bind mount", () => {
    for (const [from, first, second, message] of [
      [source, source, target, /same directory/],
      [join(source, "daily.0"), source, target, /the target is inside the source/],
      [join(source, "daily.0"), target, source, /the source is inside the target/],
    ] as const) {
      run("mount", "--bind", from, target);
      try {
        expectRefusal(migrate(first, second), 1, message);
        expect(readdirSync(target)).not.toContain(".dedupe");
      } finally {
        run("umount", target);
      }
    }
  });
});

describe.skipIf(!root)("targets whose filesystem will not do", () => {
  it.skipIf(!requireFilesystem("exfat"))(
    "refuses exFAT, which has no hard links, and leaves nothing on it",
    async () => {
      await withFilesystem({ type: "exfat", sizeBytes: 32 * MIB }, (mount) => {
        expectRefusal(migrate(source, mount), 1, /cannot make hard links\nUse a Linux file system/);
        expect(readdirSync(mount)).toEqual([]);
      });
    },
  );

  it("refuses a read-only target", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB, options: ["-m", "0"] }, (mount, filesystem) => {
      filesystem.remount("ro");
      expectRefusal(migrate(source, mount), 1, /is on a read-only file system\nMount it writable/);
      filesystem.remount("rw");
      expect(migrate(source, mount).code).toBe(0);
      filesystem.remount("ro");
      expectRefusal(migrate(source, mount), 1, /is on a read-only file system/);
    });
  });

  it("refuses a target without a free block", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 16 * MIB }, (mount) => {
      spawnSync("dd", ["if=/dev/zero", `of=${join(mount, "ballast")}`, "bs=64k"]);
      spawnSync("dd", ["if=/dev/zero", `of=${join(mount, "rest")}`, "bs=1k"]);
      const before = readdirSync(mount).sort();
      expectRefusal(migrate(source, mount), 1, /has no free space|no space left for the store/);
      expect(readdirSync(mount).sort()).toEqual(before);
    });
  });

  it("refuses a target without a free inode", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 16 * MIB, options: ["-N", "32"] }, (mount) => {
      for (let made = 0; ; made++) {
        try {
          writeFileSync(join(mount, `f${made}`), "");
        } catch {
          break;
        }
      }
      const before = readdirSync(mount).sort();
      expectRefusal(migrate(source, mount), 1, /has no free inodes\nDelete files on it/);
      expect(readdirSync(mount).sort()).toEqual(before);
    });
  });

  it("leaves nothing where the store itself does not fit", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 16 * MIB, options: ["-N", "32"] }, (mount) => {
      for (let made = 0; ; made++) {
        try {
          writeFileSync(join(mount, `f${made}`), "");
        } catch {
          for (let removed = 1; removed <= 3; removed++) rmSync(join(mount, `f${made - removed}`));
          break;
        }
      }
      const before = readdirSync(mount).sort();
      expectRefusal(migrate(source, mount), 1, /has no space left for the store\nFree some space or inodes/);
      expect(readdirSync(mount).sort()).toEqual(before);
    });
  });

  it.each([
    ["space", { sizeBytes: 40 * MIB, options: ["-N", "4096"] }],
    ["inodes", { sizeBytes: 96 * MIB, options: ["-N", "1200"] }],
  ])("ends with exit 1 when there is no more %s, and goes on when there is", async (_, spec) => {
    const big = join(source, "daily.0/big");
    mkdirSync(big);
    for (let made = 0; made < 400; made++)
      writeFileSync(join(big, `f${made}`), Buffer.alloc(40_000, made + 1));
    await withFilesystem({ type: "ext4", ...spec }, (mount, filesystem) => {
      mkdirSync(join(mount, "ballast"));
      for (let made = 0; made < 1000; made++)
        writeFileSync(join(mount, "ballast", `b${made}`), Buffer.alloc(20_000, 1));
      const failed = migrate(source, mount);
      expect(failed.code).toBe(1);
      expect(failed.err).toMatch(/dedupe: the target failed: \w+: no space left on device/);
      expect(failed.err).toContain(
        "Free some space or inodes (see df and df -i) and run the same command again",
      );
      expect(failed.out).toMatch(/Failed after/);
      expect(failed.out).toMatch(/run the same command again/);
      expect(failed.err).not.toMatch(/bug|    at /);
      expect(failed.err.split("\n").length).toBeLessThan(6);
      expect(readdirSync(mount)).not.toContain("daily.0");
      filesystem.cycle();
      rmSync(join(mount, "ballast"), { recursive: true });
      const again = migrate(source, mount);
      expect(again.err).toBe("");
      expect(again.code).toBe(0);
      expect(compareTrees(source, mount, { mergedOk: true, excludeTop: ["lost+found"] })).toEqual([]);
    });
  });

  it("refuses a target that this user may not write to", () => {
    chmodSync(work, 0o755);
    chmodSync(target, 0o755);
    const refused = dedupe(["migrate", source, target], { uid: 1000, gid: 1000 });
    expectRefusal(refused, 1, /may not be written to by this user\nRun as root/);
  });

  it("refuses a target that this user may write to and not dress, and leaves nothing in it", () => {
    chmodSync(work, 0o755);
    chmodSync(target, 0o777);
    for (const options of [[], ["--dry-run"]]) {
      const refused = dedupe(["migrate", ...options, source, target], { uid: 1000, gid: 1000 });
      expectRefusal(
        refused,
        1,
        /belongs to user 0, and only its owner .*\nMake a directory of your own in it/,
      );
      expect(readdirSync(target)).toEqual([]);
    }
  });

  it("refuses a source that this user may not read", () => {
    chmodSync(work, 0o755);
    chmodSync(source, 0o700);
    const refused = dedupe(["migrate", source, target], { uid: 1000, gid: 1000 });
    expectRefusal(refused, 1, /the source \S+ may not be read by this user\nRun as root/);
  });

  it("refuses another user's store", () => {
    mkdirSync(join(target, ".dedupe"), { mode: 0o700 });
    chmodSync(work, 0o755);
    chmodSync(target, 0o777);
    const refused = dedupe(["migrate", source, target], { uid: 1000, gid: 1000 });
    expectRefusal(refused, 1, /\.dedupe on the target belongs to/);
  });
});

describe("a target that has a store", () => {
  const formatPath = () => join(target, ".dedupe/format.json");
  const damage = (content: string) => {
    writeFileSync(formatPath(), content);
  };

  it("is locked while another run works on it", () => {
    expect(migrate(source, target).code).toBe(0);
    const before = statSync(join(target, ".dedupe/format.json")).ino;
    const lock = join(target, ".dedupe/lock");
    const held = spawnSync(
      "flock",
      ["--nonblock", lock, process.execPath, dedupeScript, "migrate", source, target],
      { encoding: "utf8" },
    );
    expectRefusal({ code: held.status, err: held.stderr }, 5, /another run of dedupe is using this target/);
    expect(statSync(join(target, ".dedupe/format.json")).ino).toBe(before);
    expect(migrate(source, target).code).toBe(0);
  });

  it("is not taken from a run that made it a moment ago", async () => {
    // Both find no store; the one that loses must not sweep away what the other made.
    for (let round = 0; round < 6; round++) {
      const place = join(work, `race.${round}`);
      mkdirSync(place);
      const runs = Array.from({ length: 3 }, () => startDedupe(["migrate", "-j1", source, place]));
      const ended = await Promise.all(runs.map(({ ended }) => ended));
      expect(ended.filter(({ code }) => code !== 0 && code !== 5).map(({ err }) => err)).toEqual([]);
      expect(ended.some(({ code }) => code === 0)).toBe(true);
      expect(readdirSync(join(place, ".dedupe"))).toContain("format.json");
      expect(compareTrees(source, place, { mergedOk: true })).toEqual([]);
    }
  });

  it("is refused when its version is unknown", () => {
    migrate(source, target);
    const format = JSON.parse(readFileSync(formatPath(), "utf8")) as object;
    damage(JSON.stringify({ ...format, version: 99 }));
    expectRefusal(
      migrate(source, target),
      1,
      /format version 99, which this version of dedupe does not know/,
    );
    expect(readFileSync(formatPath(), "utf8")).toContain("99");
    damage(JSON.stringify({ ...format, digest: "md5" }));
    expectRefusal(migrate(source, target), 1, /format/);
  });

  it.each([
    "",
    "{",
    "null",
    "[]",
    "7",
    '{"digest":"blake3-256"}',
    "\u0000\u0000",
    '{"version":1,"compared":"mode"}',
  ])("is refused when format.json holds %j", (content) => {
    migrate(source, target);
    damage(content);
    expectRefusal(migrate(source, target), 1, /format\.json is not a store's format file/);
    expect(readFileSync(formatPath(), "utf8")).toBe(content);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("is refused when the run asks for another policy", () => {
    migrate(source, target);
    for (const option of [
      "--merge=none",
      "--ignore-time",
      "--ignore-mode",
      "--ignore-owner",
      "--ignore-xattrs",
    ]) {
      const refused = migrate(source, target, option);
      expectRefusal(refused, 1, /the store was made with --merge all, comparing mode, owner, time, xattrs/);
      expect(refused.err).toMatch(/Run again with the options of the first run, or remove \.dedupe/);
    }
    expect(migrate(source, target).code).toBe(0);
  });

  it("is refused when .dedupe is a file or a symlink", () => {
    writeFileSync(join(target, ".dedupe"), "mine");
    expectRefusal(migrate(source, target), 1, /\.dedupe on the target is not a directory/);
    expect(readFileSync(join(target, ".dedupe"), "utf8")).toBe("mine");
    rmSync(join(target, ".dedupe"));
    mkdirSync(join(work, "other"));
    symlinkSync("../other", join(target, ".dedupe"));
    expectRefusal(migrate(source, target), 1, /\.dedupe on the target is not a directory/);
    expect(readdirSync(join(work, "other"))).toEqual([]);
  });

  it("has no mark of a refused run when it had no store", () => {
    writeFileSync(join(work, "index-file"), "");
    const refused = migrate(source, target, "--index", join(work, "index-file"));
    expectRefusal(refused, 1, /index/);
    expect(readdirSync(target)).toEqual([]);
    // No directory can be made there, and ENOENT says so: LMDB by itself goes on trying for ever.
    const never = migrate(source, target, "--index", "/proc/none/such");
    expectRefusal(never, 1, /the index in \/proc\/none\/such\/\w+ cannot be opened/);
    expect(readdirSync(target)).toEqual([]);
  });
});

describe("wrong usage", () => {
  it.each([
    [["--filter", "q nonsense"], /filter|rule/i],
    [["--filter", "merge"], /./],
    [["--exclude-from", "/nonexistent/rules"], /the filter file \/nonexistent\/rules does not exist/],
    [["--exclude-from", "/"], /the filter file \/ cannot be read/],
    [
      ["--log-file", "/nonexistent/run.log"],
      /the log file \/nonexistent\/run\.log cannot be opened: no such file or directory/,
    ],
    [["--jobs", "0"], /--jobs takes/],
    [["--nonsense"], /unknown option/],
  ])("%j is exit 2", (options, message) => {
    const refused = migrate(source, target, ...options);
    expect(refused.err).toMatch(message);
    expect(refused.code).toBe(2);
    expect(refused.err).not.toMatch(/bug/);
    expect(readdirSync(target)).toEqual([]);
  });

  it("names the rule that it cannot read", () => {
    const refused = migrate(source, target, "--exclude=ok", "--filter=q nonsense");
    expect(refused.err).toContain("q nonsense");
  });
});

describe("a refusal with --json", () => {
  it("is an error event with the exit code, and a sentence on stderr", () => {
    const { code, events, err } = migrateJson([join(work, "missing"), target]);
    expect(code).toBe(1);
    expect(events.at(-1)).toMatchObject({ type: "error", code: "SOURCE_UNUSABLE", exitCode: 1 });
    expect(err).toMatch(/does not exist/);
  });
});

describe("a signal", () => {
  const slowly = (...more: string[]) => [
    "migrate",
    "--no-progress",
    "--bwlimit=256",
    "-j1",
    ...more,
    source,
    target,
  ];
  const fill = () => {
    for (let made = 0; made < 64; made++) {
      const day = `daily.${made % 2}`;
      writeFileSync(join(source, day, `f${made}`), Buffer.alloc(50_000, made + 1));
    }
  };
  const until = async (condition: () => boolean) => {
    for (let waited = 0; !condition() && waited < 1200; waited++)
      await new Promise((done) => setTimeout(done, 50));
    expect(condition()).toBe(true);
  };
  const isBusy = () => {
    const objects = join(target, ".dedupe/objects");
    return existsSync(objects) && readdirSync(objects).length > 4;
  };

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s ends the run with %d at a safe point, and the next run goes on", async (signal, code) => {
    fill();
    const { process: running, ended } = startDedupe(slowly());
    await until(isBusy);
    running.kill(signal);
    const stopped = await ended;
    expect(stopped.code).toBe(code);
    expect(stopped.out).toContain(`${signal}: stopping at the next safe point`);
    expect(stopped.out).toContain(`Stopped by ${signal}`);
    expect(stopped.out).toContain("run the same command again");
    const again = migrateJson([source, target]);
    expect(again.code).toBe(0);
    expect(again.summary.readBytes).toBeLessThan(64 * 50_000 - 3 * 50_000);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });

  it("is told to a script by the summary's exit code", async () => {
    fill();
    const { process: running, ended } = startDedupe(slowly("--json"));
    await until(isBusy);
    running.kill("SIGTERM");
    const stopped = await ended;
    const last = JSON.parse(stopped.out.trim().split("\n").at(-1)!) as object;
    expect(last).toMatchObject({ type: "summary", outcome: "stopped", exitCode: 143 });
    expect(stopped.code).toBe(143);
  });

  it("stops at once when it comes a second time", async () => {
    fill();
    const { process: running, ended } = startDedupe(slowly());
    await until(isBusy);
    running.kill("SIGINT");
    running.kill("SIGTERM");
    const stopped = await ended;
    expect([130, 143]).toContain(stopped.code);
    expect(migrate(source, target).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });
});

describe("a reader that leaves", () => {
  it("is no reason to stop", async () => {
    for (let made = 0; made < 300; made++) writeFileSync(join(source, "daily.0", `f${made}`), `${made}`);
    const running = spawn(process.execPath, [dedupeScript, "migrate", "-v", source, target]);
    running.stdout.destroy();
    running.stderr.destroy();
    const code = await new Promise((resolve) => running.on("exit", resolve));
    expect(code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it("is no reason to stop in a pipe to head", () => {
    const script = 'set -o pipefail; "$0" "$1" migrate -v "$2" "$3" | head -n 1; exit "${PIPESTATUS[0]}"';
    const { status } = spawnSync("bash", ["-c", script, process.execPath, dedupeScript, source, target]);
    expect(status).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });

  it.skipIf(!existsSync("/dev/full"))("is told from a full disk, which is never exit 0", () => {
    const { status } = spawnSync("bash", [
      "-c",
      '"$0" "$1" migrate "$2" "$3" > /dev/full',
      process.execPath,
      dedupeScript,
      source,
      target,
    ]);
    expect(status).toBe(1);
  });
});

describe.skipIf(!root)("what is worth a warning", () => {
  it("is a source that may not fit, however it is named", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 64 * MIB }, async (sources) => {
      writeFileSync(join(sources, "large"), Buffer.alloc(40 * MIB));
      symlinkSync(sources, join(work, "link"));
      await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, (mount) => {
        const { err } = migrate(join(work, "link"), mount, "--dry-run");
        expect(err).toContain("what is there may not fit");
      });
    });
  });

  it("is a target without a journal", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB, options: ["-O", "^has_journal"] }, (mount) => {
      expect(migrate(source, mount).err).toMatch(/warning: the target's ext4 has no journal/);
    });
  });

  it("is no journal that goes by another name, as those on LVM do", () => {
    const filesystem = makeFilesystem({ type: "ext4", sizeBytes: 32 * MIB });
    const folder = mkdtempSync(join(tmpdir(), "dedupe-refusals-"));
    const point = join(folder, "mnt");
    mkdirSync(point);
    const device = run("findmnt", "-no", "SOURCE", filesystem.mountPoint).trim();
    run("mknod", join(folder, "vg-lv"), "b", "7", device.replace(/\D+/, ""));
    run("mount", join(folder, "vg-lv"), point);
    try {
      expect(migrate(source, point)).toMatchObject({ code: 0, err: "" });
    } finally {
      run("umount", point);
      rmSync(folder, { recursive: true });
      filesystem.close();
    }
  });

  it("is a target mounted without barriers", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB, mountOptions: "nobarrier" }, (mount) => {
      expect(migrate(source, mount).err).toMatch(/warning: the target is mounted with nobarrier/);
    });
  });

  const hasPlainMnt = existsSync("/mnt") && statSync("/mnt").dev === statSync("/").dev;
  it.skipIf(!hasPlainMnt)(
    "is a target on the root filesystem where a drive should be, however it is named",
    () => {
      const forgotten = mkdtempSync("/mnt/dedupe-test-");
      try {
        symlinkSync(forgotten, join(work, "drive"));
        for (const [name, cwd] of [
          [forgotten, "/"],
          [".", forgotten],
          [join(work, "drive"), "/"],
        ] as const) {
          const { code, err } = dedupe(["migrate", "--no-progress", "--dry-run", source, name], { cwd });
          expect(code).toBe(0);
          expect(err).toMatch(/^warning: the target .* is on the root file system: is its drive mounted\?/m);
        }
      } finally {
        rmSync(forgotten, { recursive: true });
      }
    },
  );

  it("is nothing on a target as it should be", () => {
    const filesystem = makeFilesystem({ type: "ext4", sizeBytes: 32 * MIB });
    try {
      expect(migrate(source, filesystem.mountPoint)).toMatchObject({ code: 0, err: "" });
    } finally {
      filesystem.close();
    }
  });
});

import { availableParallelism } from "node:os";
import { describe, expect, test } from "vitest";
import { checkPlatform, parseCommandLine } from "../../src/cli/command-line.ts";
import { DedupeError } from "../../src/errors.ts";
import type { MigrateOptions } from "../../src/options.ts";
import { parseRate, parseSize } from "../../src/options/values.ts";

function parse(...args: string[]): MigrateOptions {
  const commandLine = { argv: args, version: "0.1.0", print: () => undefined, helpColumns: 80 };
  const options = parseCommandLine(commandLine);
  if (options?.command !== "migrate") throw new Error("no options of migrate");
  return options;
}

const migrate = (...args: string[]): MigrateOptions => parse("migrate", ...args, "/old", "/new");

function refusal(run: () => unknown): { message: string; hint: string | undefined; exitCode: string } {
  try {
    run();
  } catch (error) {
    if (!(error instanceof DedupeError)) throw error;
    return { message: error.message, hint: error.hint, exitCode: error.exitCode };
  }
  throw new Error("was not refused");
}

test("what holds where nothing is typed", () => {
  expect(migrate()).toEqual({
    command: "migrate",
    source: "/old",
    target: "/new",
    dryRun: false,
    filters: [],
    compared: { time: true, mode: true, owner: true, xattrs: true },
    merge: "all",
    minSizeBytes: 1,
    maxSizeBytes: Number.MAX_SAFE_INTEGER,
    snapshotsGlob: undefined,
    delete: false,
    forceDelete: false,
    maxDelete: undefined,
    checksum: false,
    removeSourceFiles: false,
    oneFileSystem: false,
    xattrs: true,
    indexDir: undefined,
    jobs: Math.min(64, availableParallelism()),
    areJobsGiven: false,
    bwlimitBytes: undefined,
    strict: false,
    json: false,
    progress: "auto",
    quiet: false,
    verbose: false,
    logFile: undefined,
  });
});

test.each<[string[], Partial<MigrateOptions>]>([
  [["-n"], { dryRun: true }],
  [["--dry-run"], { dryRun: true }],
  [["--ignore-time"], { compared: { time: false, mode: true, owner: true, xattrs: true } }],
  [
    ["--ignore-mode", "--ignore-owner", "--ignore-xattrs"],
    { compared: { time: true, mode: false, owner: false, xattrs: false } },
  ],
  [["--merge", "none"], { merge: "none" }],
  [["--merge=none", "--merge=all"], { merge: "all" }],
  [["--min-size=0", "--max-size", "1.5m"], { minSizeBytes: 0, maxSizeBytes: 1_572_864 }],
  [["--snapshots", "backup-*"], { snapshotsGlob: "backup-*" }],
  [["--delete", "--force-delete", "--max-delete=0"], { delete: true, forceDelete: true, maxDelete: 0 }],
  [["--checksum"], { checksum: true }],
  [["--remove-source-files"], { removeSourceFiles: true }],
  [["-x"], { oneFileSystem: true }],
  [["--one-file-system"], { oneFileSystem: true }],
  [["--no-xattrs"], { xattrs: false }],
  [["--index", "/fast/index"], { indexDir: "/fast/index" }],
  [["-j", "1"], { jobs: 1, areJobsGiven: true }],
  [["-j64"], { jobs: 64, areJobsGiven: true }],
  [["--jobs=7"], { jobs: 7, areJobsGiven: true }],
  [["--bwlimit=1.5m"], { bwlimitBytes: 1_572_864 }],
  [["--strict"], { strict: true }],
  [["--json"], { json: true }],
  [["--progress"], { progress: "on" }],
  [["--progress", "--no-progress"], { progress: "off" }],
  [["--no-progress", "--progress"], { progress: "on" }],
  [["-q"], { quiet: true }],
  [["-vx"], { verbose: true, oneFileSystem: true }],
  [["--log-file", "run.log"], { logFile: "run.log" }],
])("%j", (args, expected) => {
  expect(migrate(...args)).toEqual({ ...migrate(), ...expected });
});

describe("filters", () => {
  test("keep the order of the command line, whatever their kind", () => {
    const args = ["--exclude=a", "-f", "- *.tmp", "--include", "b", "--exclude-from=x", "--exclude", "c"];
    expect(migrate(...args, "--include-from", "y", "--filter=+ d").filters).toEqual([
      { type: "exclude", pattern: Buffer.from("a") },
      { type: "filter", pattern: Buffer.from("- *.tmp") },
      { type: "include", pattern: Buffer.from("b") },
      { type: "exclude-from", file: "x" },
      { type: "exclude", pattern: Buffer.from("c") },
      { type: "include-from", file: "y" },
      { type: "filter", pattern: Buffer.from("+ d") },
    ]);
  });

  test("may stand after the arguments", () => {
    const { filters, source, target } = parse("migrate", "/old", "--exclude", "a", "/new", "--include", "b");
    expect({ source, target }).toEqual({ source: "/old", target: "/new" });
    expect(filters.map(({ type }) => type)).toEqual(["exclude", "include"]);
  });

  test("are not shared between two runs of the parser", () => {
    migrate("--exclude=a");
    expect(migrate().filters).toEqual([]);
  });
});

test("-- ends the options", () => {
  expect(parse("migrate", "--", "-old", "--new")).toMatchObject({ source: "-old", target: "--new" });
});

describe("sizes are rsync's", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1b", 1],
    ["1K", 1024],
    ["1k", 1024],
    ["1KiB", 1024],
    ["1KB", 1000],
    ["1.5M", 1_572_864],
    ["1.5mb-1", 1_499_999],
    ["2g+1", 2_147_483_649],
    [".5k", 512],
    ["1.", 1],
    ["1.9", 1],
    ["3T", 3 * 1024 ** 4],
    ["1P", 1024 ** 5],
  ])("%s is %d bytes", (text, sizeBytes) => {
    expect(parseSize(text, "--min-size")).toBe(sizeBytes);
  });

  test.each(["", "x", "-1", "1X", "1 K", "K", "1KX", "1e3", "0x10", "1K+2", ".", "0-1", "1,5M", "Infinity"])(
    "%j is none",
    (text) => {
      expect(refusal(() => parseSize(text, "--min-size"))).toMatchObject({
        message: `--min-size takes a size such as 4096, 100K, 1.5M or 2GB, not '${text}'`,
        exitCode: "usage",
      });
    },
  );

  test("more than can be counted exactly is too large", () => {
    expect(refusal(() => parseSize("9000P", "--max-size")).message).toBe("--max-size is too large: '9000P'");
  });
});

describe("rates are rsync's", () => {
  test.each([
    ["0", undefined],
    ["100", 102_400],
    ["1.5m", 1_572_864],
    ["1000b", 1024],
    ["1MB", 1_000_448],
  ])("%s is %s bytes a second", (text, rateBytes) => {
    expect(parseRate(text, "--bwlimit")).toBe(rateBytes);
  });

  test("less than half a KiB is refused, as by rsync", () => {
    expect(refusal(() => parseRate("100b", "--bwlimit")).message).toMatch(/at least 512 bytes a second/);
  });
});

describe("refused with one sentence and exit 2", () => {
  test.each<[string[], string]>([
    [["--dele"], "unknown option '--dele'"],
    [["-j", "0"], "--jobs takes a whole number from 1 to 64, not '0'"],
    [["-j", "65"], "--jobs takes a whole number from 1 to 64, not '65'"],
    [["-j", "1.5"], "--jobs takes a whole number from 1 to 64, not '1.5'"],
    [["--delete", "--max-delete=-1"], "--max-delete takes a whole number from 0, not '-1'"],
    [["--merge", "some"], "--merge takes 'all' or 'none', not 'some'"],
    [["--min-size=2K", "--max-size=1K"], "--min-size is larger than --max-size"],
    [
      ["--delete", "--remove-source-files"],
      "--delete and --remove-source-files contradict each other: a run after the move would delete what was moved",
    ],
    [["--force-delete"], "--force-delete means nothing without --delete"],
    [["--max-delete=5"], "--max-delete means nothing without --delete"],
    [["-q", "-v"], "--quiet and --verbose contradict each other"],
    [["--snapshots="], "--snapshots is empty"],
    [["--log-file="], "--log-file is empty"],
    [["--log-file=/old/run.log"], "--log-file /old/run.log lies inside the source, which is never written"],
    [["--index=/old"], "--index /old lies inside the source, which is never written"],
    [["--index=/x/../old/y"], "--index /x/../old/y lies inside the source, which is never written"],
  ])("%j", (args, message) => {
    expect(refusal(() => migrate(...args))).toMatchObject({ message, exitCode: "usage" });
  });

  test.each<[string[], string]>([
    [[], "no command given"],
    [["prune", "/a"], "unknown command 'prune'"],
    [["migrate"], "missing required argument 'source'"],
    [["migrate", "/a"], "missing required argument 'target'"],
    [["migrate", "", "/b"], "<source> is empty"],
    [["migrate", "/a", "/b", "/c"], "too many arguments for 'migrate'. Expected 2 arguments but got 3."],
    [["migrate", "/a", "/b", "--exclude"], "option '--exclude <pattern>' argument missing"],
    [["migrate", "/a\ufffd", "/b"], "the argument '/a\ufffd' is not valid UTF-8"],
  ])("%j", (args, message) => {
    const { exitCode, hint, ...rest } = refusal(() => parse(...args));
    expect(rest.message).toMatch(message.slice(0, 30));
    expect(exitCode).toBe("usage");
    expect(hint).toMatch(/./);
    expect(rest.message).not.toContain("\n");
  });

  test("a near miss is suggested", () => {
    expect(refusal(() => migrate("--checksums")).hint).toBe("Did you mean --checksum?");
  });

  for (const command of ["migrate", "relink", "compact", "verify", "stats"])
    test(`of ${command} is told where its own options are`, () => {
      const hint = `Try 'dedupe ${command} --help'.`;
      expect(refusal(() => parse(command, "--zzz", "/root")).hint).toBe(hint);
      expect(refusal(() => parse(command, "--jobs", "0", "/root", "/new")).hint).toBe(hint);
    });
});

test("a log beside the source is no log inside it", () => {
  expect(migrate("--log-file=/old.log").logFile).toBe("/old.log");
});

test("other systems are refused in one sentence", () => {
  checkPlatform("linux", "arm64");
  expect(refusal(() => checkPlatform("darwin", "arm64"))).toMatchObject({
    message: "dedupe works on Linux (x64, arm64) only, and this is darwin (arm64)",
    exitCode: "usage",
  });
});

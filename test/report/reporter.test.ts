import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Event } from "../../src/report/events.ts";
import { openReporter, type ReporterOptions } from "../../src/report/reporter.ts";
import { sampleFailure, sampleProgress, sampleStart, sampleStream, sampleSummary } from "./sample.ts";

const plain: ReporterOptions = {
  json: false,
  progress: "auto",
  quiet: false,
  verbose: false,
  logFile: undefined,
};

const snapshot: Event = {
  type: "snapshot",
  path: Buffer.from("daily.2"),
  state: "new",
  index: 3,
  total: 30,
  names: 5012,
  failures: 0,
};
const run = [
  sampleStart(),
  sampleProgress({ elapsedMs: 61_000 }),
  snapshot,
  sampleFailure("daily.2/a"),
  sampleProgress({ elapsedMs: 62_000 }),
  sampleSummary(),
];

async function told(
  options: Partial<ReporterOptions>,
  terminal: "none" | "stderr" | "dumb" = "none",
): Promise<{ out: string; err: string }> {
  const streams = { stdout: sampleStream(), stderr: sampleStream({ isTTY: terminal !== "none" }) };
  const term = process.env["TERM"];
  process.env["TERM"] = terminal === "dumb" ? "dumb" : "xterm";
  try {
    const reporter = openReporter({ ...plain, ...options }, streams);
    for (const event of run) reporter.emit(event);
    await reporter.close();
  } finally {
    process.env["TERM"] = term;
  }
  return { out: streams.stdout.text(), err: streams.stderr.text() };
}

const barOf = (text: string): boolean => text.includes("\x1b");
const minutes = (text: string): number =>
  text.split("\n").filter((line) => line.startsWith("1 min 1 s:")).length;

describe("for a person", () => {
  test("a bar on a terminal, above it the lines, no line a minute", async () => {
    const { out, err } = await told({}, "stderr");
    expect(barOf(err)).toBe(true);
    expect(minutes(out + err)).toBe(0);
    expect(out).toContain("snapshot 3 of 30  daily.2  5,012 names\n");
    expect(err).toContain("failed: daily.2/a: permission denied (EACCES)\n");
  });

  test.each(["none", "dumb"] as const)("a plain line a minute on stdout (terminal: %s)", async (terminal) => {
    const { out, err } = await told({}, terminal);
    expect(barOf(out + err)).toBe(false);
    expect(minutes(out)).toBe(1);
    expect(minutes(err)).toBe(0);
  });

  test("--no-progress has neither, and keeps the snapshots", async () => {
    const { out, err } = await told({ progress: "off" }, "stderr");
    expect(barOf(err)).toBe(false);
    expect(minutes(out + err)).toBe(0);
    expect(out).toContain("snapshot 3 of 30");
  });

  test("-q has failures alone", async () => {
    expect(await told({ quiet: true }, "stderr")).toEqual({
      out: "",
      err: "failed: daily.2/a: permission denied (EACCES)\n",
    });
  });

  test("-q --progress has progress on stderr", async () => {
    const { out, err } = await told({ quiet: true, progress: "on" });
    expect(out).toBe("");
    expect(minutes(err)).toBe(1);
  });
});

describe("for a script", () => {
  const types = (text: string): string[] =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as Event).type);

  test("stdout is JSON Lines and nothing else, stderr empty", async () => {
    const { out, err } = await told({ json: true }, "stderr");
    expect(types(out)).toEqual(["start", "progress", "snapshot", "failure", "progress", "summary"]);
    expect(err).toBe("");
  });

  test("--progress draws on stderr", async () => {
    const { out, err } = await told({ json: true, progress: "on" }, "stderr");
    expect(types(out)).toHaveLength(6);
    expect(barOf(err)).toBe(true);
    const withoutTerminal = await told({ json: true, progress: "on" });
    expect(types(withoutTerminal.out)).toHaveLength(6);
    expect(minutes(withoutTerminal.err)).toBe(1);
  });

  test("an error is said on stderr too, a bug only by its stack", async () => {
    const streams = { stdout: sampleStream(), stderr: sampleStream() };
    const reporter = openReporter({ ...plain, json: true }, streams);
    reporter.emit({ type: "error", code: "locked", message: "locked", hint: "Wait.", exitCode: 5 });
    reporter.emit({ type: "error", code: "bug", message: "a bug", exitCode: 1 });
    reporter.emit(sampleSummary({ error: { code: "no-space", message: "full" } }));
    await reporter.close();
    expect(types(streams.stdout.text())).toEqual(["error", "error", "summary"]);
    expect(streams.stderr.text()).toBe("dedupe: locked\nWait.\ndedupe: full\n");
  });
});

test("the log file hears everything, whatever is shown", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dedupe-reporter-"));
  const logFile = join(folder, "run.log");
  await told({ quiet: true, logFile });
  const text = readFileSync(logFile, "utf8");
  rmSync(folder, { recursive: true });
  for (const part of ["snapshot 3 of 30", "failed: daily.2/a", "Finished after", "exit code 0"]) {
    expect(text).toContain(part);
  }
});

test("a reader that left keeps nobody waiting", async () => {
  const streams = { stdout: sampleStream(), stderr: sampleStream() };
  streams.stdout.on("error", () => undefined);
  streams.stdout.destroy(new Error("EPIPE"));
  const reporter = openReporter(plain, streams);
  for (const event of run) reporter.emit(event);
  await expect(reporter.close()).resolves.toBeUndefined();
});

test("the whole text is out when close resolves", async () => {
  const { out } = await told({});
  expect(out.trimEnd()).toMatch(/dedupe compact \/mnt\/new$/);
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLogFile } from "../../src/report/log-file.ts";
import { sampleFailure, sampleProgress, sampleStart, sampleSummary } from "./sample.ts";

let folder = "";
let file = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dedupe-log-"));
  file = join(folder, "run.log");
});

afterEach(() => rmSync(folder, { recursive: true }));

const now = (): Date => new Date("2026-01-02T03:04:05.678Z");
const lines = (): string[] => readFileSync(file, "utf8").split("\n").slice(0, -1);

test("has every failure, the report and the exit code, each line with its time", async () => {
  const log = openLogFile(file, now);
  log.emit(sampleStart());
  for (let count = 0; count < 1000; count += 1) log.emit(sampleFailure(`daily.0/a\n${count}`));
  log.emit(sampleSummary({ outcome: "partial", exitCode: 3, failures: 1000 }));
  await log.close();
  expect(lines()[0]).toBe("2026-01-02T03:04:05.678Z dedupe 0.1.0: migrate /mnt/old -> /mnt/new (2 workers)");
  expect(lines().filter((line) => line.includes(" failed: daily.0/a\\n"))).toHaveLength(1000);
  expect(lines().join("\n")).toContain("skipped    1,000 entries: 1,000 EACCES");
  expect(lines().at(-1)).toBe("2026-01-02T03:04:05.678Z exit code 3, peak memory 90 MB");
  for (const line of lines()) expect(line).toMatch(/^2026-01-02T03:04:05\.678Z ./);
});

test("has names where the run is verbose, and progress once a minute", async () => {
  const log = openLogFile(file, now);
  log.emit({ type: "entry", path: Buffer.from("daily.0/a"), action: "linked" });
  for (let second = 0; second < 130; second += 1) log.emit(sampleProgress({ elapsedMs: second * 1000 }));
  await log.close();
  expect(lines()).toHaveLength(3);
  expect(lines()[0]).toMatch(/ linked +daily\.0\/a$/);
});

test("names the error that ended the run", async () => {
  const log = openLogFile(file, now);
  log.emit({ type: "error", code: "bug", message: "a bug: x", exitCode: 1 });
  log.emit(sampleSummary({ outcome: "failed", error: { code: "c", message: "full", hint: "Make room." } }));
  await log.close();
  expect(lines().map((line) => line.slice(25))).toEqual(
    expect.arrayContaining(["dedupe: a bug: x", "dedupe: full", "Make room."]),
  );
});

test("is written while the run goes on", async () => {
  const log = openLogFile(file, now);
  log.emit(sampleFailure("a"));
  log.emit(sampleProgress({ elapsedMs: 1000 }));
  expect(lines()).toHaveLength(1);
  await log.close();
});

test("appends, and is made for its owner alone", async () => {
  writeFileSync(file, "earlier\n");
  await openLogFile(file).close();
  expect(lines()).toEqual(["earlier"]);
  const fresh = join(folder, "fresh.log");
  const umask = process.umask(0);
  await openLogFile(fresh).close();
  process.umask(umask);
  expect(statSync(fresh).mode & 0o777).toBe(0o600);
});

test("a file that cannot be opened is told at once", () => {
  expect(() => openLogFile(join(folder, "missing", "run.log"))).toThrow(/ENOENT/);
});

test("a full disk ends the log, not the run, and is told at the end", async () => {
  const log = openLogFile("/dev/full", now);
  log.emit(sampleStart());
  log.emit(sampleSummary());
  await expect(log.close()).rejects.toThrow(/ENOSPC/);
});

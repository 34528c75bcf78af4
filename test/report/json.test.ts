import { expect, test } from "vitest";
import type { Event } from "../../src/report/events.ts";
import { createJsonReporter, type JsonVerbosity, toJson } from "../../src/report/json.ts";
import { sampleFailure, sampleProgress, sampleStart, sampleSummary } from "./sample.ts";

const everything: JsonVerbosity = { entries: true, progress: true, errorsOnly: false };

function typesWritten(events: Event[], verbosity: Partial<JsonVerbosity>): string[] {
  let text = "";
  const reporter = createJsonReporter((more) => (text += more), { ...everything, ...verbosity });
  for (const event of events) reporter.emit(event);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as Event).type);
}

const entry: Event = { type: "entry", path: Buffer.from("a"), action: "copied" };
const snapshot: Event = {
  type: "snapshot",
  path: Buffer.from("daily.0"),
  state: "new",
  index: 1,
  total: 30,
  names: 12,
  failures: 0,
};

test("a path is a string where it is UTF-8", () => {
  expect(JSON.parse(toJson(sampleFailure("daily.0/é\n")))).toEqual({
    type: "failure",
    path: "daily.0/é\n",
    code: "EACCES",
    message: "permission denied",
  });
});

test("a path that is no UTF-8 keeps its bytes", () => {
  const path = Buffer.from([0x61, 0xff, 0x62]);
  const parsed = JSON.parse(toJson({ ...snapshot, path })) as { path: { bytes: string } };
  expect(Buffer.from(parsed.path.bytes, "base64")).toEqual(path);
});

test("a summary is written as it is", () => {
  const summary = sampleSummary({ error: { code: "no-space", message: "the target is full" } });
  expect(JSON.parse(toJson(summary))).toEqual(summary);
});

test("one line an event, names only with -v", () => {
  const events = [sampleStart(), entry, snapshot, sampleFailure("b"), sampleSummary()];
  expect(typesWritten(events, {})).toEqual(["start", "entry", "snapshot", "failure", "summary"]);
  expect(typesWritten(events, { entries: false })).toEqual(["start", "snapshot", "failure", "summary"]);
});

test("-q leaves failures, errors and the summary", () => {
  const error: Event = { type: "error", code: "x", message: "y", exitCode: 1 };
  const events = [
    sampleStart(),
    entry,
    snapshot,
    sampleProgress(),
    sampleFailure("b"),
    error,
    sampleSummary(),
  ];
  expect(typesWritten(events, { errorsOnly: true })).toEqual(["failure", "error", "summary"]);
});

test("progress is written once a second at most, and not with --no-progress", () => {
  const events = [0, 200, 900, 1000, 1200, 5000].map((elapsedMs) => sampleProgress({ elapsedMs }));
  expect(typesWritten(events, {})).toHaveLength(3);
  expect(typesWritten(events, { progress: false })).toEqual([]);
});

test("names are written in batches, and before the next other event", async () => {
  const writes: string[] = [];
  const reporter = createJsonReporter((text) => writes.push(text), everything);
  reporter.emit(entry);
  reporter.emit(entry);
  expect(writes).toEqual([]);
  reporter.emit(snapshot);
  expect(writes).toHaveLength(1);
  for (let count = 0; count < 3000; count += 1) reporter.emit(entry);
  expect(writes.length).toBeGreaterThan(1);
  await reporter.close();
  expect(writes.join("").split("\n")).toHaveLength(3004);
});

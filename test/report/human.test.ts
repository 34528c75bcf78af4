import { describe, expect, test } from "vitest";
import type { Event } from "../../src/report/events.ts";
import { createHumanReporter, type HumanView } from "../../src/report/human.ts";
import { sampleFailure, sampleStart, sampleSummary } from "./sample.ts";

function shown(events: Event[], view: Partial<HumanView> = {}): { out: string[]; err: string[] } {
  let out = "";
  let err = "";
  const screen = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const reporter = createHumanReporter({
    screen,
    progress: undefined,
    quiet: false,
    verbose: false,
    logFile: undefined,
    ...view,
  });
  for (const event of events) reporter.emit(event);
  void reporter.close();
  return { out: out.split("\n").slice(0, -1), err: err.split("\n").slice(0, -1) };
}

type SnapshotEvent = Extract<Event, { type: "snapshot" }>;

const snapshot = (event: Partial<SnapshotEvent> = {}): Event => ({
  type: "snapshot",
  path: Buffer.from("daily.2"),
  state: "new",
  index: 3,
  total: 30,
  names: 5012,
  failures: 0,
  ...event,
});

const failures = (count: number): Event[] =>
  Array.from({ length: count }, (_, index) => sampleFailure(`daily.0/f${index}`));

test("the head of a run", () => {
  const notice: Event = { type: "notice", level: "info", code: "x", message: "times are kept to the second" };
  expect(shown([sampleStart(), notice, { type: "plan", snapshots: 30 }]).out).toEqual([
    "migrate /mnt/old -> /mnt/new (2 workers)",
    "times are kept to the second",
    "30 snapshots to look at",
  ]);
});

test("warnings go to stderr", () => {
  const warning: Event = { type: "notice", level: "warning", code: "x", message: "no journal\x1b" };
  expect(shown([warning])).toEqual({ out: [], err: ["warning: no journal\\x1b"] });
});

test("one line a snapshot, with what became of it", () => {
  const events = [
    snapshot(),
    snapshot({ state: "updated" }),
    snapshot({ state: "unchanged" }),
    snapshot({ state: "incomplete", failures: 2 }),
  ];
  expect(shown(events).out).toEqual([
    "snapshot 3 of 30  daily.2  5,012 names",
    "snapshot 3 of 30  daily.2  5,012 names  updated",
    "snapshot 3 of 30  daily.2  5,012 names  unchanged",
    "snapshot 3 of 30  daily.2  5,012 names  incomplete: 2 entries could not be handled",
  ]);
});

test("a dry run says would", () => {
  const { out } = shown([sampleStart({ dryRun: true }), snapshot(), snapshot({ state: "updated" })]);
  expect(out).toEqual([
    "migrate /mnt/old -> /mnt/new (dry run, nothing will be changed)",
    "snapshot 3 of 30  daily.2  5,012 names  would be made",
    "snapshot 3 of 30  daily.2  5,012 names  would be updated",
  ]);
});

describe("failures", () => {
  test("twenty are shown, the others counted", () => {
    const { err } = shown([...failures(25), sampleSummary({ failures: 25, outcome: "partial" })]);
    expect(err.slice(0, 20)).toEqual(
      failures(20).map((_, index) => `failed: daily.0/f${index}: permission denied (EACCES)`),
    );
    expect(err.slice(20)).toEqual([
      "… further failures are counted, not shown",
      "… and 5 more (see --log-file)",
    ]);
  });

  test("the rest is in the log file if there is one", () => {
    const { err } = shown([...failures(1021), sampleSummary({ failures: 1021 })], { logFile: "run.log" });
    expect(err.at(-1)).toBe("… and 1,001 more (all are in run.log)");
  });

  test("names are escaped, the root is a dot, and a code in the message is not said twice", () => {
    const own: Event = {
      type: "failure",
      path: Buffer.from(""),
      code: "EIO",
      message: "EIO: input/output error",
    };
    expect(shown([sampleFailure("a\x1b[2J"), own]).err).toEqual([
      "failed: a\\x1b[2J: permission denied (EACCES)",
      "failed: .: EIO: input/output error",
    ]);
  });

  test("the report says why, the commonest reason first", () => {
    const events = [sampleFailure("a", "unstable"), ...failures(3), sampleSummary({ failures: 4 })];
    expect(shown(events).out.join("\n")).toMatch(/skipped +4 entries: 3 EACCES, 1 unstable/);
  });

  test("a flood of different codes is counted in a bounded table", () => {
    const events = Array.from({ length: 1000 }, (_, index) => sampleFailure("a", `code-${index}`));
    expect(shown([...events, sampleSummary({ failures: 1000 })]).out.join("\n")).toContain("950 other");
  });
});

describe("-v and -q", () => {
  const entry: Event = { type: "entry", path: Buffer.from("daily.0/a\nb"), action: "copied" };

  test("-v shows one line a name", () => {
    expect(shown([entry], { verbose: true }).out).toEqual(["copied     daily.0/a\\nb"]);
    expect(shown([entry]).out).toEqual([]);
  });

  test("-q shows nothing of a run that went well", () => {
    const warning: Event = { type: "notice", level: "warning", code: "x", message: "y" };
    const events = [sampleStart(), warning, snapshot(), sampleSummary()];
    expect(shown(events, { quiet: true })).toEqual({ out: [], err: [] });
  });

  test("-q shows failures and that not all went well", () => {
    const partial = sampleSummary({ outcome: "partial", exitCode: 3, failures: 1 });
    expect(shown([...failures(1), partial], { quiet: true })).toEqual({
      out: [],
      err: [
        "failed: daily.0/f0: permission denied (EACCES)",
        "dedupe: finished after 12 min 3 s, but 1 entry could not be handled.",
      ],
    });
  });

  test("-q says that a run was stopped", () => {
    const snapshots = { total: 30, new: 3, updated: 0, unchanged: 0, incomplete: 0, pending: 27 };
    const stopped = sampleSummary({ outcome: "stopped", exitCode: 143, snapshots });
    expect(shown([stopped], { quiet: true }).err).toEqual([
      "dedupe: stopped by SIGTERM after 12 min 3 s; 3 of 30 snapshots done.",
    ]);
  });
});

test("the error that ended a run comes last, with its hint", () => {
  const error = { code: "no-space", message: "the target is full", hint: "Make room and run again." };
  const { err } = shown([sampleSummary({ outcome: "failed", exitCode: 1, error })]);
  expect(err).toEqual(["dedupe: the target is full", "Make room and run again."]);
});

test("an error without a summary is shown, a bug is left to the composition root", () => {
  const refused: Event = { type: "error", code: "locked", message: "locked", hint: "Wait.", exitCode: 5 };
  const bug: Event = { type: "error", code: "bug", message: "a bug", exitCode: 1 };
  expect(shown([refused, bug]).err).toEqual(["dedupe: locked", "Wait."]);
});

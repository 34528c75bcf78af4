import { describe, expect, it } from "vitest";
import { chooseUnits } from "../../src/stats/choose-units.ts";
import { snapshotMatcher } from "../../src/commands/snapshot-glob.ts";
import type { Unit } from "../../src/tree/snapshots.ts";

const unit = (path: string, type: Unit["type"] = "snapshot"): Unit => ({
  type,
  path: Buffer.from(path),
  mtimeNs: 0n,
  inode: "",
});

const units = [
  ...["daily.0", "daily.1", "daily.2", "daily.10", "weekly.0", "a..b"].map((path) => unit(path)),
  ...["host/2024-05-30", "host/2024-05-31", "host/2024-06-01", "other/2024-05-31"].map((path) => unit(path)),
  ...["host/daily.1", "host/daily.2"].map((path) => unit(path)),
  unit("etc", "directory"),
  unit("host", "loose"),
];

function chosen(...sets: string[]): string[] {
  const { isChosen, nothing } = chooseUnits(units, sets, snapshotMatcher);
  return [
    ...units.flatMap(({ path }, at) => (isChosen[at] === true ? [path.toString()] : [])),
    ...nothing.map((set) => `nothing: ${set}`),
  ];
}

describe("a set of snapshots", () => {
  it.each<[string[], string[]]>([
    [["daily.1"], ["daily.1"]],
    [["daily.1/"], ["daily.1"]],
    [["etc"], ["etc"]],
    [["host"], ["nothing: host"]],
    [["daily.1..daily.9"], ["daily.1", "daily.2"]],
    [["daily.10..daily.2"], ["daily.2", "daily.10"]],
    [["daily.1..2"], ["daily.1", "daily.2"]],
    [["host/daily.0..host/daily.1"], ["host/daily.1"]],
    [["host/2024-05-31..host/2024-12-31"], ["host/2024-05-31", "host/2024-06-01"]],
    [["host/2024-05-31..2024-06-30"], ["host/2024-05-31", "host/2024-06-01"]],
    [["*/2024-05-31"], ["host/2024-05-31", "other/2024-05-31"]],
    [["*ly.0"], ["daily.0", "weekly.0"]],
    [["a..b"], ["a..b"]],
    [["*"], units.filter(({ type }) => type === "snapshot").map(({ path }) => path.toString())],
    [
      ["weekly.0", "daily.3"],
      ["weekly.0", "nothing: daily.3"],
    ],
    [["daily.20..daily.29"], ["nothing: daily.20..daily.29"]],
  ])("%j means %j", (sets, expected) => {
    expect(chosen(...sets)).toEqual(expected);
  });
});

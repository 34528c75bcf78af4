import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nextNumber, parseRecord, withTurn, type SliceTurn } from "../../src/commands/verify-slices.ts";
import { startDedupe } from "../support/dedupe.ts";
import { verify as faultyVerify } from "../support/faulty-run.ts";
import { makeMigrated } from "../support/migrated.ts";
import { verify } from "../support/verify.ts";

const now = new Date("2026-03-01T00:00:00.000Z");
const record = (value: unknown, of = 3) => parseRecord(Buffer.from(JSON.stringify(value)), of, now);

describe("verify --slice next/N", () => {
  let target: string;
  let close: () => void;
  beforeAll(() => {
    ({ target, close } = makeMigrated());
  });
  afterAll(() => close());

  it("reads the part that was never read, then the one that was read longest ago", () => {
    const slice = (text: string): number | undefined =>
      verify(["--slice", text, target]).summary.slice?.number;
    expect([slice("2/2"), slice("next/2"), slice("next/2")]).toEqual([2, 1, 2]);
  });

  it("goes on though a snapshot's directory can never be read, and records how much could not", async () => {
    const rules = [
      {
        ...{ calls: ["openat"], path: "daily.0", times: 1_000_000 },
        action: { type: "fail", errno: constants.errno.EIO } as const,
      },
    ];
    for (const number of [1, 2]) {
      const args = ["-j", "1", "--slice", "next/3"];
      const { code, summary } = await faultyVerify(target, { args, plan: { rules } });
      expect([code, summary]).toMatchObject([3, { failures: 1, slice: { number, of: 3 } }]);
    }
    expect(recorded()).toMatchObject({ of: 3, failures: { "1": 1, "2": 1 } });
    expect(Object.keys((recorded() as { done: object }).done)).toEqual(["1", "2"]);
  });

  it("records that a part was stopped", async () => {
    const run = startDedupe(["verify", "--bwlimit", "1", "--slice", "3/3", target]);
    run.process.stdout?.once("data", () => run.process.kill("SIGTERM"));
    expect((await run.ended).code).toBe(143);
    expect(recorded()).toMatchObject({ stopped: { "3": [expect.any(String)] } });
  });

  it("passes a part over that killed runs never read to its end", async () => {
    const kill = { type: "kill", when: "before" } as const;
    const rules = [{ calls: ["getdents64"], path: ".dedupe/objects", action: kill }];
    for (const stopped of [["1"], ["1"], ["1", "2"]]) {
      const { code } = await faultyVerify(target, { args: ["--slice", "next/4"], plan: { rules } });
      expect(code).toBe(null);
      expect(Object.keys((recorded() as { stopped: object }).stopped)).toEqual(stopped);
    }
  });

  const recorded = (): unknown =>
    JSON.parse(readFileSync(join(target, ".dedupe/log/verify-slices.json"), "utf8"));
});

describe("the record of slices", () => {
  it("has a part that was stopped twice come after all others", () => {
    let seconds = 0;
    const take = (before: ReturnType<typeof record>, turn: SliceTurn): ReturnType<typeof record> =>
      withTurn(before, nextNumber(before), { turn, at: new Date(++seconds * 1000) });
    let current = record({ of: 2 }, 2);
    const numbers = (["stopped", "stopped", "read", "read", "stopped", "read"] as const).map((type) => {
      const number = nextNumber(current);
      current = take(current, type === "read" ? { type, failures: 0 } : { type });
      return number;
    });
    expect(numbers).toEqual([1, 1, 2, 1, 2, 2]);
    expect(current).toMatchObject({ stopped: {}, failures: {} });
  });

  it("says nothing where it is damaged, of another division, or ahead of the clock", () => {
    const empty = { of: 3, done: {}, failures: {}, stopped: {} };
    for (const value of [null, 5, [], { of: 3, done: null }, { of: 3, done: 7 }, { of: 4, done: { 1: "" } }])
      expect(record(value)).toEqual(empty);
    const [then, later] = ["2026-02-01T00:00:00.000Z", "2026-04-01T00:00:00.000Z"];
    const done = { 0: then, 1: then, 2: later, 3: "yesterday", 4: then, "": then };
    expect(
      record({ of: 3, done, failures: { 1: 2, 2: 1, 3: "x" }, stopped: { 3: [then], 1: then } }),
    ).toEqual({
      ...{ of: 3, done: { 1: then }, failures: { 1: 2 } },
      stopped: { 3: [then] },
    });
  });
});

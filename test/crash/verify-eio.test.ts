import { constants } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { verify as faultyVerify, type RunResult } from "../support/faulty-run.ts";
import type { FaultPlan } from "../support/faults/plan.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { flip, objectOf, objectsOf } from "../support/store-objects.ts";
import { file, linkTo, makeTree } from "../support/tree.ts";
import { verify } from "../support/verify.ts";

useFolders();

const large = "0123456789".repeat(130_000);

describe("objects that the disk refuses to give", () => {
  /** By a name in the snapshots -> the object. */
  let object: (name: string) => string;

  beforeEach(() => {
    makeTree(source, {
      "daily.0/twice": file("a text that two inodes have\n"),
      "daily.0/alone": file("nobody else has this\n"),
      "daily.0/rotten": file("nobody has this either\n"),
      "daily.0/large": file(large),
      "daily.0/sound": file("as it was\n"),
      "daily.1/twice": file("a text that two inodes have\n", { mode: 0o600 }),
      "daily.1/alone": linkTo("daily.0/alone"),
      "daily.1/large": file(large, { mode: 0o640 }),
      "daily.2/large": file(large, { mode: 0o600 }),
      "daily.2/twice": linkTo("daily.0/twice"),
    });
    migrateWell(source, target);
    const named = new Map(
      ["daily.0/twice", "daily.0/alone", "daily.0/rotten", "daily.0/large", "daily.1/large"].map((name) => [
        name,
        objectOf(target, name),
      ]),
    );
    object = (name) => named.get(name)!;
  });

  const refusing = (names: readonly string[]): FaultPlan => ({
    rules: names.map((name) => ({
      ...{ calls: ["pread"], path: object(name), times: 1_000_000 },
      action: { type: "fail", errno: constants.errno.EIO } as const,
    })),
  });
  const run = async (plan: FaultPlan, ...args: string[]): Promise<RunResult> =>
    faultyVerify(target, { args: ["-j", "1", ...args], plan });
  const told = ({ stdout }: RunResult, type: string, field = "path"): string[] =>
    stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((event) => event["type"] === type)
      .map((event) => String(event[field]))
      .sort();
  const refused = ["daily.0/twice", "daily.0/alone", "daily.1/large"];
  const objects = (...names: string[]): string[] => names.map((name) => object(name)).sort();

  it("are listed and end in exit 3, and all others are read", async () => {
    const result = await run(refusing(refused));
    expect(result).toMatchObject({ code: 3, hung: false, summary: { outcome: "partial", failures: 3 } });
    expect(result.failures.map(({ path }) => path).sort()).toEqual(objects(...refused));
    expect(new Set(result.failures.map(({ code }) => code))).toEqual(new Set(["EIO"]));
    expect(told(result, "finding")).toEqual([]);
    expect(told(result, "affected")).toEqual([
      ...["daily.0/alone", "daily.0/twice", "daily.1/alone", "daily.1/large", "daily.2/twice"],
    ]);
    expect(JSON.parse(result.stdout.trim().split("\n").at(-1)!)).toMatchObject({
      objects: objectsOf(target).length,
    });
  });

  it("hide no finding", async () => {
    for (const name of ["daily.0/rotten", "daily.0/large"]) flip(join(target, name), 3);
    const result = await run(refusing(refused));
    expect(result).toMatchObject({ code: 4, summary: { outcome: "findings", failures: 3 } });
    expect(told(result, "finding")).toEqual(objects("daily.0/rotten", "daily.0/large"));
    expect(told(result, "affected")).toEqual([
      ...["daily.0/alone", "daily.0/large", "daily.0/rotten", "daily.0/twice", "daily.1/alone"],
      ...["daily.1/large", "daily.2/twice"],
    ]);
  });

  it("are told with their names though nothing of the inode can be read", async () => {
    const action = { type: "fail", errno: constants.errno.EBADMSG } as const;
    const rules = [object("daily.0/alone"), "alone"].map((path) => ({
      ...{ calls: ["openat", "statx"], path, times: 1_000_000, action },
    }));
    for (const args of [[], ["--repair"]]) {
      const result = await run({ rules }, ...args);
      expect(result).toMatchObject({ code: args.length === 0 ? 3 : 4, hung: false });
      expect(result.failures.map(({ path, code }) => [path, code])).toEqual([
        [object("daily.0/alone"), "EBADMSG"],
      ]);
      expect(told(result, "unrepaired", "code")).toEqual(args.length === 0 ? [] : ["EBADMSG"]);
      expect(told(result, "affected")).toEqual(["daily.0/alone", "daily.1/alone"]);
    }
  });

  it("are repaired from another copy, past those that cannot be read either, and the rest is listed", async () => {
    for (const name of ["daily.0/rotten", "daily.0/large"]) flip(join(target, name), 3);
    const result = await run(refusing(refused), "--repair");
    expect(result).toMatchObject({ code: 4, hung: false });
    expect(told(result, "repaired")).toEqual(objects("daily.0/twice", "daily.0/large", "daily.1/large"));
    expect(told(result, "unrepaired")).toEqual(objects("daily.0/alone", "daily.0/rotten"));
    expect(told(result, "unrepaired", "code")).toEqual(["NO_COPY", "NO_COPY"]);
    expect(told(result, "affected")).toEqual(["daily.0/alone", "daily.0/rotten", "daily.1/alone"]);
    // What could not be read can be by now.
    expect(verify([target])).toMatchObject({ code: 4, found: [`content ${object("daily.0/rotten")}`] });
    expect(compareTrees(source, target).map(({ class: kind, path }) => `${kind} ${path}`)).toEqual([
      "content daily.0/rotten",
    ]);
  });
});

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../support/faulty-run.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

const count = (name: string) => Number(readFileSync(join(work, name), "utf8"));

/** How many threads there were at a worker's first link, and how many two seconds later. */
async function threadsOf(
  snapshots: number,
  args: readonly string[],
): Promise<{ early: number; late: number }> {
  makeTree(
    source,
    Object.fromEntries(
      Array.from({ length: snapshots }, (_, number) => [`daily.${number}/a`, file(String(number))]),
    ),
  );
  const counting = (name: string) => `ls /proc/$PPID/task | wc -l > ${work}/${name}`;
  const command = `${counting("early")}; sleep 2; ${counting("late")}`;
  const rule = {
    calls: ["linkat"],
    path: "/staging/",
    action: { type: "run", when: "before", command },
  } as const;
  const { code } = await migrate(source, target, { plan: { rules: [rule] }, args });
  expect(code).toBe(0);
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  return { early: count("early"), late: count("late") };
}

describe.skipIf(availableParallelism() < 2)("threads of a migrate", () => {
  it("are one where there is little, and more when that takes long", async () => {
    const { early, late } = await threadsOf(1, []);
    expect(late - early).toBe(Math.min(64, availableParallelism()) - 1);
  });

  it.each([
    ["asked for by number", 1, ["-j2"]],
    ["of many snapshots", 9, []],
    ["of one job", 1, ["-j1"]],
  ] as const)("%s are there from the beginning", async (_, snapshots, args) => {
    const { early, late } = await threadsOf(snapshots, args);
    expect(late).toBe(early);
  });
});

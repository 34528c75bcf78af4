import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compactWell, mismatches, objectsOf } from "../support/compact.ts";
import { migrate } from "../support/dedupe.ts";
import { compact } from "../support/faulty-run.ts";
import { source, target, useFolders } from "../support/folders.ts";

useFolders(2 ** 28);

const names = Array.from({ length: 6 }, (_, index) => `file ${String(index)}`);

/** Files with contents of their own, all in the store. */
function makeTarget(): void {
  mkdirSync(join(source, "daily.0"), { recursive: true });
  for (const name of [...names, "stays"]) writeFileSync(join(source, "daily.0", name), name, { mode: 0o644 });
  expect(migrate(source, target).code).toBe(0);
  compactWell(target);
}

/** A signal just before the third call like this. */
const stopped = (call: string) =>
  compact(target, {
    args: ["-j", "1", "--priority", "normal"],
    plan: {
      rules: [
        {
          ...{ calls: [call], path: ".dedupe/objects", at: 3 },
          action: { type: "run", when: "before", command: "kill -TERM $PPID; sleep 0.5" },
        },
      ],
    },
  });

describe("a compact that is stopped in the middle of a task", () => {
  it("counts what it has pruned", async () => {
    makeTarget();
    const before = objectsOf(target).size;
    for (const name of names) rmSync(join(target, "daily.0", name));
    const run = await stopped("unlinkat");
    expect(run.code).toBe(143);
    const objects = before - objectsOf(target).size;
    expect(objects).toBeGreaterThan(0);
    expect(objects).toBeLessThan(names.length);
    expect(run.summary).toMatchObject({ prune: { objects }, failures: 0 });
    compactWell(target);
    expect(mismatches(target)).toEqual([]);
  });

  it("counts what it has re-filed", async () => {
    makeTarget();
    const before = objectsOf(target);
    for (const name of names) chmodSync(join(target, "daily.0", name), 0o600);
    const run = await stopped("renameat2");
    expect(run.code).toBe(143);
    const objects = [...before.keys()].filter((name) => !objectsOf(target).has(name)).length;
    expect(objects).toBeGreaterThan(0);
    expect(objects).toBeLessThan(names.length);
    expect(run.summary).toMatchObject({ refile: { objects }, failures: 0 });
  });
});

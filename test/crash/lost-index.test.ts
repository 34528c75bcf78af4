import { describe, expect, it } from "vitest";
import { errno } from "../../src/sys/errors.ts";
import { migrateJson } from "../support/dedupe.ts";
import { compact, migrate, relink } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { makeSmallRoot } from "../support/small-root.ts";

useFolders(2 ** 28);

const commands = {
  migrate: (rules: FaultRule[]) => migrate(source, target, { plan: { rules } }),
  relink: (rules: FaultRule[]) => relink(target, { plan: { rules } }),
  compact: (rules: FaultRule[]) => compact(target, { plan: { rules } }),
};

describe("a thread that finds the index gone with its disk", () => {
  it.each(Object.keys(commands) as (keyof typeof commands)[])("ends %s, and is no bug", async (command) => {
    makeSmallRoot(source, "monday");
    expect(migrateJson([source, target]).code).toBe(0);
    const fails = { type: "fail", errno: errno.EIO } as const;
    const rule = { calls: ["statx"], path: "/proc/self/fd/", times: 99, action: fails };
    const { code, stdout, stderr } = await commands[command]([rule]);
    expect({ code, isSaid: (stdout + stderr).includes("statx: input/output error (EIO)") }).toEqual({
      code: 1,
      isSaid: true,
    });
    expect(stdout + stderr).not.toContain("bug");
    expect(migrateJson([source, target]).code).toBe(0);
  });
});

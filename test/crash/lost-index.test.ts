import { expect, it } from "vitest";
import { errno } from "../../src/sys/errors.ts";
import { compact, migrate } from "../support/faulty-run.ts";
import { migrateJson } from "../support/dedupe.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { makeSmallRoot } from "../support/small-root.ts";

useFolders(2 ** 28);

it.each(["migrate", "compact"] as const)(
  "a thread of %s that finds the index gone with its disk ends the run, and is no bug",
  async (command) => {
    makeSmallRoot(source, "monday");
    expect(migrateJson([source, target]).code).toBe(0);
    const fails = { type: "fail", errno: errno.EIO } as const;
    const rules = [{ calls: ["statx"], path: "/proc/self/fd", times: 99, action: fails }];
    const run =
      command === "migrate"
        ? migrate(source, target, { plan: { rules } })
        : compact(target, { plan: { rules } });
    const { code, stdout, stderr } = await run;
    expect(code).toBe(1);
    expect(stdout + stderr).toContain("(EIO)");
    expect(stdout + stderr).not.toContain("this is a bug");
    expect(migrateJson([source, target]).code).toBe(0);
  },
);

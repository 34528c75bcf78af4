import { rmSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, file, makeTree, readTree } from "../support/tree.ts";
import { verifyFaulty } from "../support/verify-faults.ts";

useFolders();

beforeEach(() => {
  makeTree(source, {
    "daily.0/a": file("a", { xattrs: { "user.kept": "k", "user.x": "1" } }),
    "daily.0/d": directory({ xattrs: { "user.y": "2" } }),
  });
});

describe.skipIf(!requireFilesystem("ext4"))("xattrs of the source that may not be read", () => {
  it("are counted as not kept, and come with the next run", async () => {
    const action = { type: "fail", errno: constants.errno.EPERM } as const;
    // The first that is read of the file is user.kept; the directory's comes before.
    const plan = { rules: [{ calls: ["fgetxattr"], path: source, at: 1, times: 2, action }] };
    const run = await migrate(source, target, { plan, args: ["-j1"] });
    expect(run).toMatchObject({ code: 0, summary: { lostXattrs: 2, failures: 0 } });
    expect(compareTrees(source, target).map((each) => each.class)).toContain("xattr");
    const strict = await migrate(source, target, { plan, args: ["-j1", "--strict"] });
    expect(strict).toMatchObject({ code: 3, summary: { lostXattrs: 2 } });
    expect(migrateJson([source, target]).summary).toMatchObject({ exitCode: 0, lostXattrs: 0 });
    expect(compareTrees(source, target)).toEqual([]);
  });

  it.each(["ENOSPC", "EDQUOT"] as const)(
    "for which the target has no room (%s) end the run, and come with the next one",
    async (code) => {
      const action = { type: "fail", errno: constants.errno[code] } as const;
      const rules = [
        { calls: ["fsetxattr"], path: "probe", times: 9, action },
        { calls: ["fsetxattr"], path: "/staging/", action },
      ];
      const run = await migrate(source, target, { plan: { rules }, args: ["-j1"] });
      expect(run).toMatchObject({ code: 1, summary: { error: { code }, lostXattrs: 0 } });
      expect(migrateJson([source, target]).summary).toMatchObject({ exitCode: 0, lostXattrs: 0 });
      expect(compareTrees(source, target)).toEqual([]);
    },
  );

  it("shut a directory of which nothing else is known either", async () => {
    makeTree(source, { "daily.0/secret": directory({ mode: 0o700 }), "daily.0/secret/f": file("secret") });
    const action = { type: "fail", errno: constants.errno.EIO } as const;
    const plan = { rules: [{ calls: ["flistxattr"], path: join(source, "daily.0/secret"), action }] };
    const run = await migrate(source, target, { plan, args: ["-j1"] });
    expect(run.code).toBe(3);
    expect(statSync(join(target, "daily.0/secret")).mode & 0o777).toBe(0o700);
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it.each([
    { what: "kept", args: [], kept: { "user.z": "3" }, lostXattrs: 0, refusal: undefined },
    { what: "refused", args: [], kept: {}, lostXattrs: 1, refusal: constants.errno.EOPNOTSUPP },
    { what: "not wanted", args: ["--no-xattrs"], kept: {}, lostXattrs: 0, refusal: undefined },
  ])("of a directory that cannot be opened are treated as any others: $what", async (expected) => {
    const { args, kept, lostXattrs, refusal } = expected;
    rmSync(source, { recursive: true });
    makeTree(source, { "daily.0/locked": directory({ xattrs: { "user.z": "3" } }) });
    const fail = (errno: number) => ({ type: "fail", errno }) as const;
    const rules = [
      { calls: ["openat"], path: "locked", times: 99, action: fail(constants.errno.EACCES) },
      ...(refusal === undefined ? [] : [{ calls: ["lsetxattr"], path: "/locked", action: fail(refusal) }]),
    ];
    const run = await migrate(source, target, { plan: { rules }, args: ["-j1", ...args] });
    expect(run).toMatchObject({ code: 3, summary: { failures: 1, lostXattrs } });
    expect(readTree(target)).toEqual({ "daily.0/locked": directory({ xattrs: kept }) });
  });

  it("are a failure of verify, which knows nothing of them", async () => {
    expect(migrateJson([source, target]).code).toBe(0);
    const action = { type: "fail", errno: constants.errno.EPERM } as const;
    const plan = { rules: [{ calls: ["fgetxattr"], path: source, action }] };
    expect(await verifyFaulty(["-j1", "--against", source, target], plan)).toBe(3);
  });

  it("keep a name from being removed by --remove-source-files", async () => {
    const action = { type: "fail", errno: constants.errno.EPERM } as const;
    const plan = { rules: [{ calls: ["fgetxattr"], path: join(source, "daily.0/a"), times: 1000, action }] };
    const run = await migrate(source, target, { plan, args: ["-j1", "--remove-source-files"] });
    expect(run.code).toBe(3);
    expect(run.failures).toMatchObject([{ path: "daily.0/a", code: "KEPT" }]);
  });
});

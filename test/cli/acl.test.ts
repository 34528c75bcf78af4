import { statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { access } from "../support/acl.ts";
import { migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, fifo, file, linkTo, makeTree } from "../support/tree.ts";
import { against } from "../support/verify.ts";

useFolders();

/** Each of them gives the group nothing, or r-x, where the mode says rwx. */
const makeSource = () =>
  makeTree(source, {
    "daily.0/file": file("file", { mode: 0o770, xattrs: access(7, 0) }),
    "daily.0/alone": file("alone", { mode: 0o4770, xattrs: access(6, 5) }),
    "daily.0/empty": file("", { mode: 0o770, xattrs: access(7, 0) }),
    "daily.0/pipe": fifo({ mode: 0o770, xattrs: access(7, 5) }),
    "daily.0/d": directory({ mode: 0o770, xattrs: access(7, 0) }),
    "daily.0/plain": file("plain", { mode: 0o664 }),
    "daily.1/file": linkTo("daily.0/file"),
    daily: directory({ mode: 0o770, xattrs: access(7, 5) }),
  });

const modes = {
  "daily.0/file": "700",
  "daily.0/alone": "4750",
  "daily.0/empty": "700",
  "daily.0/pipe": "750",
  "daily.0/d": "700",
  "daily.0/plain": "664",
  "daily.1/file": "700",
  daily: "750",
};

const modesIn = (root: string) =>
  Object.fromEntries(
    Object.keys(modes).map((path) => [path, (statSync(join(root, path)).mode & 0o7777).toString(8)]),
  );

/** Both of the run and of a dry run before it, and of both again: nothing is left to do. */
function expectForeseen(root: string, ...options: string[]): void {
  for (const round of ["first", "second"]) {
    const foreseen = migrateJson(["--dry-run", ...options, source, root]).summary;
    const { summary, code, err } = migrateJson([...options, source, root]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    for (const counter of ["createdInodes", "lostXattrs", "linkedNames", "readBytes"] as const)
      expect({ round, counter, is: summary[counter] }).toEqual({ round, counter, is: foreseen[counter] });
    if (round === "second") {
      expect(summary).toMatchObject({ createdInodes: 0, linkedNames: 0, readBytes: 0 });
      expect(summary.snapshots).toMatchObject({ updated: 0, incomplete: 0 });
    }
  }
}

const classesOf = (found: readonly string[]) => new Set(found.map((each) => each.split(" ")[0]));

describe.skipIf(!requireFilesystem("ext4"))("an ACL that is not kept", () => {
  it.skipIf(!requireFilesystem("btrfs"))(
    "leaves the group what it had, where the target has no ACLs",
    async () => {
      makeSource();
      await withFilesystem({ type: "btrfs", sizeBytes: 2 ** 28, mountOptions: "noacl" }, (mount) => {
        expectForeseen(mount);
        expect(modesIn(mount)).toEqual(modes);
        expect(classesOf(against(source, mount).found)).toEqual(new Set(["acl"]));
        expect(migrateJson(["--strict", source, mount]).code).toBe(3);
      });
    },
  );

  it("leaves the group what it had with --no-xattrs, and a run without it brings the ACLs", () => {
    makeSource();
    expectForeseen(target, "--no-xattrs");
    expect(modesIn(target)).toEqual(modes);
    expect(classesOf(against(source, target).found)).toEqual(new Set(["acl"]));
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it("leaves the group what it had where the target refuses the ACL alone", async () => {
    makeSource();
    const action = { type: "fail", errno: constants.errno.EOPNOTSUPP } as const;
    const rules = [
      { calls: ["fsetxattr"], path: "/staging/s", times: 99, action },
      { calls: ["lsetxattr"], path: "/proc/self/fd/", times: 99, action },
    ];
    const run = await migrate(source, target, { plan: { rules }, args: ["-j1"] });
    expect(run).toMatchObject({ code: 0, summary: { lostXattrs: 6 } });
    expect(modesIn(target)).toEqual(modes);
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it("lets the next run of --remove-source-files take the name all the same", () => {
    makeSource();
    const { code, events } = migrateJson(["--no-xattrs", "--remove-source-files", source, target]);
    expect(events.filter(({ type }) => type === "failure")).toEqual([]);
    expect(code).toBe(0);
    expect(modesIn(target)).toEqual(modes);
  });
});

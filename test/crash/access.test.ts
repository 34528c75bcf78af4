import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { access } from "../support/acl.ts";
import { dedupe, migrateJson } from "../support/dedupe.ts";
import { migrate } from "../support/faulty-run.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, file, linkTo, makeTree } from "../support/tree.ts";

/** Renames that show what the target can do, before anything is published. */
const PROBES = 2;

useFolders();

/**
 * What the paths of the target were like before each rename of a run, or from the Nth on: "mode uid", and whether
 * there is an ACL.
 */
async function seenMeanwhile(
  paths: readonly string[],
  { at = 1, args = [] as readonly string[] } = {},
): Promise<Set<string>> {
  const log = join(work, "seen");
  const looks = paths.map((path) => {
    const it = join(target, path);
    const acl = `$(getfattr -n system.posix_acl_access '${it}' | grep -o acl_access)`;
    return `echo ${path} $(stat -c '%a %u' '${it}') ${acl} >> '${log}'`;
  });
  const action = { type: "run", when: "before", command: looks.join("; ") } as const;
  const plan = { rules: [{ calls: ["renameat2"], at: PROBES + at, times: 1000, action }] };
  const { code, failures } = await migrate(source, target, { plan, args: ["-j1", ...args] });
  expect({ code, failures }).toEqual({ code: 0, failures: [] });
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  return new Set(
    readFileSync(log, "utf8")
      .split("\n")
      .filter((line) => line !== ""),
  );
}

const secret = (path: string) => makeTree(source, { [path]: file("secret") });

describe.skipIf(!requireFilesystem("ext4"))("a directory that grants less than before", () => {
  it("is tightened before names are put into it or below", async () => {
    makeTree(source, { "daily.0/d/e/old": file("old"), "daily.0/sticky": directory({ mode: 0o777 }) });
    expect(migrateJson([source, target]).code).toBe(0);
    for (const path of ["daily.0/d/e/new", "daily.0/sticky/new"]) secret(path);
    chmodSync(join(source, "daily.0/d"), 0o710);
    chmodSync(join(source, "daily.0/sticky"), 0o1777);
    const seen = await seenMeanwhile(["daily.0/d", "daily.0/sticky"]);
    expect(seen).toEqual(new Set(["daily.0/d 710 0", "daily.0/sticky 1777 0"]));
  });

  it("and more to others is for neither until all names are there", async () => {
    makeTree(source, { "daily.0/d/old": file("old"), "daily.0/d": directory({ mode: 0o750 }) });
    expect(migrateJson([source, target]).code).toBe(0);
    secret("daily.0/d/new");
    chmodSync(join(source, "daily.0/d"), 0o705);
    expect(await seenMeanwhile(["daily.0/d"])).toEqual(new Set(["daily.0/d 700 0"]));
  });

  it("is for nobody else while its owner or its ACL changes", async () => {
    makeTree(source, {
      "daily.0/owner/old": file("old"),
      "daily.0/owner": directory({ uid: 1000, gid: 1000 }),
      "daily.0/acl/old": file("old"),
      "daily.0/acl": directory({ mode: 0o770, xattrs: access(7, 0) }),
      "daily.0/other/old": file("old"),
      "daily.0/other": directory({ mode: 0o770, xattrs: access(7, 0) }),
    });
    expect(migrateJson([source, target]).code).toBe(0);
    for (const path of ["daily.0/owner/new", "daily.0/acl/new", "daily.0/other/new"]) secret(path);
    chownSync(join(source, "daily.0/owner"), 1001, 1001);
    makeTree(source, {
      "daily.0/acl": directory({ mode: 0o700 }),
      "daily.0/other": directory({ mode: 0o770, xattrs: access(0, 5) }),
    });
    const seen = await seenMeanwhile(["daily.0/owner", "daily.0/acl", "daily.0/other"]);
    expect(seen).toEqual(new Set(["daily.0/owner 700 0", "daily.0/acl 700 0", "daily.0/other 700 0"]));
  });

  it("is tightened where it is a container, or the root, before a snapshot is published in it", async () => {
    makeTree(source, { "hosts/h1/daily.0/old": file("old"), "hosts/h2/daily.0/old": file("old") });
    expect(migrateJson([source, target]).code).toBe(0);
    secret("hosts/h1/daily.1/new");
    chmodSync(join(source, "hosts"), 0o700);
    chmodSync(source, 0o700);
    expect(await seenMeanwhile(["hosts", "."])).toEqual(new Set(["hosts 700 0", ". 700 0"]));
  });

  it("gets nothing more where it cannot be tightened, which is listed", async () => {
    makeTree(source, { "daily.0/d/e/old": file("old"), "daily.0/other": file("other") });
    expect(migrateJson([source, target]).code).toBe(0);
    for (const path of ["daily.0/d/e/new", "daily.0/too"]) makeTree(source, { [path]: file(path) });
    chmodSync(join(source, "daily.0/d"), 0o700);
    const action = { type: "fail", errno: constants.errno.EPERM } as const;
    const plan = { rules: [{ calls: ["fchmod"], path: join(target, "daily.0/d"), times: 9, action }] };
    const run = await migrate(source, target, { plan, args: ["-j1"] });
    expect(run.code).toBe(3);
    expect(new Set(run.failures.map(({ path }) => path))).toEqual(new Set(["daily.0/d", "daily.0/d/e/new"]));
    expect(existsSync(join(target, "daily.0/d/e/new"))).toBe(false);
    expect(existsSync(join(target, "daily.0/too"))).toBe(true);
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });
});

describe.skipIf(!requireFilesystem("ext4"))("a directory that grants more than before", () => {
  it("is widened after what nobody was to see has gone, on any level", async () => {
    makeTree(source, { "daily.0/d/secret": file("x"), "daily.0/d": directory({ mode: 0o700 }) });
    const many = Array.from({ length: 1100 }, (_, made) => join(source, `daily.0/d/${made}`));
    for (const path of many) {
      mkdirSync(path);
      appendFileSync(join(path, "secret"), "x");
    }
    expect(migrateJson([source, target]).code).toBe(0);
    chmodSync(join(source, "daily.0/d"), 0o755);
    for (const path of [join(source, "daily.0/d"), ...many]) rmSync(join(path, "secret"));
    // More directories than are remembered.
    const seen = await seenMeanwhile(["daily.0/d"], { at: 1090, args: ["--delete"] });
    expect(seen).toEqual(new Set(["daily.0/d 700 0"]));
  });

  it("is widened last of all where it is a container", async () => {
    makeTree(source, {
      "hosts/h1/daily.0/a": file("a"),
      "hosts/loose": file("loose"),
      hosts: directory({ mode: 0o700 }),
    });
    expect(migrateJson([source, target]).code).toBe(0);
    for (const path of ["hosts/h1/daily.0/new", "hosts/new", "hosts/h1/new"]) secret(path);
    makeTree(source, { "hosts/h1/daily.0": directory({ mode: 0o700 }), hosts: directory() });
    expect(await seenMeanwhile(["hosts"])).toEqual(new Set(["hosts 700 0"]));
  });

  it("never gives its group the mask of an ACL", async () => {
    makeTree(source, { "daily.0/d": directory({ mode: 0o700 }), "daily.0/f": file("f", { mode: 0o600 }) });
    expect(migrateJson([source, target]).code).toBe(0);
    makeTree(source, { "daily.0/d": directory({ mode: 0o770, xattrs: access(7, 0) }) });
    const log = join(work, "seen");
    const command = `stat -c %a '${join(target, "daily.0/d")}' >> '${log}'`;
    const action = { type: "run", when: "before", command } as const;
    const plan = { rules: [{ calls: ["fsetxattr"], path: join(target, "daily.0/d"), action }] };
    expect((await migrate(source, target, { plan, args: ["-j1"] })).code).toBe(0);
    expect(readFileSync(log, "utf8")).toBe("700\n");
    expect(compareTrees(source, target)).toEqual([]);
  });
});

describe.skipIf(!requireFilesystem("ext4"))("an ordinary user's directory", () => {
  it("is filled though its owner may not write to it, before and after", () => {
    const user = { uid: 1000, gid: 1000 };
    makeTree(source, {
      ".": directory(user),
      hosts: directory({ ...user, mode: 0o500 }),
      "hosts/h1": directory({ ...user, mode: 0o500 }),
      "hosts/h1/daily.0": directory(user),
      "hosts/h1/daily.0/d": directory(user),
      "hosts/h1/daily.0/d/old": file("old", user),
    });
    chownSync(target, 1000, 1000);
    const asUser = () => dedupe(["migrate", "--no-progress", source, target], user);
    expect(asUser()).toMatchObject({ code: 0, err: "" });
    makeTree(source, {
      ".": directory(user),
      "hosts/h1/daily.0": directory(user),
      "hosts/h1/daily.0/d/new": file("secret", user),
      "hosts/h1/daily.0/d": directory({ ...user, mode: 0o500 }),
      "hosts/h1/daily.1": directory(user),
      "hosts/h1/daily.1/new": linkTo("hosts/h1/daily.0/d/new"),
      hosts: directory({ ...user, mode: 0o500 }),
      "hosts/h1": directory({ ...user, mode: 0o500 }),
      "hosts/h2": directory(user),
      "hosts/h2/daily.0": directory(user),
    });
    expect(asUser()).toMatchObject({ code: 0, err: "" });
    expect(statSync(join(target, "hosts/h1/daily.0/d")).mode & 0o777).toBe(0o500);
    expect(compareTrees(source, target)).toEqual([]);
  });
});

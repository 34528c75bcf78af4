import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { dedupe, migrateJson, type JsonRun } from "../support/dedupe.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement } from "../support/skip.ts";
import { device, directory, file, linkTo, makeTree, symlink, type Tree } from "../support/tree.ts";

const root = requirement(process.getuid?.() === 0, "only root can become another user");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

const user = { uid: 1000, gid: 1000 };

useFolders();

beforeEach(() => {
  run("chown", "1000:1000", target);
});

/** A tree of which everything belongs to the user where nothing else is said. */
function makeOwn(tree: Tree): void {
  const owned = Object.entries({ ".": directory(user), ...withParents(tree) });
  makeTree(source, Object.fromEntries(owned));
}

function withParents(tree: Tree): Tree {
  const parents = Object.keys(tree).flatMap((path) => {
    const parts = path.split("/").slice(0, -1);
    return parts.map((_, at) => parts.slice(0, at + 1).join("/"));
  });
  return { ...Object.fromEntries(parents.map((path) => [path, directory(user)])), ...tree };
}

const asUser = (...options: string[]): JsonRun => migrateJson([...options, source, target], user);
const failuresOf = ({ events }: JsonRun) => events.filter(({ type }) => type === "failure");

function expectUnchanged(...options: string[]): void {
  const list = () => run("find", target, "-path", "*/.dedupe", "-prune", "-o", "-printf", "%p %i %C@ %m\n");
  const before = list();
  const again = asUser(...options);
  expect(again.err).toBe("");
  expect(again.summary).toMatchObject({
    exitCode: 0,
    createdInodes: 0,
    linkedNames: 0,
    writtenBytes: 0,
    readBytes: 0,
  });
  expect(again.summary.snapshots).toMatchObject({ new: 0, updated: 0, incomplete: 0 });
  expect(list()).toBe(before);
}

describe.skipIf(!root)("an ordinary user", () => {
  it("moves its own snapshots exactly", () => {
    makeOwn({
      "daily.0/kept": file("the same", user),
      "daily.0/run": file("#!", { ...user, mode: 0o4755, xattrs: { "user.note": "x" } }),
      "daily.0/secret": file("s", { ...user, mode: 0o400 }),
      "daily.0/link": symlink("kept", user),
      "daily.0/empty": file("", user),
      "daily.0/private": directory({ ...user, mode: 0o2700, mtimeNs: 77n }),
      "daily.1/kept": linkTo("daily.0/kept"),
      "daily.1/run": linkTo("daily.0/run"),
      "daily.1/link": linkTo("daily.0/link"),
      "daily.1/empty": linkTo("daily.0/empty"),
    });
    expect(asUser()).toMatchObject({ code: 0, err: "" });
    expect(compareTrees(source, target)).toEqual([]);
    expect(asUser().summary.lostOwners).toBe(0);
    expectUnchanged();
  });

  it("takes files of others, and counts what it could not keep in one line", () => {
    makeTree(source, {
      "daily.0/root": file("of root", { mode: 0o6755 }),
      "daily.0/group": file("of a group", { uid: 1000, gid: 0 }),
      "daily.0/attr": file("trusted", { ...user, xattrs: { "trusted.x": "1", "user.y": "2" } }),
      "daily.0/null": device("c", 1, 3),
      "daily.1/root": linkTo("daily.0/root"),
    });
    const text = dedupe(["migrate", "--no-progress", source, target], user);
    expect({ code: text.code, err: text.err }).toEqual({ code: 0, err: "" });
    expect(text.out).toMatch(
      /not kept +the owner of \d+ inodes?, .*1 device node \(this user may not read or set them/,
    );
    expect(text.out.match(/not kept/g)).toHaveLength(1);
    expect(statSync(join(target, "daily.0/root"))).toMatchObject({ uid: 1000, gid: 1000, mode: 0o100755 });
    expect(statSync(join(target, "daily.0/root")).ino).toBe(statSync(join(target, "daily.1/root")).ino);
    expect(existsSync(join(target, "daily.0/null"))).toBe(false);
    const ignore = ["owner", "mode", "missing", "xattr:trusted."] as const;
    expect(compareTrees(source, target, { ignore })).toEqual([]);
    expectUnchanged();
  });

  it("ends with 3 under --strict where something was lost, and not where nothing was", () => {
    makeTree(source, { ".": directory(user), "daily.0": directory(user), "daily.0/root": file("of root") });
    expect(asUser("--strict").code).toBe(3);
    expect(asUser("--strict").code).toBe(3);
    run("chown", "1000:1000", join(source, "daily.0/root"));
    expect(asUser("--strict").code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
    // One that may be seen and not be set.
    run("setcap", "cap_net_raw+ep", join(source, "daily.0/root"));
    expect(asUser("--strict")).toMatchObject({ code: 3, summary: { lostXattrs: 1 } });
    expect(asUser("--strict")).toMatchObject({
      code: 3,
      summary: { lostXattrs: 1, readBytes: 0, createdInodes: 0 },
    });
  });

  it("lists what it may not read, and takes the rest", () => {
    makeOwn({
      "daily.0/closed": file("no", { ...user, mode: 0 }),
      "daily.0/others": file("no", { mode: 0o600 }),
      "daily.0/open": file("yes", user),
      "daily.0/locked/inner": file("no", user),
      "daily.0/listed/inner": file("no", user),
      "daily.0/zlast": file("yes", user),
    });
    chmodSync(join(source, "daily.0/locked"), 0o300);
    chmodSync(join(source, "daily.0/listed"), 0o400);
    const done = asUser();
    expect(done.code).toBe(3);
    expect(
      failuresOf(done)
        .map(({ path, code }) => `${String(path)} ${String(code)}`)
        .sort(),
    ).toEqual([
      "daily.0/closed EACCES",
      "daily.0/listed/inner EACCES",
      "daily.0/locked EACCES",
      "daily.0/others EACCES",
    ]);
    expect(readFileSync(join(target, "daily.0/zlast"), "utf8")).toBe("yes");
    expect(statSync(join(target, "daily.0/locked")).mode & 0o7777).toBe(0o300);
    const again = asUser();
    expect(failuresOf(again)).toHaveLength(4);
    expect(again.summary).toMatchObject({ exitCode: 3, createdInodes: 0, readBytes: 0 });
    for (const name of ["closed", "others", "locked", "listed"]) {
      run("chown", "1000:1000", join(source, "daily.0", name));
      chmodSync(join(source, "daily.0", name), 0o755);
    }
    const last = asUser();
    expect([last.err, failuresOf(last)]).toEqual(["", []]);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expectUnchanged();
  });

  it("counts what a directory that it may not enter loses, and foresees it", () => {
    makeOwn({ "daily.0/locked": directory({ mode: 0o700, xattrs: { "user.x": "1" } }) });
    for (const [options, lostXattrs] of [
      [[], 1],
      [["--no-xattrs"], 0],
    ] as const) {
      rmSync(join(target, "daily.0"), { recursive: true, force: true });
      const lost = { lostOwners: 1, lostXattrs };
      expect(asUser("--dry-run", ...options)).toMatchObject({ code: 3, summary: lost });
      expect(asUser(...options)).toMatchObject({ code: 3, summary: lost });
    }
  });

  it("lists a snapshot that it may not enter", () => {
    makeOwn({ "daily.0/a": file("a", user), "daily.1/b": file("b", user), "daily.2/c": file("c", user) });
    chmodSync(join(source, "daily.1"), 0);
    const done = asUser();
    expect(failuresOf(done)).toMatchObject([{ path: "daily.1", code: "EACCES" }]);
    expect(done.code).toBe(3);
    expect(existsSync(join(target, "daily.2/c"))).toBe(true);
    chmodSync(join(source, "daily.1"), 0o755);
    expect(asUser().code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it.each([0o555, 0o500, 0o511, 0o000])("keeps directories of mode %o, wherever they are", (mode) => {
    makeOwn({
      "daily.0/a": file("a", user),
      "daily.0/sub/deep/b": file("b", user),
      "daily.0/sub/deep/c": linkTo("daily.0/a"),
      "daily.1/sub/deep/b": linkTo("daily.0/sub/deep/b"),
      "other/x": file("x", user),
    });
    const locked = ["daily.1", "daily.0/sub/deep", "daily.0/sub", "other"].map((path) => join(source, path));
    locked.forEach((path) => chmodSync(path, mode));
    const done = asUser();
    const readable = (mode & 0o400) !== 0;
    expect(done.code).toBe(readable ? 0 : 3);
    expect(failuresOf(done)).toHaveLength(readable ? 0 : 3);
    // A unit that may not be entered is not begun.
    for (const path of readable ? ["daily.1", "daily.0/sub", "other"] : ["daily.0/sub"]) {
      expect([path, statSync(join(target, path)).mode & 0o7777]).toEqual([path, mode]);
    }
    if (!readable) return;
    expect(compareTrees(source, target)).toEqual([]);
    expectUnchanged();
    locked.forEach((path) => chmodSync(path, 0o755));
    writeFileSync(join(source, "daily.0/sub/deep/b"), "changed");
    writeFileSync(join(source, "daily.0/sub/deep/new"), "new");
    mkdirSync(join(source, "daily.1/made"));
    rmSync(join(source, "daily.0/sub/deep/c"));
    run("chown", "-R", "1000:1000", source);
    locked.forEach((path) => chmodSync(path, mode));
    expect(asUser("--delete")).toMatchObject({ code: 0, err: "" });
    expect(compareTrees(source, target)).toEqual([]);
    expectUnchanged("--delete");
  });

  it("removes directories that it may not write to, with --delete", () => {
    makeOwn({
      "daily.0/a": file("a", user),
      "daily.1/sub/b": file("b", user),
      "daily.0/ro/c": file("c", user),
    });
    for (const path of ["daily.1/sub", "daily.1", "daily.0/ro"]) chmodSync(join(source, path), 0o555);
    expect(asUser().code).toBe(0);
    rmSync(join(source, "daily.1"), { recursive: true });
    rmSync(join(source, "daily.0/ro"), { recursive: true });
    writeFileSync(join(source, "daily.0/ro"), "a file now");
    run("chown", "1000:1000", join(source, "daily.0/ro"));
    expect(asUser("--delete")).toMatchObject({ code: 0, err: "" });
    expect(compareTrees(source, target)).toEqual([]);
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });

  it("goes on with a target that root began, as far as it may", () => {
    makeOwn({
      "daily.0/a": file("a", user),
      "daily.1/a": linkTo("daily.0/a"),
      "daily.0/secret": file("s", { ...user, mode: 0o600 }),
    });
    expect(dedupe(["migrate", source, target]).code).toBe(0);
    const refused = dedupe(["migrate", source, target], user);
    expect(refused.code).toBe(1);
    expect(refused.err).toMatch(/\.dedupe on the target belongs to/);
    // Files that root owns may not be hard-linked by others (fs.protected_hardlinks): they are copied.
    rmSync(join(target, ".dedupe"), { recursive: true });
    run("chown", "-R", "0:0", join(target, "daily.0"), join(target, "daily.1"));
    run("chmod", "-R", "a+rwX", target);
    const taken = asUser();
    expect(taken.err).not.toMatch(/bug/);
    expect([0, 3]).toContain(taken.code);
    expect(readFileSync(join(target, "daily.1/a"), "utf8")).toBe("a");
  });

  it("resumes what it began", () => {
    makeOwn({
      "daily.0/a": file("a", user),
      "daily.0/ro/c": file("c", user),
      "daily.0/closed": file("n", { ...user, mode: 0 }),
    });
    chmodSync(join(source, "daily.0/ro"), 0o555);
    expect(asUser().code).toBe(3);
    chmodSync(join(source, "daily.0/closed"), 0o644);
    expect(asUser().code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
  });
});

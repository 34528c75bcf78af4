import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupe, migrate, migrateJson } from "../support/dedupe.ts";
import { withFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { requirement, requireTool } from "../support/skip.ts";
import { fifo, file, linkTo, makeTree, readTree, symlink } from "../support/tree.ts";

const MIB = 2 ** 20;
const root = requirement(process.getuid?.() === 0, "needs root");
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

useFolders();

const threeDays = () =>
  makeTree(source, {
    "daily.0/kept": file("the same\n"),
    "daily.0/new": file("of today\n"),
    "daily.0/docs/a": file("a0\n"),
    "daily.0/link": symlink("docs/a"),
    "daily.0/pipe": fifo(),
    "daily.1/kept": linkTo("daily.0/kept"),
    "daily.1/docs/a": file("a1\n"),
    "daily.1/docs/gone": file("gone\n"),
    "daily.2/kept": linkTo("daily.0/kept"),
    "daily.2/docs/a": linkTo("daily.1/docs/a"),
    loose: file("loose\n"),
  });

/** Runs with the options, and expects the target to be the source. */
function expectMigrated(...options: string[]) {
  const done = migrateJson([...options, source, target]);
  expect(done.err).toBe("");
  expect(done.code).toBe(0);
  expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  return done.summary;
}

/** A further run finds nothing to do. */
function expectUnchanged(...options: string[]): void {
  const before = readTree(target);
  const ctimes = run("find", target, "-path", "*/.dedupe", "-prune", "-o", "-printf", "%p %i %C@\n");
  const { summary, code, err } = migrateJson([...options, source, target]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(summary.snapshots).toMatchObject({ new: 0, updated: 0, incomplete: 0, pending: 0 });
  expect(summary).toMatchObject({
    createdInodes: 0,
    writtenBytes: 0,
    readBytes: 0,
    linkedNames: 0,
    deletedNames: 0,
  });
  expect(run("find", target, "-path", "*/.dedupe", "-prune", "-o", "-printf", "%p %i %C@\n")).toBe(ctimes);
  expect(readTree(target)).toEqual(before);
}

const write = (path: string, content: string) => {
  mkdirSync(dirname(join(source, path)), { recursive: true });
  writeFileSync(join(source, path), content);
};

describe("a second run", () => {
  it("changes nothing where nothing changed", () => {
    threeDays();
    expectMigrated();
    expectUnchanged();
    expectUnchanged("--delete");
  });

  it("takes new snapshots and reads only what is new", () => {
    threeDays();
    expectMigrated();
    renameSync(join(source, "daily.2"), join(source, "daily.3"));
    renameSync(join(source, "daily.1"), join(source, "daily.2"));
    run("cp", "-al", join(source, "daily.0"), join(source, "daily.1"));
    rmSync(join(source, "daily.0/new"));
    write("daily.0/new", "of tomorrow\n");
    const { readBytes } = expectMigrated("--delete");
    expect(readBytes).toBe("of tomorrow\n".length);
    expectUnchanged("--delete");
  });

  it("takes changed files, whatever changed of them", () => {
    threeDays();
    expectMigrated();
    appendFileSync(join(source, "daily.0/docs/a"), "more\n");
    writeFileSync(join(source, "daily.0/new"), "OF TODAY\n");
    utimesSync(join(source, "daily.1/docs/gone"), 5, 5);
    chmodSync(join(source, "loose"), 0o600);
    expectMigrated();
    expectUnchanged();
  });

  it("takes a file whose content changed in place though all its names share it", () => {
    threeDays();
    expectMigrated();
    writeFileSync(join(source, "daily.1/kept"), "changed in all\n");
    expectMigrated();
    expect(statSync(join(target, "daily.0/kept")).ino).toBe(statSync(join(target, "daily.2/kept")).ino);
    expectUnchanged();
  });

  it("does not trust size and time with --checksum", () => {
    threeDays();
    expectMigrated();
    const path = join(source, "daily.0/docs/a");
    const { mtime } = statSync(path);
    writeFileSync(path, "A0\n");
    run("touch", "-d", "@1700000000.123456789", path);
    expect(statSync(path).mtime).toEqual(mtime);
    const { readBytes } = expectMigrated("--checksum");
    expect(readBytes).toBeGreaterThan(20);
    expect(readFileSync(join(target, "daily.0/docs/a"), "utf8")).toBe("A0\n");
  });

  it("changes nothing with --checksum either", () => {
    threeDays();
    expectMigrated();
    const inode = statSync(join(target, "daily.0/kept")).ino;
    const summary = expectMigrated("--checksum");
    expect(summary).toMatchObject({ createdInodes: 0, writtenBytes: 0 });
    expect(statSync(join(target, "daily.0/kept")).ino).toBe(inode);
  });

  it.each([3, 100_000, 3_000_000])(
    "makes %d bytes anew with --checksum that rotted on the target",
    (size) => {
      makeTree(source, { "daily.0/a": file("x".repeat(size)), "daily.1/a": linkTo("daily.0/a") });
      expectMigrated();
      const path = join(target, "daily.0/a");
      writeFileSync(path, "y".repeat(size));
      run("touch", "-r", join(source, "daily.0/a"), path);
      expect(expectMigrated("--checksum")).toMatchObject({ createdInodes: 1, mergedInodes: 0 });
      expectUnchanged();
    },
  );

  it("takes what chmod -R, chown -R and setfattr did in place", () => {
    threeDays();
    expectMigrated();
    run("chmod", "-R", "g+w", source);
    if (root) run("chown", "-R", "12:34", source);
    expectMigrated();
    expectUnchanged();
    if (root) {
      run("setfattr", "-n", "user.a", "-v", "1", join(source, "daily.0/kept"));
      run("setfattr", "-n", "user.d", "-v", "1", join(source, "daily.0/docs"), source);
      expectMigrated();
      run("setfattr", "-x", "user.a", join(source, "daily.0/kept"));
      run("setfattr", "-x", "user.d", join(source, "daily.0/docs"), source);
      expectMigrated();
      expectUnchanged();
    }
  });

  it("takes links that were broken up and links that were made", () => {
    threeDays();
    expectMigrated("--merge=none");
    run("cp", "-p", "--remove-destination", join(source, "daily.0/kept"), join(source, "kept-copy"));
    renameSync(join(source, "kept-copy"), join(source, "daily.1/kept"));
    rmSync(join(source, "daily.2/docs/a"));
    linkSync(join(source, "daily.0/docs/a"), join(source, "daily.2/docs/a"));
    const { code, err } = migrate(source, target, "--merge=none");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(compareTrees(source, target)).toEqual([]);
  });

  it("follows symlinks, fifos and empty files as they change", () => {
    threeDays();
    write("daily.0/empty", "");
    expectMigrated();
    rmSync(join(source, "daily.0/link"));
    symlinkSync("elsewhere", join(source, "daily.0/link"));
    chmodSync(join(source, "daily.0/pipe"), 0o600);
    utimesSync(join(source, "daily.0/empty"), 7, 7);
    expectMigrated();
    expectUnchanged();
    writeFileSync(join(source, "daily.0/empty"), "no longer");
    truncateSync(join(source, "daily.0/new"), 0);
    expectMigrated();
    expectUnchanged();
  });
});

describe("one kind of thing that becomes another", () => {
  const kinds = ["file", "directory", "symlink", "fifo"] as const;
  const make = (kind: (typeof kinds)[number], path: string) => {
    if (kind === "file") writeFileSync(path, "content");
    else if (kind === "symlink") symlinkSync("somewhere", path);
    else if (kind === "fifo") run("mkfifo", path);
    else {
      mkdirSync(path);
      writeFileSync(join(path, "inner"), "inner");
    }
  };
  const pairs = kinds.flatMap((from) => kinds.filter((to) => to !== from).map((to) => [from, to] as const));

  it.each(pairs)("a %s that became a %s arrives, within a snapshot and beside them", (from, to) => {
    threeDays();
    const paths = ["daily.0/docs/it", "it", "daily.7"].map((path) => join(source, path));
    for (const path of paths) make(from, path);
    expectMigrated();
    for (const path of paths) {
      rmSync(path, { recursive: true });
      make(to, path);
    }
    expectMigrated("--delete");
    expectUnchanged("--delete");
  });

  it("does not remove a directory that is not empty without --delete, and says so", () => {
    threeDays();
    expectMigrated();
    rmSync(join(source, "daily.0/docs"), { recursive: true });
    write("daily.0/docs", "a file now");
    const { code, err } = migrate(source, target);
    expect(code).toBe(3);
    expect(err).toMatch(/failed: daily\.0\/docs: a directory that is not empty stands in its way.*--delete/);
    expect(readFileSync(join(target, "daily.0/docs/a"), "utf8")).toBe("a0\n");
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });

  it("a container takes the place of a file or a symlink, on any level", () => {
    threeDays();
    write("hosts", "a file");
    mkdirSync(join(source, "more"));
    symlinkSync("../daily.0", join(source, "more/h2"));
    expectMigrated();
    rmSync(join(source, "hosts"));
    rmSync(join(source, "more/h2"));
    write("hosts/h1/daily.0/x", "x");
    write("hosts/loose", "loose");
    write("more/h2/daily.0/y", "y");
    const foreseen = migrateJson(["--dry-run", source, target]).summary;
    const { summary } = migrateJson([source, target]);
    expect(summary).toMatchObject({
      exitCode: 0,
      names: foreseen.names,
      createdInodes: foreseen.createdInodes,
    });
    expect(compareTrees(source, target)).toEqual([]);
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
  });
});

describe("what is only on the target", () => {
  it("stays without --delete", () => {
    threeDays();
    expectMigrated();
    writeFileSync(join(target, "mine"), "mine");
    writeFileSync(join(target, "daily.0/docs/mine"), "mine");
    mkdirSync(join(target, "monthly.0/mine"), { recursive: true });
    rmSync(join(source, "daily.2"), { recursive: true });
    expect(migrate(source, target)).toMatchObject({ code: 0, err: "" });
    for (const path of ["mine", "daily.0/docs/mine", "monthly.0/mine", "daily.2/kept"]) {
      expect(existsSync(join(target, path))).toBe(true);
    }
  });

  it("goes with --delete, and is counted and told", () => {
    threeDays();
    expectMigrated();
    writeFileSync(join(target, "mine"), "mine");
    writeFileSync(join(target, "daily.0/docs/mine"), "mine");
    rmSync(join(source, "daily.2"), { recursive: true });
    rmSync(join(source, "daily.1/docs/gone"));
    const { deletedNames } = expectMigrated("--delete");
    expect(deletedNames).toBe(1 + 1 + 4 + 1);
    expect(readdirSync(join(target, ".dedupe/staging"))).toEqual([]);
    expectUnchanged("--delete");
  });

  it("is not removed beyond --max-delete, which is exit 3", () => {
    threeDays();
    expectMigrated();
    rmSync(join(source, "daily.2"), { recursive: true });
    rmSync(join(source, "daily.1/docs/gone"));
    const { code, summary } = migrateJson(["--delete", "--max-delete=2", source, target]);
    expect(code).toBe(3);
    expect(summary.deletedNames).toBeLessThanOrEqual(2);
    expect(readdirSync(join(target, "daily.2"))).toEqual(["docs", "kept"]);
    expectMigrated("--delete", "--max-delete=5");
  });

  it("is a filesystem's own lost+found, which stays", async () => {
    threeDays();
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, (mount) => {
      for (let round = 0; round < 2; round++) {
        const { code, summary } = migrateJson(["--delete", source, mount]);
        expect({ code, deleted: summary.deletedNames }).toEqual({ code: 0, deleted: 0 });
        expect(existsSync(join(mount, "lost+found"))).toBe(true);
        if (round === 1) expect(summary.snapshots.updated).toBe(0);
      }
    });
  });
});

describe("--delete is held back", () => {
  it("when the source is empty", () => {
    threeDays();
    expectMigrated();
    renameSync(source, `${source}.away`);
    mkdirSync(source);
    mkdirSync(join(source, "lost+found"));
    const refused = migrate(source, target, "--delete");
    expect(refused.err).toMatch(
      /the source \S+ is empty, and --delete would remove everything.*\n.*--force-delete/,
    );
    expect(refused.code).toBe(1);
    expect(readdirSync(target)).toContain("daily.0");
    expect(migrate(source, target).code).toBe(0);
    expect(readdirSync(target)).toContain("daily.0");
    expect(migrate(source, target, "--delete", "--force-delete").code).toBe(0);
    expect(readdirSync(target).sort()).toEqual([".dedupe"]);
  });

  it("when the source is empty, and leaves no store where there was none", () => {
    mkdirSync(source);
    expect(migrate(source, target, "--delete").code).toBe(1);
    expect(readdirSync(target)).toEqual([]);
  });

  it.skipIf(!root)("when the source lost a filesystem since the last run", async () => {
    threeDays();
    mkdirSync(join(source, "daily.0/mnt"));
    await withFilesystem({ type: "ext4", sizeBytes: 32 * MIB }, (mount, filesystem) => {
      rmSync(join(mount, "lost+found"), { recursive: true });
      writeFileSync(join(mount, "on-it"), "on it");
      run("mount", "--bind", mount, join(source, "daily.0/mnt"));
      try {
        expectMigrated("--delete");
        expect(existsSync(join(target, "daily.0/mnt/on-it"))).toBe(true);
        run("umount", join(source, "daily.0/mnt"));
        for (const options of [["--delete"], [], ["--delete"]]) {
          const { code, err } = migrate(source, target, ...options);
          expect(code).toBe(options.length);
          if (code === 1)
            expect(err).toMatch(
              /has lost the filesystem at daily\.0\/mnt since the last run.*\n.*--force-delete/,
            );
          expect(existsSync(join(target, "daily.0/mnt/on-it"))).toBe(true);
        }
        filesystem.cycle();
        run("mount", "--bind", mount, join(source, "daily.0/mnt"));
        expectMigrated("--delete");
        run("umount", join(source, "daily.0/mnt"));
        expect(migrate(source, target, "--delete", "--force-delete").code).toBe(0);
        expect(existsSync(join(target, "daily.0/mnt/on-it"))).toBe(false);
        expectMigrated("--delete");
      } finally {
        if (run("findmnt", "-rno", "TARGET").includes(`${source}/`))
          run("umount", join(source, "daily.0/mnt"));
      }
    });
  });

  it("never by a damaged record", () => {
    threeDays();
    expectMigrated();
    for (const content of ["", "{", "null", '{"version":1,"filesystems":[null,7,{"path":3}]}']) {
      writeFileSync(join(target, ".dedupe/log/source.json"), content);
      expectMigrated("--delete");
    }
  });

  it("in a directory that cannot be read", { skip: !root }, () => {
    threeDays();
    expectMigrated();
    run("chown", "-R", "1000:1000", work);
    rmSync(join(target, ".dedupe"), { recursive: true });
    chmodSync(join(source, "daily.1/docs"), 0);
    const { code, err } = dedupe(["migrate", "--delete", source, target], { uid: 1000, gid: 1000 });
    expect(code).toBe(3);
    expect(err).toMatch(/failed: daily\.1\/docs: permission denied/);
    chmodSync(join(source, "daily.1/docs"), 0o755);
    expect(existsSync(join(target, "daily.1/docs/gone"))).toBe(true);
  });
});

describe("filters and --delete", () => {
  it("protect the excluded names of the target, inside removed directories too", () => {
    threeDays();
    write("daily.1/cache/sub/keep.me", "kept");
    write("daily.1/cache/sub/go", "goes");
    write("daily.1/old/go", "goes");
    expectMigrated();
    rmSync(join(source, "daily.1/cache"), { recursive: true });
    rmSync(join(source, "daily.1/old"), { recursive: true });
    const { code } = migrate(source, target, "--delete", "--exclude=keep.me");
    expect(code).toBe(0);
    expect(readdirSync(join(target, "daily.1"))).not.toContain("old");
    expect(readdirSync(join(target, "daily.1/cache/sub"))).toEqual(["keep.me"]);
    expect(migrate(source, target, "--delete", "--exclude=keep.me").code).toBe(0);
    expectMigrated("--delete");
  });

  const ruleSets = [
    ["--exclude=keep*"],
    ["--include=*/", "--include=*.txt", "--exclude=*"],
    ["--exclude=/daily.1/"],
    ["--exclude=docs/**"],
    ["--filter=P *.keep"],
    ["--filter=H *.txt"],
    ["--filter=S *.txt", "--filter=H *"],
    ["--filter=R a.keep", "--filter=P *.keep"],
    ["--filter=-p *.txt"],
    ["--exclude=*.txt", "--include=*.txt"],
    ["--filter=- /daily.*/docs/?.txt"],
  ];
  it.skipIf(!requireTool("rsync")).each(ruleSets)(
    "leave what rsync would leave with %s %s %s",
    (...rules) => {
      const other = join(work, "rsync");
      for (const day of ["daily.0", "daily.1"]) {
        for (const path of [
          "a.txt",
          "b.keep",
          "docs/a.txt",
          "docs/keep.x",
          "docs/deep/c.txt",
          "docs/deep/d",
          "plain",
        ]) {
          write(`${day}/${path}`, `${day} ${path}`);
        }
      }
      write("top.txt", "top");
      write("top", "top");
      mkdirSync(other);
      for (const to of [target, other]) {
        mkdirSync(join(to, "daily.0/extra/deep"), { recursive: true });
        mkdirSync(join(to, "gone/docs"), { recursive: true });
        for (const path of [
          "daily.0/x.txt",
          "daily.0/a.keep",
          "daily.0/extra/e.txt",
          "daily.0/extra/a.keep",
          "daily.0/extra/deep/k",
          "gone/docs/z.txt",
          "gone/y",
          "extra.txt",
        ]) {
          writeFileSync(join(to, path), path);
        }
      }
      run("rsync", "-aHAX", "--delete", ...rules, `${source}/`, `${other}/`);
      const { code, err } = migrate(source, target, "--delete", ...rules);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      expect(compareTrees(other, target, { mergedOk: true, ignore: ["mtime"] })).toEqual([]);
    },
  );
});

describe("files that cannot be read", () => {
  it.skipIf(!root)("are listed with exit 3, and alone tried again by the next run", () => {
    threeDays();
    run("chown", "-R", "1000:1000", work);
    chmodSync(join(source, "daily.0/new"), 0);
    const asUser = (...options: string[]) =>
      migrateJson([...options, source, target], { uid: 1000, gid: 1000 });
    const first = asUser();
    expect(first.code).toBe(3);
    expect(first.events.filter(({ type }) => type === "failure")).toMatchObject([
      { path: "daily.0/new", code: "EACCES" },
    ]);
    expect(first.summary.snapshots).toMatchObject({ incomplete: 1 });
    expect(existsSync(join(target, "daily.0/kept"))).toBe(true);
    expect(asUser().summary).toMatchObject({ exitCode: 3, readBytes: 0 });
    chmodSync(join(source, "daily.0/new"), 0o644);
    expect(asUser().summary).toMatchObject({ exitCode: 0, readBytes: "of today\n".length });
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expect(asUser().summary).toMatchObject({ exitCode: 0, readBytes: 0, linkedNames: 0, createdInodes: 0 });
  });
});

describe("without its store", () => {
  it("a target is taken over: no content is written twice, and nothing is left over", () => {
    threeDays();
    expectMigrated();
    const inodes = () =>
      run(
        "find",
        target,
        "-path",
        "*/.dedupe",
        "-prune",
        "-o",
        "-type",
        "f",
        "-size",
        "+0",
        "-printf",
        "%p %i\n",
      );
    const before = inodes();
    rmSync(join(target, ".dedupe"), { recursive: true });
    const summary = expectMigrated();
    expect(readdirSync(target).sort()).toEqual([".dedupe", "daily.0", "daily.1", "daily.2", "loose"]);
    expect(inodes()).toBe(before);
    expect(summary.writtenBytes).toBe(0);
    expectUnchanged();
  });

  it("what has rotted on the target meanwhile is not taken over, and is replaced by what the source has", () => {
    threeDays();
    expectMigrated();
    const victim = join(target, "daily.0/kept");
    const times = join(work, "times");
    run("touch", "-r", victim, times);
    const rotten = readFileSync(victim);
    rotten[0] = (rotten[0] ?? 0) ^ 1;
    writeFileSync(victim, rotten);
    run("touch", "-r", times, victim);
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expectMigrated();
    expectUnchanged();
  });

  it(
    "a copy that rsync made is taken over, and healed where it was inflated",
    { skip: !requireTool("rsync") },
    () => {
      threeDays();
      run("rsync", "-a", `${source}/`, `${target}/`);
      expectMigrated();
      expect(statSync(join(target, "daily.0/kept")).ino).toBe(statSync(join(target, "daily.2/kept")).ino);
      expectUnchanged();
    },
  );

  it.each(["index", "objects", "groups", "staging", "tmp", "log", "format.json"])(
    "a run goes on when %s was deleted",
    (part) => {
      threeDays();
      expectMigrated();
      rmSync(join(target, ".dedupe", part), { recursive: true });
      expectMigrated();
      expectUnchanged();
    },
  );

  it.each([
    ["is empty", (path: string) => truncateSync(path, 0)],
    ["is cut to half", (path: string) => truncateSync(path, statSync(path).size >> 1)],
    ["is text", (path: string) => writeFileSync(path, "garbage\n".repeat(4000))],
    [
      "has garbage in its middle",
      (path: string) => {
        const bytes = readFileSync(path);
        bytes.fill(0xa5, 8192, Math.min(bytes.length, 40_960));
        writeFileSync(path, bytes);
      },
    ],
  ])("an index that %s costs time and no data", (_, damage) => {
    threeDays();
    for (let made = 0; made < 300; made++) write(`daily.0/many/f${made}`, `content ${made}`);
    expectMigrated();
    damage(join(target, ".dedupe/index/data.mdb"));
    // LMDB itself may print a line on stderr.
    expect(migrate(source, target).code).toBe(0);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    expectUnchanged();
  });

  it("an object that was damaged is not linked to", () => {
    threeDays();
    expectMigrated();
    const object = join(target, "daily.0/new");
    const { mtime, atime } = statSync(object);
    writeFileSync(object, "of tODAY\n");
    utimesSync(object, atime, mtime);
    rmSync(join(target, "daily.0"), { recursive: true });
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expectMigrated();
  });
});

describe.skipIf(!root)("an object whose attributes were changed in the target", () => {
  it.each([
    ["an xattr", ["setfattr", "-n", "user.mark", "-v", "other"]],
    ["a mode", ["chmod", "0604"]],
  ])("gets no new names: %s", (_what, [command, ...args]) => {
    makeTree(source, { "daily.0/a": file("content of a\n") });
    expectMigrated();
    run(command!, ...args, join(target, "daily.0/a"));
    renameSync(join(source, "daily.0"), join(source, "daily.1"));
    run("cp", "-a", join(source, "daily.1"), join(source, "daily.0"));
    run("touch", "-d", "2024-01-02", join(source, "daily.0"));
    rmSync(join(target, "daily.0"), { recursive: true });
    expectMigrated();
  });
});

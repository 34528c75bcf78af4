import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { makeWorkplace, migrate, migrateJson, type JsonRun } from "../support/dedupe.ts";
import { makeFilesystem, requireFilesystem } from "../support/filesystem.ts";
import { source, target, useFolders, work } from "../support/folders.ts";
import { makeHostileTree } from "../support/hostile.ts";
import { directoriesIn, namesIn } from "../support/moved.ts";
import { compareTrees, manifest } from "../support/oracle.ts";
import { requirement } from "../support/skip.ts";
import { isLong } from "../support/long.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { file, linkTo, makeTree } from "../support/tree.ts";

const root = requirement(process.getuid?.() === 0, "needs root");
const remove = "--remove-source-files";

useFolders();

const failuresOf = ({ events }: JsonRun) =>
  events.filter(({ type }) => type === "failure").map(({ path, code }) => `${String(code)} ${String(path)}`);

/** Flips the bytes of a file in place and puts its mtime back: what decaying memory or a disk might do. */
function rot(path: string): void {
  const times = join(work, "times");
  execFileSync("cp", ["--attributes-only", "--preserve=timestamps", path, times]);
  const fd = openSync(path, "r+");
  const bytes = readFileSync(path);
  writeSync(fd, Buffer.from(bytes.map((byte) => byte ^ 1)), 0, bytes.length, 0);
  closeSync(fd);
  execFileSync("touch", ["-r", times, path]);
}

describe.skipIf(!root)("a move", () => {
  let reference = "";
  beforeEach(() => {
    reference = join(work, "reference");
    makeSmallRoot(reference, "monday");
    makeSmallRoot(source, "monday");
  });

  it("leaves the target complete and nothing but directories in the source", () => {
    const names = namesIn(reference).length;
    const moved = migrateJson([remove, source, target]);
    expect([moved.code, failuresOf(moved)]).toEqual([0, []]);
    expect(compareTrees(reference, target, { mergedOk: true })).toEqual([]);
    expect(namesIn(source)).toEqual([]);
    expect(moved.summary.removedSourceNames).toBe(names);
    const text = migrate(source, target, remove);
    expect([text.code, text.err]).toEqual([0, ""]);
  });

  it("gives the source's directories their times back, so that a later run changes nothing", () => {
    migrateJson([remove, source, target]);
    expect(directoriesIn(source)).toEqual(directoriesIn(reference));
    for (const options of [[], [remove]]) {
      const again = migrateJson([...options, source, target]);
      expect(again.code).toBe(0);
      expect(again.summary.snapshots).toMatchObject({ total: again.summary.snapshots.unchanged });
      expect(compareTrees(reference, target, { mergedOk: true })).toEqual([]);
    }
  });

  it("reads each inode once more, however many names it has", () => {
    const { summary } = migrateJson([remove, source, target]);
    expect(summary.contentBytes).toBeGreaterThan(1_000_000);
    // What was copied was read once; a hole is read by neither.
    expect(summary.readBytes).toBeLessThanOrEqual(2 * summary.contentBytes);
  });

  it("says in the report how many names went and what is left", () => {
    const { out, code } = migrate(source, target, remove);
    expect(code).toBe(0);
    expect(out).toMatch(/moved +\d+ names removed from the source, each read back from the target first/);
    expect(out).toContain(`find ${source} -mindepth 1 -type d -empty -delete`);
    expect(out).toMatch(/Never run with --delete from this source again/);
  });

  it("touches nothing in a dry run", () => {
    migrate(source, target, remove, "--dry-run");
    expect(compareTrees(reference, source)).toEqual([]);
  });

  it("is refused together with --delete", () => {
    const refused = migrate(source, target, remove, "--delete");
    expect(refused.code).toBe(2);
    expect(refused.err).toMatch(/--delete and --remove-source-files contradict each other/);
    expect(compareTrees(reference, source)).toEqual([]);
  });

  it("leaves alone what filters hide, without a word", () => {
    const excluded = ["--exclude", "*.too", "--exclude", "kept too", "--exclude", "deep/"];
    const moved = migrateJson([...excluded, remove, source, target]);
    expect([moved.code, failuresOf(moved)]).toEqual([0, []]);
    expect(namesIn(source).sort()).toEqual([
      "daily.0/docs/deep/er/leaf",
      "daily.0/docs/kept too",
      "daily.1/docs/deep/er/leaf",
      "daily.1/docs/kept too",
    ]);
    expect(existsSync(join(target, "daily.0/docs/kept too"))).toBe(false);
  });

  it("does not cross a mount point with -x, and does without", () => {
    const mount = join(source, "daily.0/mount");
    mkdirSync(mount);
    execFileSync("mount", ["-t", "tmpfs", "none", mount]);
    try {
      writeFileSync(join(mount, "elsewhere"), "x");
      expect(migrateJson(["-x", remove, source, target]).code).toBe(0);
      expect(namesIn(source)).toEqual(["daily.0/mount/elsewhere"]);
      expect(migrateJson([remove, source, target]).code).toBe(0);
      expect(namesIn(source)).toEqual([]);
      expect(readFileSync(join(target, "daily.0/mount/elsewhere"), "utf8")).toBe("x");
    } finally {
      execFileSync("umount", [mount]);
    }
  });

  it("refuses a source that is mounted read-only before it copies anything", () => {
    execFileSync("mount", ["--bind", source, source]);
    try {
      execFileSync("mount", ["-o", "remount,ro,bind", source]);
      const refused = migrate(source, target, remove);
      expect(refused.code).toBe(1);
      expect(refused.err).toMatch(/is mounted read-only: --remove-source-files cannot remove/);
      expect(namesIn(target)).toEqual([]);
    } finally {
      execFileSync("umount", [source]);
    }
  });
});

describe.skipIf(!root)("a name that stays", () => {
  it("is one whose content on the target has rotted, under every name of it", () => {
    const tree = {
      "daily.0/a": file("precious\n"),
      "daily.1/a": linkTo("daily.0/a"),
      "daily.0/b": file("sound\n"),
    };
    makeTree(source, tree);
    expect(migrate(source, target).code).toBe(0);
    rot(join(target, "daily.0/a"));
    const moved = migrateJson([remove, source, target]);
    expect(moved.code).toBe(3);
    expect(failuresOf(moved)).toEqual(["KEPT daily.1/a", "KEPT daily.0/a"]);
    expect(moved.summary).toMatchObject({ outcome: "partial", removedSourceNames: 1, failures: 2 });
    expect(readFileSync(join(source, "daily.1/a"), "utf8")).toBe("precious\n");
    expect(namesIn(source)).toEqual(["daily.0/a", "daily.1/a"]);
    // The store goes, and with it the trust in what it knew: the next run reads, replaces and removes.
    rmSync(join(target, ".dedupe"), { recursive: true });
    expect(migrateJson([remove, source, target]).code).toBe(0);
    expect([namesIn(source), readFileSync(join(target, "daily.1/a"), "utf8")]).toEqual([[], "precious\n"]);
  });

  it("is one whose bytes on the device are others than those in the page cache", () => {
    if (!requireFilesystem("ext4")) return;
    const disk = makeFilesystem({ type: "ext4", sizeBytes: 2 ** 26 });
    try {
      const content = `${"needle ".repeat(600)}\n`;
      makeTree(source, { "daily.0/a": file(content), "daily.0/b": file("sound\n") });
      expect(migrate(source, disk.mountPoint).code).toBe(0);
      flipOnDisk(disk.image ?? "", content);
      expect(readFileSync(join(disk.mountPoint, "daily.0/a"), "utf8")).toBe(content);
      const moved = migrateJson([remove, source, disk.mountPoint]);
      expect([moved.code, failuresOf(moved)]).toEqual([3, ["KEPT daily.0/a"]]);
      expect(namesIn(source)).toEqual(["daily.0/a"]);
    } finally {
      disk.close();
    }
  });

  it("is one that may not be removed", () => {
    makeTree(source, { "daily.0/a": file("a"), "daily.0/fixed": file("b") });
    const fixed = join(source, "daily.0/fixed");
    execFileSync("chattr", ["+i", fixed]);
    try {
      const moved = migrateJson([remove, source, target]);
      expect([moved.code, failuresOf(moved)]).toEqual([3, ["KEPT daily.0/fixed"]]);
      expect(namesIn(source)).toEqual(["daily.0/fixed"]);
    } finally {
      execFileSync("chattr", ["-i", fixed]);
    }
  });

  it("is everything in the source's own store", () => {
    makeTree(source, { "daily.0/a": file("a"), ".dedupe/objects/x": file("x") });
    expect(migrateJson([remove, source, target]).code).toBe(0);
    expect(lstatSync(join(source, ".dedupe/objects/x")).size).toBe(1);
  });
});

describe.skipIf(!root)("merging", () => {
  it("is no reason to keep a name whose equal gave the inode its values", () => {
    const attributes = { mode: 0o600, mtimeNs: 1_600_000_000_000_000_000n };
    makeTree(source, { "daily.0/a": file("equal"), "daily.1/a": file("equal", attributes) });
    const moved = migrateJson(["--ignore-mode", "--ignore-time", remove, source, target]);
    expect([moved.code, failuresOf(moved)]).toEqual([0, []]);
    expect(namesIn(source)).toEqual([]);
    expect(statSync(join(target, "daily.0/a")).ino).toBe(statSync(join(target, "daily.1/a")).ino);
  });

  it("of hard links made after the first run ends with each content verified", () => {
    makeTree(source, { "daily.0/a": file("one"), "daily.1/b": file("two") });
    expect(migrate(source, target).code).toBe(0);
    linkSync(join(source, "daily.0/a"), join(source, "daily.1/c"));
    expect(migrateJson([remove, source, target]).code).toBe(0);
    expect(namesIn(source)).toEqual([]);
    expect(readFileSync(join(target, "daily.1/c"), "utf8")).toBe("one");
  });
});

describe.skipIf(!root || !requireFilesystem("ext4"))("a hostile tree", () => {
  it("moves, the paths beyond PATH_MAX too", { timeout: 480_000 }, () => {
    const [from, to] = [makeWorkplace(), makeWorkplace()];
    const tree = makeHostileTree(join(from.path, "root"), {
      entries: isLong ? 5000 : 200,
      without: ["immutable"],
    });
    try {
      expect(migrate(tree.root, to.path).code).toBe(0);
      expect(compareTrees(tree.root, to.path, { mergedOk: true })).toEqual([]);
      const before = withoutAtime(to.path);
      const moved = migrateJson([remove, tree.root, to.path]);
      expect([moved.code, failuresOf(moved), moved.summary.error]).toEqual([0, [], undefined]);
      expect(namesIn(tree.root)).toEqual([]);
      expect(withoutAtime(to.path)).toEqual(before);
    } finally {
      tree.close();
      from.close();
      to.close();
    }
  });
});

const withoutAtime = (path: string) =>
  manifest(path).map((entry) => ({ ...entry, atimeNs: "", ctimeNs: "" }));

/** Changes the device beneath a mounted filesystem, whose page cache goes on holding what was written. */
function flipOnDisk(image: string, content: string): void {
  const at = readFileSync(image).indexOf(content);
  expect(at).toBeGreaterThan(0);
  const fd = openSync(image, "r+");
  writeSync(fd, "N", at);
  closeSync(fd);
}

import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dedupe, makeWorkplace, migrateJson, type Workplace } from "../support/dedupe.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import { grow, migrateWell, nothingDone, workDone } from "../support/migrate.ts";
import { compareReport, compareTrees, manifest } from "../support/oracle.ts";
import { makeRsnapshotRoot, requireRsnapshot } from "../support/rsnapshot.ts";
import {
  defaultMtimeNs,
  fifo,
  file,
  linkTo,
  makeTree,
  readTree,
  symlink,
  type Tree,
} from "../support/tree.ts";

const MIB = 2 ** 20;
const able = requireFilesystem("ext4");

let place: Workplace;
let serial = 0;

beforeAll(() => {
  if (able) place = makeWorkplace(1024 * MIB);
});
afterAll(() => {
  if (able) place.close();
});

/** A source with this tree, and an empty target. */
function roots(tree: Tree): { source: string; target: string } {
  const folder = join(place.path, `${++serial}`);
  const made = { source: join(folder, "source"), target: join(folder, "target") };
  makeTree(made.source, tree);
  mkdirSync(made.target, { recursive: true });
  return made;
}

/** The names of a target by the inode they share: "a b | c". */
function groups(root: string): string {
  const byInode = new Map<string, string[]>();
  for (const { path, inode, type } of manifest(root)) {
    if (type === "directory") continue;
    byInode.set(inode, [...(byInode.get(inode) ?? []), path.replace("s/", "")]);
  }
  return [...byInode.values()]
    .map((names) => names.sort().join(" "))
    .sort()
    .join(" | ");
}

function migrated(tree: Tree, ...options: string[]): string {
  const { source, target } = roots(tree);
  migrateWell(...options, source, target);
  return groups(target);
}

const twins: Tree = { "s/a": file("same"), "s/b": file("same"), "s/c": file("other") };

describe.skipIf(!able)("what becomes one inode", () => {
  it("is every identical pair, or with --merge none the source's own groups alone", () => {
    const tree: Tree = { ...twins, "s/a2": linkTo("s/a") };
    expect(migrated(tree)).toBe("a a2 b | c");
    expect(migrated(tree, "--merge", "all")).toBe("a a2 b | c");
    expect(migrated(tree, "--merge", "none")).toBe("a a2 | b | c");
  });

  it("never is an empty file, a symlink or a special beyond the source's own groups", () => {
    const tree: Tree = {
      "s/empty1": file(""),
      "s/empty2": file(""),
      "s/empty3": linkTo("s/empty1"),
      "s/link1": symlink("x"),
      "s/link2": symlink("x"),
      "s/link3": linkTo("s/link2"),
      "s/pipe1": fifo(),
      "s/pipe2": fifo(),
    };
    const own = "empty1 empty3 | empty2 | link1 | link2 link3 | pipe1 | pipe2";
    expect(migrated(tree)).toBe(own);
    expect(migrated(tree, "--min-size", "0", "--ignore-time")).toBe(own);
  });

  const attributes = [
    ["--ignore-time", { mtimeNs: defaultMtimeNs + 1n }],
    ["--ignore-mode", { mode: 0o600 }],
    ["--ignore-owner", { uid: 1000 }],
    ["--ignore-owner", { gid: 1000 }],
    ["--ignore-xattrs", { xattrs: { "user.x": "1" } }],
  ] as const;

  for (const [option, change] of attributes) {
    const [[name]] = Object.entries(change) as [[string, unknown]];
    it(`needs the same ${name}, unless ${option} is given; the survivor's goes to all`, async () => {
      const tree: Tree = { "s/a": file("same"), "s/b": file("same", change) };
      const { source, target } = roots(tree);
      await grow();
      expect(migrated(tree)).toBe("a | b");
      const others = attributes.map(([other]) => other).filter((other) => other !== option);
      expect(migrated(tree, ...others)).toBe("a | b");

      migrateWell(option, source, target);
      expect(groups(target)).toBe("a b");
      const survivor = readTree(target)["s/a"];
      expect([tree["s/a"], tree["s/b"]]).toContainEqual(survivor);
      expect(workDone(migrateWell(option, source, target).summary)).toEqual(nothingDone);
    });
  }

  it("lies within --min-size and --max-size", () => {
    const sizes = [1, 10, 100];
    const tree = Object.fromEntries(
      sizes.flatMap((size) => ["a", "b"].map((name) => [`s/${name}${size}`, file("x".repeat(size))])),
    );
    expect(migrated(tree)).toBe("a1 b1 | a10 b10 | a100 b100");
    expect(migrated(tree, "--min-size", "10")).toBe("a1 | a10 b10 | a100 b100 | b1");
    expect(migrated(tree, "--max-size", "10")).toBe("a1 b1 | a10 b10 | a100 | b100");
    expect(migrated(tree, "--min-size=2", "--max-size=99")).toBe("a1 | a10 b10 | a100 | b1 | b100");
  });

  it("is decided for a store when it is made: another policy is refused with a sentence", () => {
    const { source, target } = roots(twins);
    migrateWell(source, target);
    for (const options of [["--merge", "none"], ["--ignore-time"], ["--ignore-mode", "--ignore-owner"]]) {
      const before = readTree(target);
      const { code, err } = dedupe(["migrate", "--no-progress", ...options, source, target]);
      expect(code).toBe(1);
      expect(err).toContain("the store was made with --merge all, comparing mode, owner, time, xattrs");
      expect(err).toContain("remove .dedupe from the target (the snapshots stay as they are)");
      expect(readTree(target)).toEqual(before);
    }
    const refused = migrateJson(["--merge", "none", source, target]);
    expect(refused.events.at(-1)).toMatchObject({ type: "error", code: "STORE_POLICY", exitCode: 1 });

    // As the hint says.
    rmSync(join(target, ".dedupe"), { recursive: true });
    migrateWell("--merge", "none", source, target);
    expect(groups(target)).toBe("a | b | c");
  });

  it("is counted once: a file that is read again is no merger", () => {
    const { source, target } = roots(twins);
    expect(migrateWell(source, target).summary).toMatchObject({ mergedInodes: 1, mergedBytes: 4, inodes: 3 });
    const again = migrateWell("--checksum", source, target).summary;
    expect(again).toMatchObject({ readBytes: 13, writtenBytes: 0, createdInodes: 0, linkedNames: 0 });
  });

  it("counts only what regular files hold as what a plain copy would write", () => {
    const { source, target } = roots({
      "s/a": file("12345"),
      "s/a2": linkTo("s/a"),
      "s/link": symlink("a target of 20 bytes"),
      "s/link2": linkTo("s/link"),
      "s/link3": linkTo("s/link"),
    });
    expect(migrateWell(source, target).summary).toMatchObject({ contentBytes: 5, plainCopyBytes: 10 });
  });
});

describe.skipIf(!able || !requireRsnapshot())("a root that rsync -a inflated", () => {
  it("arrives as it was before, and the summary says what that saved", async () => {
    const folder = join(place.path, `${++serial}`);
    const [original, inflated, target] = ["original", "inflated", "target"].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    mkdirSync(target, { recursive: true });
    const made = makeRsnapshotRoot(original, { snapshots: 8, scale: 0.1, largestFileBytes: 900_000 });
    execFileSync("rsync", ["-a", "--modify-window=-1", `${original}/`, `${inflated}/`]);
    await grow();
    // Two workers may write equal files at the same moment, of which one stays: more would be written.
    const { summary } = migrateWell("--jobs", "1", inflated, target);
    expect(compareTrees(inflated, target, { mergedOk: true })).toEqual([]);

    const source = regularFiles(inflated);
    const arrived = regularFiles(target);
    const [contentBytes, arrivedBytes] = [source, arrived].map(sumOfSizes) as [number, number];
    const full = source.filter(({ size }) => size > 0);
    expect(summary).toMatchObject({
      inodes: inodesOf(inflated),
      contentBytes,
      plainCopyBytes: contentBytes,
      writtenBytes: arrivedBytes,
      mergedInodes: full.length - arrived.filter(({ size }) => size > 0).length,
      mergedBytes: contentBytes - arrivedBytes,
    });
    // Never more inodes with content than before it was inflated, and identical ones of the original merged besides.
    expect(arrivedBytes).toBeLessThanOrEqual(sumOfSizes(regularFiles(original)));
    expect(compareTrees(original, target, { mergedOk: true, ignore: ["group-split"] })).toEqual([]);
    // Of symlinks and empty files nobody can tell any more which were one.
    const split = compareReport(original, target, { mergedOk: true }).differences;
    expect(split.filter(({ path }) => holdsContent(join(original, path)))).toEqual([]);
    made.close();
  });
});

function holdsContent(path: string): boolean {
  const found = lstatSync(path);
  return found.isFile() && found.size > 0;
}

/** One entry an inode. */
function regularFiles(root: string) {
  const files = manifest(root).filter(({ type }) => type === "file");
  return [...new Map(files.map((entry) => [entry.inode, entry])).values()];
}

const inodesOf = (root: string) =>
  new Set(manifest(root).flatMap(({ type, inode }) => (type === "directory" ? [] : [inode]))).size;

const sumOfSizes = (entries: readonly { size: number }[]) => entries.reduce((sum, { size }) => sum + size, 0);

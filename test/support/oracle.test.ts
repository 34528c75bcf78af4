import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareReport, compareTrees, manifest } from "./oracle.ts";
import type { CompareOptions, DifferenceClass } from "./oracle.ts";
import { requirement, requireTool } from "./skip.ts";
import {
  defaultMtimeNs,
  device,
  directory,
  fifo,
  file,
  linkTo,
  makeTree,
  socket,
  sparse,
  symlink,
} from "./tree.ts";

const block = (letter: string, blocks = 1) => letter.repeat(4096 * blocks);
const able =
  requirement(process.getuid?.() === 0, "the oracle's own tests need root") && requireTool("setfattr");

/** Little-endian: version 2, then owner, user 1000, group, mask, other. */
const acl = "0x0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000000ffffffff";

const tree = {
  ".": directory({ mode: 0o750 }),
  a: file("content", { mode: 0o640, xattrs: { "user.one": "1", "user.two": "" } }),
  b: linkTo("a"),
  "daily.0/kept": file("kept"),
  "daily.1/kept": linkTo("daily.0/kept"),
  "daily.0/same": file("same content"),
  "daily.1/same": file("same content"),
  "daily.0/one-ns-later": file("same content", { mtimeNs: defaultMtimeNs + 1n }),
  "empty/0": file(""),
  "empty/1": file(""),
  d: directory({ mode: 0o2775 }),
  "d/sub/inner": file("inner"),
  s: symlink("target", { xattrs: { "trusted.link": "1" } }),
  "s-again": linkTo("s"),
  p: fifo(),
  "p-again": linkTo("p"),
  socket: socket(),
  c: device("c", 1, 3),
  disk: device("b", 7, 200),
  holes: sparse([8192, block("x"), 4096, block("y"), 16384]),
  large: file("z".repeat(3_000_000)),
};

let work = "";
let a = "";
let b = "";
let round = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-oracle-"));
  a = join(work, "a");
  if (able) makeTree(a, tree);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** A fresh exact copy of A to spoil. */
function copy(): string {
  round += 1;
  b = join(work, `b${round}`);
  run("cp", "-a", a, b);
  return b;
}

const at = (name: string) => join(b, name);

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });
}

/** Puts the times of the name (a directory, where names in it change) back afterwards. */
function quietly(name: string, task: () => void): void {
  const marker = join(work, `times-${round}`);
  writeFileSync(marker, "");
  run("touch", "-h", "-r", at(name), marker);
  task();
  run("touch", "-h", "-r", marker, at(name));
}

function inPlaceOf(name: string, task: () => void): void {
  const folder = name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : ".";
  quietly(folder, () => {
    rmSync(at(name), { recursive: true });
    task();
  });
}

type Spoil = readonly [
  what: string,
  spoil: () => void,
  found: readonly (readonly [DifferenceClass, string])[],
];

const spoils: readonly Spoil[] = [
  ["a missing file", () => quietly("d/sub", () => rmSync(at("d/sub/inner"))), [["missing", "d/sub/inner"]]],
  [
    "a missing directory with what it holds",
    () => quietly("d", () => rmSync(at("d/sub"), { recursive: true })),
    [
      ["missing", "d/sub"],
      ["missing", "d/sub/inner"],
    ],
  ],
  ["a name too many", () => quietly("d", () => writeFileSync(at("d/new"), "")), [["extra", "d/new"]]],
  ["an empty directory too many", () => quietly("d", () => mkdirSync(at("d/new"))), [["extra", "d/new"]]],
  [
    "a renamed file",
    () => quietly("d/sub", () => renameSync(at("d/sub/inner"), at("d/sub/other"))),
    [
      ["extra", "d/sub/other"],
      ["missing", "d/sub/inner"],
    ],
  ],
  [
    "a file where a fifo was",
    () => inPlaceOf("socket", () => writeFileSync(at("socket"), "")),
    [["type", "socket"]],
  ],
  [
    "a symlink where a directory was",
    () => inPlaceOf("d/sub", () => symlinkSync("../daily.0", at("d/sub"))),
    [
      ["missing", "d/sub/inner"],
      ["type", "d/sub"],
    ],
  ],
  [
    "a character device where a block device was",
    () => inPlaceOf("disk", () => run("mknod", "-m", "644", at("disk"), "c", "7", "200")),
    [["type", "disk"]],
  ],
  ["a file's mode", () => chmodSync(at("d/sub/inner"), 0o600), [["mode", "d/sub/inner"]]],
  ["a lost setgid bit of a directory", () => chmodSync(at("d"), 0o775), [["mode", "d"]]],
  ["the root directory's mode", () => chmodSync(b, 0o700), [["mode", "."]]],
  ["a fifo's mode", () => chmodSync(at("p"), 0o600), [["mode", "p"]]],
  ["a file's user", () => chownSync(at("d/sub/inner"), 1000, 0), [["owner", "d/sub/inner"]]],
  ["a symlink's group", () => lchownSync(at("s"), 0, 65534), [["owner", "s"]]],
  ["a directory's owner", () => chownSync(at("d/sub"), 4294967294, 0), [["owner", "d/sub"]]],
  [
    "a nanosecond",
    () => run("touch", "-d", "@1700000000.123456788", at("d/sub/inner")),
    [["mtime", "d/sub/inner"]],
  ],
  ["a time before 1970", () => run("touch", "-d", "@-1.5", at("c")), [["mtime", "c"]]],
  ["a directory's time", () => run("touch", at("d")), [["mtime", "d"]]],
  ["the root directory's time", () => run("touch", b), [["mtime", "."]]],
  ["a symlink's time", () => run("touch", "-h", at("s")), [["mtime", "s"]]],
  ["a lost xattr", () => run("setfattr", "-x", "user.two", at("a")), [["xattr", "a"]]],
  ["an xattr's value", () => run("setfattr", "-n", "user.one", "-v", "2", at("a")), [["xattr", "a"]]],
  ["an xattr too many", () => run("setfattr", "-n", "user.x", "-v", "", at("d")), [["xattr", "d"]]],
  ["a symlink's trusted xattr", () => run("setfattr", "-hx", "trusted.link", at("s")), [["xattr", "s"]]],
  [
    "a trusted xattr of a fifo",
    () => run("setfattr", "-hn", "trusted.p", "-v", "1", at("p")),
    [["xattr", "p"]],
  ],
  [
    "a capability",
    () =>
      run(
        "setfattr",
        "-n",
        "security.capability",
        "-v",
        "0x0100000200240000000000000000000000000000",
        at("large"),
      ),
    [["xattr", "large"]],
  ],
  [
    "a default ACL",
    () => run("setfattr", "-n", "system.posix_acl_default", "-v", acl, at("d")),
    [["xattr", "d"]],
  ],
  [
    "an access ACL, whose mask shows in the mode",
    () => run("setfattr", "-n", "system.posix_acl_access", "-v", acl, at("d/sub/inner")),
    [
      ["mode", "d/sub/inner"],
      ["xattr", "d/sub/inner"],
    ],
  ],
  [
    "one byte of a large file",
    () =>
      quietly("large", () =>
        run(
          "dd",
          `of=${at("large")}`,
          "if=/dev/zero",
          "bs=1",
          "count=1",
          "seek=2999999",
          "conv=notrunc",
          "status=none",
        ),
      ),
    [["content", "large"]],
  ],
  [
    "a file that lost its end",
    () => quietly("large", () => truncateSync(at("large"), 2_999_999)),
    [
      ["content", "large"],
      ["size", "large"],
    ],
  ],
  [
    "zeros at the end",
    () => quietly("d/sub/inner", () => appendFileSync(at("d/sub/inner"), "\0")),
    [
      ["content", "d/sub/inner"],
      ["size", "d/sub/inner"],
    ],
  ],
  [
    "another device number",
    () => inPlaceOf("c", () => run("mknod", "-m", "644", at("c"), "c", "1", "5")),
    [
      ["mtime", "c"],
      ["rdev", "c"],
    ],
  ],
  [
    "another symlink target",
    () => inPlaceOf("s", () => symlinkSync("elsewhere", at("s"))),
    [
      ["group-split", "s"],
      ["mtime", "s"],
      ["symlink-target", "s"],
      ["xattr", "s"],
    ],
  ],
  ["filled holes", () => fillHoles("holes"), [["hole", "holes"]]],
  ["one filled block", () => quietly("holes", () => writeZeros(at("holes"), 3)), [["hole", "holes"]]],
  [
    "a link across snapshots that became a copy",
    () => unlinkCopy("daily.1/kept"),
    [["group-split", "daily.0/kept"]],
  ],
  ["a fifo's link that became a fifo", () => unlinkCopy("p-again"), [["group-split", "p"]]],
  ["a symlink's link that became a symlink", () => unlinkCopy("s-again"), [["group-split", "s"]]],
  ["merged files", () => merge("daily.0/same", "daily.1/same"), [["group-merged", "daily.0/same"]]],
  ["merged empty files", () => merge("empty/0", "empty/1"), [["group-merged", "empty/0"]]],
];

function fillHoles(name: string): void {
  inPlaceOf(name, () => run("cp", "-a", "--sparse=never", join(a, name), at(name)));
}

function writeZeros(path: string, blockNumber: number): void {
  run(
    "dd",
    `of=${path}`,
    "if=/dev/zero",
    "bs=4096",
    "count=1",
    `seek=${blockNumber}`,
    "conv=notrunc",
    "status=none",
  );
}

function unlinkCopy(name: string): void {
  inPlaceOf(name, () => run("cp", "-a", join(a, name), at(name)));
}

function merge(kept: string, replaced: string): void {
  inPlaceOf(replaced, () => linkSync(at(kept), at(replaced)));
}

const found = (options: CompareOptions = {}) =>
  compareTrees(a, b, options)
    .map((difference): [DifferenceClass, string] => [difference.class, difference.path])
    .sort((left, right) => (left.join() < right.join() ? -1 : 1));

describe.skipIf(!able)("the oracle", () => {
  it("finds nothing in an exact copy", () => {
    copy();
    const report = compareReport(a, b);
    expect(report).toMatchObject({ counts: {}, differences: [] });
    expect(report.names).toEqual({ a: report.names.b, b: manifest(a).length });
  });

  it.each(spoils)("finds %s", (_what, spoil, expected) => {
    copy();
    spoil();
    expect(found()).toEqual(expected);
  });

  it("takes a merge for right only where the files were identical and not empty", () => {
    copy();
    merge("daily.0/same", "daily.1/same");
    expect(found({ mergedOk: true })).toEqual([]);
    merge("empty/0", "empty/1");
    expect(found({ mergedOk: true })).toEqual([["group-merged", "empty/0"]]);
  });

  it("finds a merge of files that differ in a nanosecond, unless the target cannot hold it", () => {
    copy();
    merge("daily.0/same", "daily.0/one-ns-later");
    expect(found({ mergedOk: true })).toEqual([
      ["group-merged", "daily.0/one-ns-later"],
      ["mtime", "daily.0/one-ns-later"],
    ]);
    run("touch", "-d", "@1700000000", at("daily.0/same"));
    expect(found({ mergedOk: true, timeGranularityNs: 1e9 })).toEqual([]);
    expect(found({ mergedOk: true, ignore: ["mtime"] })).toEqual([]);
  });

  it("expects times outside the target's range to be clamped", () => {
    copy();
    for (const name of ["a", "large"]) run("touch", "-d", "@1600000000", at(name));
    expect(found()).toContainEqual(["mtime", "large"]);
    expect(found({ timeRange: [0, 1600000000] }).some(([, path]) => path === "large" || path === "a")).toBe(
      false,
    );
  });

  it("lets a group beyond the link limit be split, and says into how many inodes", () => {
    copy();
    unlinkCopy("daily.1/kept");
    expect(compareTrees(a, b)).toMatchObject([{ class: "group-split", names: 2, inodes: 2 }]);
    expect(found({ splitOkAbove: 1 })).toEqual([]);
  });

  it("leaves out .dedupe and an empty lost+found at the top alone, and the names it is told", () => {
    copy();
    quietly(".", () => {
      for (const name of [".dedupe/objects", "lost+found", "other"]) mkdirSync(at(name), { recursive: true });
    });
    quietly("d", () => mkdirSync(at("d/.dedupe")));
    expect(found({ excludeTop: ["other"] })).toEqual([["extra", "d/.dedupe"]]);
    quietly(".", () => rmdirSync(at("other")));
    writeFileSync(at("lost+found/#12"), "");
    expect(found().map(([, path]) => path)).toEqual(["d/.dedupe", "lost+found", "lost+found/#12"]);
  });

  it("ignores single xattrs", () => {
    copy();
    run("setfattr", "-x", "user.two", at("a"));
    run("setfattr", "-n", "trusted.t", "-v", "1", at("large"));
    expect(found({ ignore: ["xattr:trusted."] })).toEqual([["xattr", "a"]]);
    expect(found({ ignore: ["xattr"] })).toEqual([]);
  });

  it("counts all differences where it lists but some", () => {
    copy();
    rmSync(at("empty"), { recursive: true });
    const { counts, differences } = compareReport(a, b, { limit: 1 });
    expect(counts).toEqual({ missing: 3, mtime: 1 });
    expect(differences).toHaveLength(1);
  });
});

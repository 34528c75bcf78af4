import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { differenceKinds, makeAllDifferent, makeDiverseTree } from "../support/differences.ts";
import { migrateWell } from "../support/migrate.ts";
import { requireLoop } from "../support/skip.ts";
import { against } from "../support/verify.ts";

const folder = ["missing daily.0/folder", "missing daily.0/folder/deeper"];
const inFolder = ["missing daily.0/folder/deeper/leaf", "missing daily.0/folder/inside"];
const olderDay = ["nothing", "old", "shared", "tube", "twin", "way"].map((name) => `missing daily.1/${name}`);

/** What each kind of difference is called, and where; nothing else may be found. */
const expected: Record<string, string[]> = {
  "a byte of a small file": ["content daily.0/plain"],
  "the last byte of a large file": ["content daily.0/large"],
  "a byte in the middle of a large file": ["content daily.0/large"],
  "a bit of a file in the older snapshot": ["content daily.1/old"],
  "a byte of a linked file": ["content daily.0/shared"],
  "zeros in place of data": ["content daily.0/block"],
  "data in place of zeros": ["content daily.0/zeros"],
  "a byte appended": ["size daily.0/plain"],
  "a byte cut off": ["size daily.0/plain"],
  "a file cut to nothing": ["size daily.0/plain"],
  "an empty file written to": ["size daily.0/empty"],
  "the last block of a large file cut off": ["size daily.0/large"],
  "contents of two files exchanged": ["content daily.0/one", "content daily.0/two"],
  "names of two files exchanged": ["content daily.0/one", "content daily.0/two"],
  "a file missing": ["missing daily.0/plain"],
  "a name of a linked file missing": ["missing daily.1/shared"],
  "a symlink missing": ["missing daily.0/link"],
  "a fifo missing": ["missing daily.0/pipe"],
  "an empty file missing": ["missing daily.0/empty"],
  "a name of bytes missing": ["missing daily.0/\xff\xfe"],
  "a folder missing, with all in it": [...folder, ...inFolder],
  "an empty folder missing": ["missing daily.0/hollow"],
  "a snapshot missing": ["missing daily.1", ...olderDay],
  "a file too many": ["extra daily.0/more"],
  "an empty file too many": ["extra daily.0/folder/more"],
  "a folder too many, with a file": ["extra daily.0/more", "extra daily.0/more/x"],
  "a name too many of a file": ["extra daily.0/more"],
  "a name that differs in case": ["extra daily.0/Plain", "missing daily.0/plain"],
  "a name with a newline more": ["extra daily.0/plain\n", "missing daily.0/plain"],
  "a file in another folder": ["extra daily.0/folder/plain", "missing daily.0/plain"],
  "a file that became a symlink": ["type daily.0/plain"],
  "a file that became a folder": ["type daily.0/plain"],
  "a folder that became a file": [folder[1]!, ...inFolder, "type daily.0/folder"],
  "a symlink that became a file": ["type daily.0/link"],
  "a fifo that became a socket": ["type daily.0/pipe"],
  "a block device that became a character device": ["type daily.0/disk"],
  "another device number": ["device daily.0/disk"],
  "another major number": ["device daily.0/null"],
  "another target of a symlink": ["symlink-target daily.0/link"],
  "a longer target of a symlink": ["symlink-target daily.0/link"],
  "a permission bit": ["mode daily.0/plain"],
  "setuid lost": ["mode daily.0/suid"],
  "setgid of a folder": ["mode daily.0/folder"],
  sticky: ["mode daily.0/hollow"],
  "the mode of a fifo": ["mode daily.0/pipe"],
  "the mode of the root": ["mode ."],
  "the owner of a file": ["owner daily.0/plain"],
  "the group of a file": ["group daily.0/plain"],
  "the owner of a folder": ["owner daily.0/hollow"],
  "the group of a symlink": ["group daily.0/link"],
  "the owner of a device": ["owner daily.0/null"],
  "a nanosecond": ["mtime daily.0/plain"],
  "a second less": ["mtime daily.0/plain"],
  "a nanosecond of a folder": ["mtime daily.0/folder"],
  "the time of a snapshot": ["mtime daily.1"],
  "the time of a symlink": ["mtime daily.0/link"],
  "the time of a fifo": ["mtime daily.0/pipe"],
  "the time of an empty file": ["mtime daily.0/empty"],
  "the time of the root": ["mtime ."],
  "another value of an xattr": ["xattr daily.0/marked"],
  "an xattr missing": ["xattr daily.0/marked"],
  "an xattr too many": ["xattr daily.0/plain"],
  "an xattr of a folder": ["xattr daily.0/hollow"],
  "a trusted xattr of a symlink": ["xattr daily.0/link"],
  "an ACL": ["acl daily.0/acl"],
  "an ACL missing": ["acl daily.0/acl"],
  "the default ACL of a folder missing": ["acl daily.0/folder"],
  "a capability missing": ["capability daily.0/capable"],
  "a hole filled with zeros": ["holes daily.0/sparse"],
  "a block of a hole filled with zeros": ["holes daily.0/sparse"],
  "a link broken": ["split daily.1/shared"],
  "a link of empty files broken": ["split daily.1/nothing"],
  "a link of symlinks broken": ["split daily.1/way"],
  "a link of fifos broken": ["split daily.1/tube"],
  "two empty files linked": ["merged daily.0/empty too"],
  "two symlinks linked": ["merged daily.0/link too"],
  "a name that is another file": ["size daily.1/shared", "split daily.1/shared"],
};

describe.skipIf(!requireLoop())("verify --against", () => {
  let workplace: Workplace;
  let source: string;

  beforeAll(() => {
    workplace = makeWorkplace();
    source = join(workplace.path, "source");
    makeDiverseTree(source);
  });
  afterAll(() => workplace.close());

  const copy = (from: string, name: string): string => {
    const target = join(workplace.path, name);
    execFileSync("cp", ["-a", from, target]);
    return target;
  };

  it("finds nothing in an honest copy, and in one that cp made", () => {
    const target = join(workplace.path, "target");
    mkdirSync(target);
    migrateWell(source, target);
    const honest = against(source, target);
    expect(honest).toMatchObject({ code: 0, found: [], noted: [] });
    expect(honest.summary).toMatchObject({ outcome: "sound", mergedInodes: 1, failures: 0 });
    expect(against(source, copy(source, "copied"))).toMatchObject({ code: 0, found: [], noted: [] });
  });

  it("finds each kind of difference, and nothing else", () => {
    const kinds = differenceKinds();
    expect(kinds).toEqual(Object.keys(expected));
    expect(kinds.length).toBeGreaterThan(40);
    const many = join(workplace.path, "many");
    mkdirSync(many);
    for (const number of kinds.keys()) copy(source, join("many", String(number)));
    const edited = copy(many, "edited");
    makeAllDifferent(edited);

    const one = against(many, edited, "-j", "1");
    expect(byKind(one.found, kinds)).toEqual(expected);
    expect(one).toMatchObject({ code: 4, noted: [] });
    // Which name of a group is met first depends on the threads.
    const two = against(many, edited, "-j", "2");
    expect(classesOf(two.found)).toEqual(classesOf(one.found));
    expect(two.summary.findings).toEqual(one.summary.findings);
  });
});

/** "content 3/daily.0/plain" belongs to the fourth kind. */
function byKind(found: readonly string[], kinds: readonly string[]): Record<string, string[]> {
  const lists = Object.fromEntries(kinds.map((kind): [string, string[]] => [kind, []]));
  for (const line of found) {
    const [name = "", ...rest] = line.split(" ");
    const [number = "", ...path] = rest.join(" ").split("/");
    lists[kinds[Number(number)] ?? line]?.push(`${name} ${path.length === 0 ? "." : path.join("/")}`);
  }
  for (const list of Object.values(lists)) list.sort();
  return lists;
}

const classesOf = (found: readonly string[]): string[] =>
  found.map((line) => line.split("/")[0] ?? "").sort();

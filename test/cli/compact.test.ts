import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compact, compactWell, isEmptyFolder, mismatches, objectsOf } from "../support/compact.ts";
import { dedupe, dedupeScript, makeWorkplace, migrate, type Workplace } from "../support/dedupe.ts";
import { compact as faultyCompact } from "../support/faulty-run.ts";
import { manifest } from "../support/oracle.ts";
import { relinkWell } from "../support/relink.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { verify } from "../support/verify.ts";

let work: Workplace;
beforeAll(() => {
  work = makeWorkplace(2 ** 30);
});
afterAll(() => work.close());

/** A fresh target, migrated from the small root. */
function makeTarget(...options: string[]): string {
  const folder = mkdtempSync(join(work.path, "compact-"));
  const [source, target] = [join(folder, "source"), join(folder, "target")];
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  const run = migrate(source, target, ...options);
  if (run.code !== 0) throw new Error(run.err);
  return target;
}

const inode = (path: string): number => lstatSync(path).ino;
const inodeOf = (target: string, name: string): string =>
  manifest(target).find(({ path }) => path === name)!.inode;
/** All of the snapshots but access times, which the oracle itself moves. */
const snapshotsOf = (target: string) =>
  manifest(target)
    .filter(({ path }) => !path.startsWith(".dedupe"))
    .map(({ atimeNs: _atime, ...entry }) => entry);
const findings = (run: { events: readonly { type: string }[] }) =>
  run.events.filter(({ type }) => type === "finding");

describe("compact on a store that is as it should be", () => {
  it("plans nothing, changes nothing, and leaves times of directories alone", () => {
    const target = makeTarget();
    compactWell(target);
    const before = snapshotsOf(target);
    const { summary, events } = compactWell(target);
    expect(snapshotsOf(target)).toEqual(before);
    expect(mismatches(target)).toEqual([]);
    const plan = events.find(({ type }) => type === "compact-plan");
    expect(plan).toMatchObject({
      sweep: { leftovers: 0 },
      adopt: { inodes: 0 },
      refile: { objects: 0 },
      prune: { objects: 0, holders: 0 },
      fold: { siblings: 0 },
      index: { unknown: 0 },
    });
    expect(summary).toMatchObject({ outcome: "complete", readBytes: 0, freedBytes: 0 });
    expect(summary.index.bytesAfter).toBe(summary.index.bytesBefore);
  });

  it("says by --dry-run what the run then does, and changes nothing itself", () => {
    const target = makeTarget();
    rmSync(join(target, "daily.1"), { recursive: true });
    chmodSync(join(target, "daily.0/large"), 0o600);
    execFileSync("cp", ["-p", join(target, "daily.0/twin"), join(target, "daily.0/third")]);
    // Equal to what an object was, which is to be named anew: no merge.
    execFileSync("cp", ["-p", join(target, "loose"), join(target, "loose too")]);
    chmodSync(join(target, "loose"), 0o600);
    const before = snapshotsOf(target);
    const dry = compactWell(target, "--dry-run").summary;
    expect(snapshotsOf(target)).toEqual(before);
    const { summary } = compactWell(target);
    for (const step of ["sweep", "adopt", "refile", "prune", "fold"] as const)
      expect([step, dry[step]]).toEqual([step, summary[step]]);
    expect(dry.index.unknown).toBe(summary.index.unknown);
    expect(dry.freedBytes).toBe(summary.freedBytes);
    expect(mismatches(target)).toEqual([]);
  });
});

describe("sweep", () => {
  it("removes what dead runs left, but for the last name of a file", () => {
    const target = makeTarget();
    const tmp = join(target, ".dedupe/tmp");
    linkSync(join(target, "daily.0/twin"), join(tmp, "relink.3"));
    execFileSync("cp", ["-p", join(target, "daily.0/twin"), join(tmp, "relink.4")]);
    writeFileSync(join(tmp, "relink.5"), "nowhere else\n");
    mkdirSync(join(target, ".dedupe/staging/u17"));
    writeFileSync(join(target, ".dedupe/staging/u17/old"), "replaced\n");
    const run = compact(target);
    expect(run.code).toBe(4);
    expect(readdirSync(tmp)).toEqual(["relink.5"]);
    expect(findings(run)).toMatchObject([{ class: "leftover", path: ".dedupe/tmp/relink.5" }]);
    expect(isEmptyFolder(join(target, ".dedupe/staging"))).toBe(true);
    expect(run.summary.sweep).toEqual({ leftovers: 3, unfinished: 0 });
  });

  it("keeps leftovers that are all names that a file has, but for those that go as well", () => {
    const target = makeTarget();
    const tmp = join(target, ".dedupe/tmp");
    const staged = join(target, ".dedupe/staging/u17");
    writeFileSync(join(tmp, "relink.5"), "nowhere else\n");
    linkSync(join(tmp, "relink.5"), join(tmp, "relink.6"));
    writeFileSync(join(tmp, "relink.7"), "and in what is swept\n");
    linkSync(join(tmp, "relink.7"), staged);
    renameSync(join(target, "loose"), join(tmp, "relink.8"));
    const run = compact(target);
    expect(run.code).toBe(4);
    expect(readdirSync(tmp)).toEqual(["relink.5", "relink.6", "relink.7", "relink.8"]);
    expect(findings(run)).toMatchObject(readdirSync(tmp).map((name) => ({ path: `.dedupe/tmp/${name}` })));
    expect(existsSync(staged)).toBe(false);
    expect(run.summary.prune.objects).toBe(0);
  });

  it("keeps a leftover whose equal in the store goes as well, or is not what its name says", () => {
    const target = makeTarget();
    const tmp = join(target, ".dedupe/tmp");
    for (const [name, leftover] of [
      ["loose", "relink.3"],
      ["daily.0/twin", "relink.4"],
    ] as const)
      execFileSync("cp", ["-p", join(target, name), join(tmp, leftover)]);
    rmSync(join(target, "loose"));
    chmodSync(join(target, "daily.0/twin"), 0o600);
    const run = compact(target);
    expect(findings(run)).toMatchObject([{ class: "leftover" }, { class: "leftover" }]);
    expect(run.summary).toMatchObject({ sweep: { leftovers: 0 }, prune: { objects: 1 } });
    expect(readFileSync(join(tmp, "relink.3"), "utf8")).toBe("in the root itself\n");
  });

  it("keeps what came under a name that was to go, and calls it a finding", () => {
    const target = makeTarget();
    const staging = join(target, ".dedupe/staging");
    mkdirSync(join(staging, "t3.77"));
    for (const name of ["t3.77/theirs", "u17.5.6"]) writeFileSync(join(staging, name), "somebody else's\n");
    const run = compact(target, "--forget-unfinished");
    expect(run.code).toBe(4);
    const paths = ["t3.77", "u17.5.6"].map((name) => ({
      path: `.dedupe/staging/${name}`,
      class: "leftover",
    }));
    expect(findings(run)).toMatchObject(paths);
    expect(run.summary.sweep).toEqual({ leftovers: 0, unfinished: 0 });
    const { code, err } = dedupe(["compact", "--detach", "--forget-unfinished", target]);
    expect([code, err]).toEqual([1, expect.stringContaining("staging/t3.77 was somebody else's")]);
    expect(readFileSync(join(staging, "t3.77/theirs"), "utf8")).toBe("somebody else's\n");
    expect(existsSync(join(staging, "u17.5.6"))).toBe(true);
  });

  it("keeps what a migration goes on with, and what it names, unless that is to be forgotten", () => {
    const target = makeTarget();
    const staged = join(target, ".dedupe/staging/s0123456789abcdef0123456789abcdef");
    mkdirSync(staged);
    linkSync(join(target, "daily.0/docs/edited"), join(staged, "edited"));
    rmSync(join(target, "daily.0/docs/edited"));
    const kept = compactWell(target).summary;
    expect(kept).toMatchObject({ sweep: { leftovers: 0, unfinished: 1 }, prune: { objects: 0 } });
    expect(readFileSync(join(staged, "edited"), "utf8")).toBe("tuesday\n");
    const forgotten = compactWell(target, "--forget-unfinished").summary;
    expect(forgotten).toMatchObject({ sweep: { leftovers: 1, unfinished: 0 }, prune: { objects: 1 } });
    expect(mismatches(target)).toEqual([]);
  });
});

describe("adopt", () => {
  it("takes in what other tools wrote and merges it with its equals, without reading what is known", () => {
    const target = makeTarget();
    compactWell(target);
    execFileSync("cp", ["-al", join(target, "daily.0"), join(target, "daily.2")]);
    execFileSync("cp", ["-p", join(target, "daily.0/docs/kept"), join(target, "daily.2/copy")]);
    writeFileSync(join(target, "daily.2/new"), "only here\n");
    linkSync(join(target, "daily.2/new"), join(target, "daily.2/new too"));
    const { summary } = compactWell(target);
    expect(inode(join(target, "daily.2/copy"))).toBe(inode(join(target, "daily.0/docs/kept")));
    expect(inode(join(target, "daily.2/new"))).toBe(inode(join(target, "daily.2/new too")));
    expect(summary.adopt).toMatchObject({ inodes: 2, linkedNames: 1, mergedInodes: 1 });
    // The copy, and once the object that it gives way to.
    expect(summary.readBytes).toBe(2 * statSync(join(target, "daily.0/docs/kept")).size + 10);
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });

  it("leaves apart what relink was told to leave apart, until it is told otherwise", () => {
    const target = mkdtempSync(join(work.path, "selection-"));
    const put = (name: string, size: number): string => {
      mkdirSync(dirname(join(target, name)), { recursive: true });
      writeFileSync(join(target, name), "x".repeat(size));
      utimesSync(join(target, name), 1, 1_600_000_000);
      return join(target, name);
    };
    const large = [put("daily.0/a", 20_000), put("daily.1/a", 20_000)];
    const small = [put("daily.0/s", 100), put("daily.1/s", 100)];
    const live = [put("live/db/a", 20_000), put("live/db/b", 20_000)];
    const inodes = (paths: string[]): number => new Set(paths.map(inode)).size;
    relinkWell("--full", "--exclude", "db/", "--min-size", "10K", target);
    large.push(put("daily.2/a", 20_000));
    const { events, summary } = compactWell(target);
    expect([large, small, live].map(inodes)).toEqual([1, 2, 2]);
    expect(summary.adopt).toMatchObject({ linkedNames: 1 });
    expect(events).toContainEqual(expect.objectContaining({ type: "notice", code: "SELECTION" }));
    linkSync(large[0]!, join(target, "live/db/linked"));
    appendFileSync(large[0]!, "written into\n");
    expect(compact(target).summary).toMatchObject({ findings: { content: 1 }, affectedNames: 4 });
    relinkWell("--full", target);
    compactWell(target);
    expect([small, live].map(inodes)).toEqual([1, 1]);
  });

  it("keeps equals apart in a store of --merge none, and gives each its own name", () => {
    const target = makeTarget("--merge", "none");
    execFileSync("cp", ["-p", join(target, "daily.0/twin"), join(target, "daily.0/third")]);
    const before = objectsOf(target).size;
    compactWell(target);
    expect(objectsOf(target).size).toBe(before + 1);
    expect(inode(join(target, "daily.0/third"))).not.toBe(inode(join(target, "daily.0/twin")));
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });

  it("links nothing to an object whose content was changed in place with its time put back", () => {
    const target = makeTarget();
    compactWell(target);
    const path = join(target, "daily.0/docs/edited");
    const { mtime, atime } = statSync(path);
    execFileSync("cp", ["-p", path, join(target, "daily.0/true copy")]);
    writeFileSync(path, "Tuesday, twice as long\n");
    utimesSync(path, atime, mtime);
    const run = compact(target);
    expect(run.code).toBe(4);
    expect(readFileSync(join(target, "daily.0/true copy"), "utf8")).toBe("tuesday\n");
    expect(readFileSync(path, "utf8")).toBe("Tuesday, twice as long\n");
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });
});

describe("refile", () => {
  it("names an object by its new attributes, without reading it where size and time are the same", () => {
    const target = makeTarget();
    compactWell(target);
    chmodSync(join(target, "daily.0/large"), 0o640);
    const { summary } = compactWell(target);
    expect(summary).toMatchObject({ refile: { objects: 1 }, readBytes: 0, index: { unknown: 0 } });
    expect(verify([target]).code).toBe(0);
    expect(compactWell(target).summary).toMatchObject({ refile: { objects: 0 }, readBytes: 0 });
  });

  it("reads what was touched, and finds nothing where the content is the same", () => {
    const target = makeTarget();
    compactWell(target);
    utimesSync(join(target, "daily.0/large"), 1, 1_650_000_000);
    const { summary } = compactWell(target);
    expect(summary).toMatchObject({ refile: { objects: 1 }, readBytes: 1_300_000, findings: {} });
    expect(verify([target]).code).toBe(0);
  });

  it("leaves the last name of an object to prune", () => {
    const target = makeTarget();
    compactWell(target);
    const loose = objectPathOf(target, join(target, "loose"));
    rmSync(join(target, "loose"));
    writeFileSync(loose, "");
    expect(compact(target, "--steps", "refile").code).toBe(4);
    expect(existsSync(loose)).toBe(true);
  });

  it("merges an object that became what another one is", () => {
    const target = makeTarget();
    const [one, two] = ["daily.0/a", "daily.0/b"].map((name) => join(target, name)) as [string, string];
    writeFileSync(one, "the same\n", { mode: 0o644 });
    execFileSync("cp", ["-p", one, two]);
    chmodSync(two, 0o600);
    const { names, directories } = compactWell(target).summary;
    expect(inode(one)).not.toBe(inode(two));
    chmodSync(two, 0o644);
    const { summary } = compactWell(target);
    expect(summary).toMatchObject({ refile: { objects: 1 }, adopt: { mergedInodes: 1 } });
    // However often they were walked.
    expect(summary).toMatchObject({ names, directories });
    expect(inode(one)).toBe(inode(two));
    expect(mismatches(target)).toEqual([]);
  });

  it("finds an edit in place, lists every name that shows it, and names the object by what it is now", () => {
    const target = makeTarget();
    compactWell(target);
    appendFileSync(join(target, "daily.0/docs/kept"), "written into\n");
    truncateSync(join(target, "daily.0/docs/edited"), 0);
    const run = compact(target);
    expect(run.code).toBe(4);
    expect(run.summary).toMatchObject({ outcome: "findings", findings: { content: 2 }, affectedNames: 3 });
    const affected = run.events.filter(({ type }) => type === "affected").map(({ path }) => path);
    expect(affected.sort()).toEqual(["daily.0/docs/edited", "daily.0/docs/kept", "daily.1/docs/kept"]);
    expect(verify([target]).code).toBe(0);
    expect(mismatches(target)).toEqual([]);
    expect(compactWell(target).summary.findings).toEqual({});
  });
});

describe("a holder of an empty file", () => {
  it("is taken in as content, with a finding, when the file was written into", () => {
    const target = makeTarget();
    appendFileSync(join(target, "daily.0/empty"), "data\n");
    expect(compactWell(target, "--steps", "prune").code).toBe(0);
    const run = compact(target);
    expect(run).toMatchObject({ code: 4, summary: { findings: { content: 1 }, affectedNames: 3 } });
    expect(verify([target])).toMatchObject({ code: 0, found: [], noted: [] });
    expect(compactWell(target).summary.findings).toEqual({});
    expect(mismatches(target)).toEqual([]);
  });

  it("needs no index", () => {
    const folder = mkdtempSync(join(work.path, "empty-"));
    writeFileSync(join(folder, "alone"), "nobody else has this\n");
    relinkWell(folder);
    const { out, err } = dedupe(["compact", folder]);
    expect(out + err).not.toContain("no index yet");
  });
});

describe("fold", () => {
  /** The second name of a file leads to a sibling of its object, as if the link limit had opened one. */
  function openSibling(target: string): { first: string; second: string; sibling: string } {
    const first = join(target, "daily.0/docs/kept");
    const second = join(target, "daily.1/docs/kept");
    const [object] = [...objectsOf(target)].find(([, of]) => of === inodeOf(target, "daily.0/docs/kept"))!;
    const sibling = join(target, ".dedupe/objects", `${object}.1`);
    execFileSync("cp", ["-p", first, sibling]);
    rmSync(second);
    linkSync(sibling, second);
    expect(inode(first)).not.toBe(inode(second));
    return { first, second, sibling };
  }

  it("makes a sibling that the link limit opened one inode with its equal again", () => {
    const target = makeTarget();
    compactWell(target);
    const { first, second, sibling } = openSibling(target);
    expect(compactWell(target, "--dry-run").summary.fold.siblings).toBe(1);
    expect(inode(first)).not.toBe(inode(second));
    expect(compactWell(target).summary.fold.siblings).toBe(1);
    expect(inode(first)).toBe(inode(second));
    expect(existsSync(sibling)).toBe(false);
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });

  it("counts nothing as adopted where that was not asked for", () => {
    const target = makeTarget();
    compactWell(target);
    openSibling(target);
    const { summary } = compactWell(target, "--steps", "fold");
    expect(summary).toMatchObject({ fold: { siblings: 1 }, adopt: { inodes: 0, bytes: 0, mergedInodes: 1 } });
  });

  it("counts as folded what was folded, whatever was planned", async () => {
    const target = makeTarget();
    compactWell(target);
    openSibling(target);
    writeFileSync(join(target, "daily.0/new"), "new\n");
    const action = { type: "fail", errno: constants.errno.EIO } as const;
    const plan = { rules: [{ calls: ["linkat"], path: "/objects", action }] };
    const { summary } = await faultyCompact(target, { args: ["--steps", "adopt,fold"], plan });
    expect(summary).toMatchObject({ outcome: "failed", fold: { siblings: 0 } });
  });

  it("leaves a number to an inode that came meanwhile, and puts both in order the next time", () => {
    const target = makeTarget();
    compactWell(target);
    const kept = join(target, "daily.0/docs/kept");
    const [object] = [...objectsOf(target)].find(([, of]) => of === inodeOf(target, "daily.0/docs/kept"))!;
    const first = join(target, ".dedupe/objects", object);
    renameSync(first, `${first}.2`);
    execFileSync("cp", ["-p", kept, join(target, "daily.0/came")]);
    compactWell(target, "--steps", "adopt,fold");
    expect(existsSync(first)).toBe(true);
    expect(inode(kept)).toBe(inode(join(target, "daily.1/docs/kept")));
    compactWell(target);
    expect(inode(kept)).toBe(inode(join(target, "daily.0/came")));
    expect(readdirSync(join(first, "..")).filter((name) => name.includes(basename(first)))).toHaveLength(1);
    expect(mismatches(target)).toEqual([]);
    expect(verify([target]).code).toBe(0);
  });

  it("leaves a sibling alone that has a time of its own, also where times are not compared", () => {
    const target = makeTarget("--ignore-time");
    compactWell(target);
    const { first, second } = openSibling(target);
    utimesSync(second, 1_000_000_000, 1_000_000_000);
    expect(compactWell(target).summary.fold.siblings).toBe(0);
    expect(inode(first)).not.toBe(inode(second));
    expect(mismatches(target)).toEqual([]);
  });
});

describe("prune", () => {
  it("lets go of what no name is left of, and of nothing that has one outside the target", () => {
    const target = makeTarget();
    const outside = join(target, "../outside");
    linkSync(join(target, "daily.0/docs/edited"), outside);
    const before = objectsOf(target).size;
    for (const day of ["daily.0", "daily.1"]) rmSync(join(target, day), { recursive: true });
    const { summary } = compactWell(target);
    expect(summary.prune.objects).toBe(before - objectsOf(target).size);
    expect(summary.prune.freedBytes).toBeGreaterThan(1_300_000);
    expect(summary.prune.holders).toBe(3);
    expect(readFileSync(outside, "utf8")).toBe("tuesday\n");
    const left = mismatches(target);
    expect(left).toHaveLength(1);
    rmSync(outside);
    compactWell(target);
    expect(mismatches(target)).toEqual([]);
  });

  it("does only the steps that it is told to", () => {
    const target = makeTarget();
    compactWell(target);
    rmSync(join(target, "daily.0/large"));
    rmSync(join(target, "daily.1/large"));
    writeFileSync(join(target, "daily.0/new"), "new\n");
    const adopted = compactWell(target, "--steps", "adopt").summary;
    expect(adopted).toMatchObject({ prune: { objects: 0 }, adopt: { inodes: 1 }, steps: ["adopt"] });
    expect(compactWell(target, "--steps", "prune").summary).toMatchObject({ prune: { objects: 1 } });
    expect(mismatches(target)).toEqual([]);
  });
});

describe("index", () => {
  it.each(["missing", "garbage"])("makes a %s index anew without being asked", (what) => {
    const target = makeTarget();
    const file = join(target, ".dedupe/index/data.mdb");
    rmSync(file);
    if (what === "garbage") writeFileSync(file, Buffer.alloc(65_536, "no index of this machine"));
    const objects = objectsOf(target).size;
    expect(compactWell(target).summary.index.unknown).toBe(objects);
    expect(compactWell(target).summary).toMatchObject({ index: { unknown: 0 }, readBytes: 0 });
  });

  it("drops rows of what is gone, and gives the file its size", () => {
    const target = makeTarget();
    compactWell(target);
    for (const day of ["daily.0", "daily.1", "other"]) rmSync(join(target, day), { recursive: true });
    const { index } = compactWell(target).summary;
    expect(index.droppedRows).toBeGreaterThan(10);
    expect(index.bytesAfter).toBeLessThan(index.bytesBefore);
    const next = compactWell(target).summary.index;
    expect(next.rows).toBe(index.rows - index.droppedRows);
    expect(next.droppedRows).toBe(0);
    expect(readdirSync(join(target, ".dedupe/index")).filter((name) => name.includes("new"))).toEqual([]);
  });

  it("does not get a larger file for fewer rows", () => {
    const target = makeTarget();
    rmSync(join(target, "daily.0"), { recursive: true });
    const { index } = compactWell(target).summary;
    expect(index.droppedRows).toBeGreaterThan(0);
    expect(index.bytesAfter).toBeLessThanOrEqual(index.bytesBefore);
  });

  it("is not promised to be made anew where that was not asked for", () => {
    const target = makeTarget();
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    const notices = (run: ReturnType<typeof compact>) =>
      run.events.filter(({ type }) => type === "notice").map(({ code }) => code);
    const plan = (run: ReturnType<typeof compact>) => run.events.find(({ type }) => type === "compact-plan");
    const without = compactWell(target, "--steps", "sweep,prune");
    expect(notices(without)).not.toContain("INDEX_REBUILT");
    expect(plan(without)).toMatchObject({ index: { unknown: 0 } });
    const whole = compactWell(target);
    expect(notices(whole)).toContain("INDEX_REBUILT");
    expect(plan(whole)).toMatchObject({ index: { unknown: objectsOf(target).size } });
  });

  it("drops rows of what an earlier run pruned without a look at the index", () => {
    const target = makeTarget();
    compactWell(target);
    for (const day of ["daily.0", "daily.1"]) rmSync(join(target, day), { recursive: true });
    expect(compactWell(target, "--steps", "prune").summary.prune.objects).toBeGreaterThan(0);
    expect(compactWell(target).summary.index.droppedRows).toBeGreaterThan(0);
    expect(compactWell(target).summary.index.droppedRows).toBe(0);
  });
});

describe("what compact refuses or leaves alone", () => {
  it("refuses a target without a store, and one that is locked", () => {
    const folder = mkdtempSync(join(work.path, "none-"));
    expect(dedupe(["compact", folder])).toMatchObject({
      code: 1,
      err: expect.stringContaining("no store") as string,
    });
    const target = makeTarget();
    const lock = join(target, ".dedupe/lock");
    const script = `"$1" "$2" compact "$3" >/dev/null; echo $?`;
    const args = [lock, "sh", "-c", script, "sh", process.execPath, dedupeScript, target];
    const run = execFileSync("flock", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    expect(run.trim()).toBe("5");
  });

  it("leaves foreign names in the store alone and says so, once", () => {
    const target = makeTarget();
    // So that prune looks at the store again.
    chmodSync(join(target, "loose"), 0o600);
    mkdirSync(join(target, ".dedupe/objects/notes"));
    const foreign = join(
      target,
      ".dedupe/objects",
      readdirSync(join(target, ".dedupe/objects"))[0]!,
      "notes.txt",
    );
    writeFileSync(foreign, "mine\n");
    const run = compact(target);
    expect(run).toMatchObject({ code: 4, summary: { refile: { objects: 1 }, findings: { foreign: 2 } } });
    expect(findings(run)).toHaveLength(2);
    expect(existsSync(foreign)).toBe(true);
  });

  it("names the directory of the store that its disk does not give", async () => {
    const target = makeTarget();
    const failAt = async (path: string) => {
      const action = { type: "fail", errno: constants.errno.EIO } as const;
      const rules = [{ calls: ["getdents64"], path, action }];
      const { code, stdout } = await faultyCompact(target, { plan: { rules } });
      expect(code).toBe(1);
      return stdout;
    };
    const [fanOut] = readdirSync(join(target, ".dedupe/objects"));
    const scanned = await failAt(`.dedupe/objects/${fanOut}`);
    const why = "getdents64: input/output error (EIO)";
    expect(scanned).toContain(`the target failed: ${why} (.dedupe/objects/${fanOut})`);
    expect(await failAt(".dedupe/objects")).toContain(`${why} (.dedupe/objects)`);
    expect(await failAt(".dedupe/staging")).toContain(
      `the target ${target} cannot be examined: ${why} (.dedupe/staging)`,
    );
  });

  it("stops by --time-limit with exit 0, and the next run does the rest", () => {
    const target = makeTarget();
    rmSync(join(target, "daily.1"), { recursive: true });
    const { code, summary } = compact(target, "--time-limit", "0.001s");
    expect([code, summary.outcome, summary.timeLimit]).toEqual([0, "stopped", true]);
    compactWell(target);
    expect(mismatches(target)).toEqual([]);
  });
});

describe("--detach", () => {
  it("takes the store away and leaves every name, link and time", () => {
    const target = makeTarget();
    const before = snapshotsOf(target);
    const dry = compactWell(target, "--detach", "--dry-run");
    const plan = { prune: { objects: objectsOf(target).size, holders: 3, freedBytes: 0 } };
    expect(dry.summary).toMatchObject({ detached: true, ...plan });
    expect(dry.events).toContainEqual(
      expect.objectContaining({ type: "compact-plan", detached: true, ...plan }),
    );
    const told = dedupe(["compact", "--detach", "--dry-run", target]).out;
    expect(told).toContain(`plan: detach: ${objectsOf(target).size} objects, 3 holders\n`);
    expect(told).toMatch(/^ +store +\d+ objects, 3 holders\n +would free +0 B\n/m);
    const run = dedupe(["compact", "--detach", target]);
    expect(run.out).toMatch(/^ +freed +0 B\n/m);
    expect(run).toMatchObject({ code: 0, out: expect.stringContaining("dedupe relink --full") as string });
    expect(existsSync(join(target, ".dedupe"))).toBe(false);
    const after = snapshotsOf(target);
    expect(after.map(({ path, inode: number, mtimeNs }) => [path, number, mtimeNs])).toEqual(
      before.map(({ path, inode: number, mtimeNs }) => [path, number, mtimeNs]),
    );
  });

  it("is refused while a migration is unfinished, or a leftover is a last name", () => {
    const target = makeTarget();
    mkdirSync(join(target, ".dedupe/staging/s0123456789abcdef0123456789abcdef"));
    expect(dedupe(["compact", "--detach", target])).toMatchObject({
      code: 1,
      err: expect.stringContaining("--forget-unfinished") as string,
    });
    renameSync(join(target, "loose"), join(target, ".dedupe/tmp/relink.0"));
    writeFileSync(join(target, ".dedupe/tmp/relink.0"), "changed, and nowhere else\n");
    rmSync(objectPathOf(target, join(target, ".dedupe/tmp/relink.0")));
    expect(dedupe(["compact", "--detach", "--forget-unfinished", target]).code).toBe(1);
    expect(existsSync(join(target, ".dedupe/tmp/relink.0"))).toBe(true);
  });

  it.each([
    ["--detach", "--time-limit", "1s"],
    ["--steps", "fold", "--forget-unfinished"],
  ])("is not given options that say nothing: %s %s %s", (...options) => {
    expect(dedupe(["compact", ...options, "/nowhere"])).toMatchObject({
      code: 2,
      err: expect.stringContaining(options[0] === "--detach" ? "--time-limit" : "sweep") as string,
    });
  });

  it("is refused while relink --undo has something to put back", () => {
    const target = mkdtempSync(join(work.path, "undo-"));
    for (const name of ["a", "b"]) writeFileSync(join(target, name), "the same\n");
    utimesSync(join(target, "b"), 1, 1_600_000_000);
    relinkWell("--ignore-time", target);
    expect(dedupe(["compact", "--detach", target])).toMatchObject({
      code: 1,
      err: expect.stringContaining("relink --undo") as string,
    });
    relinkWell("--undo", target);
    expect(dedupe(["compact", "--detach", target]).code).toBe(0);
  });

  it("is refused where two leftovers are all names of a file", () => {
    const target = makeTarget();
    const [one, two] = ["relink.0", "relink.1"].map((name) => join(target, ".dedupe/tmp", name)) as [
      string,
      string,
    ];
    writeFileSync(one, "nowhere else\n");
    linkSync(one, two);
    expect(dedupe(["compact", "--detach", target])).toMatchObject({
      code: 1,
      err: expect.stringContaining("relink.0") as string,
    });
    expect(readFileSync(two, "utf8")).toBe("nowhere else\n");
  });
});

function objectPathOf(target: string, path: string): string {
  const wanted = inode(path);
  const objects = join(target, ".dedupe/objects");
  const found = [...objectsOf(target).keys()].find((name) => inode(join(objects, name)) === wanted);
  return join(objects, found!);
}

import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compact, compactWell, type CompactRun } from "../support/compact.ts";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { migrateWell } from "../support/migrate.ts";
import { relink, relinkWell } from "../support/relink.ts";
import { flip, keepingTime, objectOf } from "../support/store-objects.ts";
import { file, linkTo, makeTree } from "../support/tree.ts";
import { verify } from "../support/verify.ts";

const long = "a content of two pages\n".repeat(400);

let work: Workplace;
beforeAll(() => {
  work = makeWorkplace(2 ** 28);
});
afterAll(() => work.close());

/** Two snapshots that share a file; a second variant of its content in the older one where that is asked for. */
function makeTarget(
  { variant, content = long }: { variant: boolean; content?: string },
  ...options: string[]
): string {
  const folder = mkdtempSync(join(work.path, "rot-"));
  const [source, target] = [join(folder, "source"), join(folder, "target")];
  makeTree(source, {
    "daily.0/f": file(content),
    "daily.1/f": linkTo("daily.0/f"),
    "daily.1/loose": file("x\n"),
    ...(variant ? { "daily.1/other": file(long, { mode: 0o600 }) } : {}),
  });
  mkdirSync(target);
  migrateWell(source, target, ...options);
  return target;
}

/** Damages the shared file, of which a sound copy came a moment ago. */
function damageBeside(target: string): string {
  const sound = join(target, "daily.9/f");
  mkdirSync(join(target, "daily.9"));
  execFileSync("cp", ["-p", join(target, "daily.0/f"), sound]);
  flip(join(target, "daily.0/f"), 5);
  return sound;
}

const told = ({ events }: CompactRun, type: string) =>
  events.filter((event) => event.type === type).map(({ path }) => path);
/** The one finding is the content that the two snapshots share. */
function expectTold(run: CompactRun): void {
  expect(run).toMatchObject({ code: 4, summary: { findings: { content: 1 }, failures: 0 } });
  expect(told(run, "affected").sort()).toEqual(["daily.0/f", "daily.1/f"]);
}

const text = (path: string): string => readFileSync(path, "utf8");

describe("compact of a store in which an object rotted", () => {
  it("lets no sound file give way to it, says so until it is repaired, and merges them then", () => {
    const target = makeTarget({ variant: false });
    compactWell(target);
    const sound = damageBeside(target);
    const object = objectOf(target, "daily.0/f");
    for (let night = 0; night < 2; night++) {
      const run = compact(target);
      expect(run).toMatchObject({ code: 4, summary: { findings: { content: 1 }, failures: 0 } });
      expect([told(run, "finding"), told(run, "affected").sort()]).toEqual([
        [object],
        ["daily.0/f", "daily.1/f"],
      ]);
      expect([text(sound), objectOf(target, "daily.0/f")]).toEqual([long, object]);
    }
    expect(verify(["--repair", target]).code).toBe(0);
    expect(text(join(target, "daily.0/f"))).toBe(long);
    compactWell(target);
    expect(statSync(sound).ino).toBe(statSync(join(target, "daily.0/f")).ino);
  });

  it("does not take the rot for a content of its own where the index is gone", () => {
    const target = makeTarget({ variant: false });
    const sound = damageBeside(target);
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expectTold(compact(target));
    expect(text(sound)).toBe(long);
    expect(compact(target).code).toBe(4);
    expect(verify(["--repair", target]).code).toBe(0);
    expect([text(join(target, "daily.1/f")), text(sound)]).toEqual([long, long]);
  });

  it.each([
    { rot: "was cut short", index: "there" },
    { rot: "lost a bit", index: "gone" },
  ])("leaves what $rot to a repair, with the index $index", ({ rot, index }) => {
    const target = makeTarget({ variant: true });
    compactWell(target);
    const path = join(target, "daily.0/f");
    if (rot === "lost a bit") flip(path, 5);
    else keepingTime(path, () => truncateSync(path, 4096));
    if (index === "gone") rmSync(join(target, ".dedupe/index"), { recursive: true });
    for (let night = 0; night < 2; night++)
      expect(compact(target)).toMatchObject({ code: 4, summary: { findings: { content: 1 } } });
    expect(verify(["--repair", target]).code).toBe(0);
    expect(text(path)).toBe(long);
    expect(compactWell(target).summary.findings).toEqual({});
  });

  it("calls it an edit where times are not compared and the index is gone, and names it by what it is", () => {
    const target = makeTarget({ variant: false }, "--ignore-time");
    const sound = damageBeside(target);
    rmSync(join(target, ".dedupe/index"), { recursive: true });
    expectTold(compact(target));
    expect(text(sound)).toBe(long);
    compactWell(target);
    expect(verify([target])).toMatchObject({ code: 0, found: [], noted: [] });
  });
});

describe("relink of a root in which an object rotted", () => {
  it.each([{ filter: [] }, { filter: ["--full", "--exclude", "daily.[01]"] }])(
    "lets no sound file give way to it $filter",
    ({ filter }) => {
      const target = mkdtempSync(join(work.path, "relink-"));
      makeTree(target, { "daily.0/f": file(long), "daily.1/f": linkTo("daily.0/f") });
      relinkWell("--full", target);
      const sound = damageBeside(target);
      for (let night = 0; night < 2; night++) {
        const { code, events } = relink(...filter, target);
        expect(code).toBe(3);
        expect(events.filter(({ type }) => type === "failure")).toMatchObject([{ code: "DAMAGED" }]);
        expect(text(sound)).toBe(long);
      }
      expect(verify(["--repair", target]).code).toBe(0);
      expect(text(join(target, "daily.0/f"))).toBe(long);
    },
  );
});

describe("an object that nobody names any more", () => {
  /** Its snapshots are gone; two sound copies with its attributes came since. */
  function makeNameless(spoil: (object: string) => void, { content = long } = {}): string {
    const target = makeTarget({ variant: false, content });
    compactWell(target);
    const object = join(target, objectOf(target, "daily.0/f"));
    for (const day of ["daily.8", "daily.9"]) {
      mkdirSync(join(target, day));
      execFileSync("cp", ["-p", "--sparse=never", object, join(target, day, "f")]);
    }
    for (const day of ["daily.0", "daily.1"]) rmSync(join(target, day), { recursive: true });
    spoil(object);
    return target;
  }

  /** One of the copies has become the object. */
  function expectMerged(target: string): void {
    expect(objectOf(target, "daily.8/f")).toBe(objectOf(target, "daily.9/f"));
    expect(text(join(target, "daily.8/f"))).toBe(long);
    expect(verify([target])).toMatchObject({ code: 0 });
  }

  it("gives its name to an equal file where it rotted, by compact and by relink", () => {
    for (const heal of [compactWell, relinkWell]) {
      const target = makeNameless((object) => flip(object, 5));
      heal(target);
      expectMerged(target);
    }
  });

  it("counts the file that takes its name as neither replaced nor freed", () => {
    const target = makeNameless((object) => flip(object, 5));
    expect(relinkWell(target).summary).toMatchObject({ linkedNames: 1, mergedInodes: 1, failures: 0 });
    expectMerged(target);
  });

  it.each(["daily.8", "daily.9"])("gives its name to the equal with the fewest blocks: that of %s", (day) => {
    const target = makeNameless((object) => flip(object, 5), { content: "\0".repeat(2 ** 20) });
    const sparse = join(target, day, "f");
    keepingTime(sparse, () => execFileSync("fallocate", ["-d", sparse]));
    const { ino, blocks } = statSync(sparse);
    expect(blocks).toBeLessThan(64);
    relinkWell(target);
    expect(["daily.8", "daily.9"].map((each) => statSync(join(target, each, "f")).ino)).toEqual([ino, ino]);
  });

  it.each([
    { immutable: "daily.8/f", other: "daily.9/f" },
    { immutable: "daily.9/f", other: "daily.8/f" },
  ])("does not give its name to an immutable equal: $immutable", ({ immutable, other }) => {
    const target = makeNameless((object) => flip(object, 5));
    const { ino } = statSync(join(target, other));
    execFileSync("chattr", ["+i", join(target, immutable)]);
    try {
      const run = relink("-j", "1", target);
      expect(run.events.filter(({ type }) => type === "failure")).toMatchObject([{ path: immutable }]);
      expect(statSync(join(target, objectOf(target, other))).ino).toBe(ino);
    } finally {
      execFileSync("chattr", ["-i", join(target, immutable)]);
    }
    relinkWell(target);
    expect(statSync(join(target, immutable)).ino).toBe(ino);
  });

  it("names the equals, and not the object, where none can take its name", () => {
    const target = makeNameless((object) => flip(object, 5));
    const equals = ["daily.8/f", "daily.9/f"];
    const paths = equals.map((name) => join(target, name));
    execFileSync("chattr", ["+i", ...paths]);
    try {
      const failed = relink(target).events.filter(({ type }) => type === "failure");
      expect(failed).not.toEqual([]);
      for (const { path } of failed) expect(equals).toContain(path);
    } finally {
      execFileSync("chattr", ["-i", ...paths]);
    }
  });

  it("gives its name to an equal file where its mode was changed, by relink", () => {
    const target = makeNameless((object) => chmodSync(object, 0o611));
    relinkWell(target);
    expectMerged(target);
  });
});

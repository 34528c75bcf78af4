import { execFileSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { dedupe, makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { withFilesystem } from "../support/filesystem.ts";
import { migrateWell } from "../support/migrate.ts";
import { compareTrees } from "../support/oracle.ts";
import { requireLoop } from "../support/skip.ts";
import { affectedOf, flip, keepingTime, objectOf, objectsOf } from "../support/store-objects.ts";
import { directory, file, linkTo, makeTree, sparse } from "../support/tree.ts";
import { verify, type VerifyRun } from "../support/verify.ts";

const large = "0123456789".repeat(130_000);

describe.skipIf(!requireLoop())("verify --repair", () => {
  let workplace: Workplace;
  let [source, target] = ["", ""];

  beforeAll(() => {
    workplace = makeWorkplace();
    [source, target] = [join(workplace.path, "source"), join(workplace.path, "target")];
    makeTree(source, {
      "daily.0": directory({ mtimeNs: 1_600_000_000_000_000_001n }),
      "daily.0/twice": file("a text that two inodes have\n", { xattrs: { "user.a": "1" } }),
      "daily.0/large": file(large),
      "daily.0/holes": sparse([1 << 20, "x".repeat(4096), 1 << 20], { mode: 0o600 }),
      "daily.0/alone": file("nobody else has this\n"),
      "daily.0/apart": file("there is one of these"),
      "daily.0/one": file("content one\n"),
      "daily.0/two": file("content two\n"),
      "daily.1": directory({ mtimeNs: 1_600_000_000_000_000_002n }),
      "daily.1/in/twice": linkTo("daily.0/twice"),
      "daily.1/in/other": file("a text that two inodes have\n", { mode: 0o4750, uid: 7 }),
      "daily.1/large": file(large, { mtimeNs: 1n }),
      "daily.1/holes": sparse([1 << 20, "x".repeat(4096), 1 << 20]),
      "daily.1/alone": linkTo("daily.0/alone"),
    });
  });
  afterAll(() => workplace.close());
  beforeEach(() => {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
    migrateWell(source, target);
  });

  const at = (path: string): string => join(target, path);
  const repair = (...options: string[]): VerifyRun => verify(["--repair", ...options, target]);
  const unrepaired = (run: VerifyRun): string[] =>
    run.events.flatMap((event) =>
      event.type === "unrepaired" ? [`${String(event["code"])} ${String(event["path"])}`] : [],
    );
  function expectWhole(): void {
    expect(compareTrees(source, target)).toEqual([]);
    expect(verify([target])).toMatchObject({ code: 0, found: [], noted: [] });
    expect(readdirSync(at(".dedupe/tmp"))).toEqual([]);
  }

  it("restores what rotted from another variant, for all names, with its attributes, holes and times of directories", () => {
    const others = objectsOf(target).map((path) => lstatSync(at(path)).ino);
    const rotten = ["daily.0/twice", "daily.0/large", "daily.1/holes"];
    const objects = rotten.map((name) => objectOf(target, name));
    flip(at("daily.0/twice"), 3);
    flip(at("daily.0/large"), 1_299_999);
    keepingTime(at("daily.1/holes"), () => truncateSync(at("daily.1/holes"), 1 << 20));
    const before = rotten.map((name) => lstatSync(at(name)).ino);
    const run = repair();
    expect(run).toMatchObject({ code: 0, summary: { outcome: "repaired", findings: {}, affectedNames: 0 } });
    expect(run.summary.repaired).toEqual({ objects: 3, names: 4, bytes: 28 + 1_300_000 + 2_101_248 });
    expect(run.events.flatMap(({ type, path }) => (type === "repaired" ? [path] : []))).toEqual(
      objects.sort(),
    );
    expectWhole();
    const now = objectsOf(target).map((path) => lstatSync(at(path)).ino);
    expect(others.filter((ino) => !now.includes(ino)).sort()).toEqual(before.sort());
  });

  it("lists what nothing else has, with all its names, until a file in a snapshot or the source has it", () => {
    const object = objectOf(target, "daily.0/alone");
    flip(at("daily.0/alone"), 0);
    const run = repair();
    expect(run).toMatchObject({ code: 4, found: [`content ${object}`] });
    expect(unrepaired(run)).toEqual([`NO_COPY ${object}`]);
    expect(affectedOf(run)).toEqual(["daily.0/alone", "daily.1/alone"]);
    expect(dedupe(["verify", "--repair", target]).err).toContain(
      `not repaired: ${object}: nothing else has the content that it has lost (NO_COPY)\naffected: daily.`,
    );

    copyFileSync(join(source, "daily.0/alone"), at("daily.1/in/stranger"));
    expect(repair()).toMatchObject({ code: 0, noted: ["new-since daily.1/in/stranger"] });
    rmSync(at("daily.1/in/stranger"));
    flip(at("daily.1/alone"), 5);
    truncateSync(at("daily.1/alone"), 20);
    execFileSync("touch", ["-r", join(source, "daily.0/alone"), at("daily.1/alone")]);
    const again = repair("--against", source);
    expect(again.events).toContainEqual(
      expect.objectContaining({ type: "unrepaired", code: "EDITED", path: object }),
    );
  });

  it("restores from the source, whatever is left of the file", () => {
    keepingTime(at("daily.0/alone"), () => truncateSync(at("daily.0/alone"), 0));
    // Nothing of it is as it was: only the index knows that it is no other file.
    keepingTime(at("daily.0/one"), () => writeFileSync(at("daily.0/one"), "\0".repeat(12)));
    const run = repair("--against", source);
    expect(run).toMatchObject({
      code: 0,
      summary: { outcome: "repaired", repaired: { objects: 2, names: 3 } },
    });
    const from = run.events.flatMap((event) => (event.type === "repaired" ? [String(event["from"])] : []));
    // By whichever name a thread came to it.
    expect(from.map((path) => path.replace(/daily\.[01]/, "daily.*")).sort()).toEqual([
      join(source, "daily.*/alone"),
      join(source, "daily.*/one"),
    ]);
    expect(compareTrees(source, target)).toEqual([]);
  });

  it("never takes back what a program wrote, and never gives a file another one's content", () => {
    const descriptor = openSync(at("daily.0/large"), "r+");
    writeSync(descriptor, "edited in place");
    closeSync(descriptor);
    writeFileSync(at("daily.0/two"), "content 222");
    // The store's name of one content given to another, and nothing left that would tell.
    const [alone, apart] = [objectOf(target, "daily.0/alone"), objectOf(target, "daily.0/apart")];
    renameSync(at(alone), at(apart));
    rmSync(at(".dedupe/index"), { recursive: true });
    const before = compareTrees(source, target);
    const run = repair("--against", source);
    expect(run.code).toBe(4);
    expect(
      unrepaired(run)
        .map((line) => line.split(" ")[0])
        .sort(),
    ).toEqual(["EDITED", "EDITED", "UNLIKE"]);
    expect(affectedOf(run)).toEqual(["daily.0/alone", "daily.0/large", "daily.0/two", "daily.1/alone"]);
    expect(compareTrees(source, target)).toEqual(before);
    expect(readFileSync(at("daily.0/large"), "utf8").slice(0, 15)).toBe("edited in place");
    expect(readFileSync(at("daily.1/alone"), "utf8")).toBe("nobody else has this\n");
  });

  it("puts names in the store right, and leaves the snapshots as they are", () => {
    const [one, two] = [objectOf(target, "daily.0/one"), objectOf(target, "daily.0/two")];
    renameSync(at(one), at(".dedupe/aside"));
    renameSync(at(two), at(one));
    renameSync(at(".dedupe/aside"), at(two));
    const [deleted, moved] = [objectOf(target, "daily.0/alone"), objectOf(target, "daily.0/apart")];
    rmSync(at(deleted));
    renameSync(at(moved), at(deleted));
    const inodes = (): number[] =>
      ["one", "two", "alone", "apart"].map((name) => lstatSync(at(`daily.0/${name}`)).ino);
    const before = inodes();
    const run = repair();
    expect(run.found).toEqual([one, two, deleted].map((object) => `content ${object}`).sort());
    expect(run).toMatchObject({
      code: 0,
      summary: { outcome: "repaired", affectedNames: 0, repaired: { objects: 3, names: 0 } },
    });
    // What had lost its name to another is found deleted by the next look.
    expect(repair()).toMatchObject({ code: 0, found: [`deleted ${deleted}`] });
    expect(objectOf(target, "daily.0/one")).toBe(one);
    expect(objectOf(target, "daily.0/alone")).toBe(deleted);
    expect(objectOf(target, "daily.0/apart")).toBe(moved);
    expect(inodes()).toEqual(before);
    expectWhole();
  });

  it("leaves a file alone that someone has open for writing, and a busy or read-only target", async () => {
    const object = objectOf(target, "daily.0/twice");
    flip(at("daily.0/twice"), 0);
    const descriptor = openSync(at("daily.1/in/twice"), "r+");
    const run = repair();
    closeSync(descriptor);
    expect(run.code).toBe(4);
    expect(unrepaired(run)).toEqual([`BUSY ${object}`]);

    const holder = openSync(at(".dedupe/lock"), "r");
    const locked = execFileSync(
      "flock",
      ["-s", at(".dedupe/lock"), "sh", "-c", '"$@"; echo "code $?"', "-", process.execPath, ...command()],
      { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    );
    closeSync(holder);
    expect(locked).toContain("code 5");
    await withFilesystem({ type: "ext4", sizeBytes: 2 ** 26 }, (mount, filesystem) => {
      execFileSync("cp", ["-a", target, mount]);
      filesystem.remount("ro");
      const refused = dedupe(["verify", "--repair", join(mount, "target")]);
      expect(refused.code).toBe(1);
      expect(refused.err).toContain("is on a read-only file system");
    });
  });

  const command = (): string[] => [
    join(import.meta.dirname, "../../bin/dedupe.js"),
    "verify",
    "--repair",
    target,
  ];
});

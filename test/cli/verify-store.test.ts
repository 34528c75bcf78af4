import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compactWell } from "../support/compact.ts";
import { dedupe, makeWorkplace, startDedupe, type Workplace } from "../support/dedupe.ts";
import { makeDiverseTree } from "../support/differences.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { fingerprint, migrateWell } from "../support/migrate.ts";
import { requireLoop } from "../support/skip.ts";
import { affectedOf, flip, objectOf as objectNamed, objectsOf } from "../support/store-objects.ts";
import { verify } from "../support/verify.ts";

describe.skipIf(!requireLoop())("verify of a store", () => {
  let workplace: Workplace;
  let pristine: string;
  let target: string;

  beforeAll(() => {
    workplace = makeWorkplace();
    pristine = join(workplace.path, "pristine");
    const source = join(workplace.path, "source");
    makeDiverseTree(source);
    mkdirSync(pristine);
    migrateWell(source, pristine);
  });
  afterAll(() => workplace.close());
  beforeEach(() => {
    target = join(workplace.path, "target");
    rmSync(target, { recursive: true, force: true });
    execFileSync("cp", ["-a", pristine, target]);
  });

  const inStore = (...path: string[]): string => join(target, ".dedupe", ...path);

  const objectOf = (name: string): string => objectNamed(target, name);
  const objects = (): string[] => objectsOf(target);

  it("finds nothing in a sound one, and changes nothing", () => {
    const before = fingerprint(target);
    const run = verify([target]);
    expect(run).toMatchObject({ code: 0, found: [], noted: [] });
    expect(run.summary).toMatchObject({ outcome: "sound", objects: objects().length, unnamedObjects: 0 });
    expect(run.summary.inodes).toBe(objects().length);
    expect(fingerprint(target)).toEqual(before);
  });

  it("finds a flipped byte whose times were put back, and the names that show it", () => {
    const path = objectOf("daily.0/shared");
    flip(join(target, path), 3);
    const run = verify([target]);
    expect(run).toMatchObject({ code: 4, found: [`content ${path}`], noted: [] });
    expect(affectedOf(run)).toEqual(["daily.0/shared", "daily.1/shared"]);
    expect(run.summary.affectedNames).toBe(2);
    expect(verify(["--quick", target])).toMatchObject({ code: 0, found: [] });
  });

  it("finds a large object cut short, with its times put back", () => {
    const path = objectOf("daily.0/large");
    const { atime, mtime } = lstatSync(join(target, path));
    truncateSync(join(target, path), 1_299_999);
    utimesSync(join(target, path), atime, mtime);
    // utimes(2) keeps no nanoseconds: the variant is another one, too.
    expect(verify([target]).found).toEqual([`content ${path}`, `variant ${path}`]);
  });

  it("finds an object cut to nothing", () => {
    const path = objectOf("daily.0/plain");
    truncateSync(join(target, path), 0);
    expect(verify([target]).found).toEqual([`object-type ${path}`]);
  });

  it("finds a deleted object, by what the index knew and the inode proves", () => {
    // A copy has other inodes than its index says.
    rmSync(target, { recursive: true });
    mkdirSync(target);
    migrateWell(join(workplace.path, "source"), target);
    const [plain, shared] = [objectOf("daily.0/plain"), objectOf("daily.0/shared")];
    for (const path of [plain, shared]) rmSync(join(target, path));
    const wanted = { code: 4, found: [`deleted ${plain}`, `deleted ${shared}`].sort(), noted: [] };
    for (const args of [["-j", "1"], ["-j", "2"], ["--quick"], ["--slice", "1/2"]])
      expect(verify([...args, target])).toMatchObject(wanted);
  });

  it("takes the inode of a deleted object for new where the index knows nothing of it", () => {
    for (const name of ["daily.0/plain", "daily.0/shared"]) rmSync(join(target, objectOf(name)));
    const noted = ["new-since daily.0/plain", "new-since daily.0/shared"];
    expect(verify(["-j", "1", target])).toMatchObject({ code: 0, found: [], noted });
    rmSync(inStore("index"), { recursive: true });
    expect(verify(["-j", "2", target]).summary.notes).toEqual({ "index-missing": 1, "new-since": 2 });
  });

  it("finds both of a swapped pair", () => {
    const [one, two] = [objectOf("daily.0/one"), objectOf("daily.0/two")];
    const paths = [one, two].map((path) => join(target, path));
    renameSync(paths[0]!, inStore("aside"));
    renameSync(paths[1]!, paths[0]!);
    renameSync(inStore("aside"), paths[1]!);
    const run = verify([target]);
    expect(run).toMatchObject({ code: 4, found: [`content ${one}`, `content ${two}`].sort() });
    expect(affectedOf(run)).toEqual(["daily.0/one", "daily.0/two"]);
  });

  it("finds what does not belong in objects/ and groups/", () => {
    const two = readdirSync(inStore("objects"))[0]!;
    const name = `${"0".repeat(62)}.${"0".repeat(16)}`;
    writeFileSync(inStore("objects", "README"), "foreign");
    writeFileSync(inStore("objects", two, "foreign"), "foreign");
    writeFileSync(inStore("objects", two, `${name}.0`), "a sibling has no number 0");
    writeFileSync(inStore("objects", two, `${name}.g1`), "a group has 16 digits");
    writeFileSync(inStore("objects", two, name.toUpperCase().replace("0", "A")), "digits are small letters");
    mkdirSync(inStore("objects", two, name));
    mkdirSync(inStore("objects", "xy"));
    writeFileSync(inStore("groups", "file"), "foreign");
    const run = verify([target]);
    expect(run.code).toBe(4);
    expect(run.summary.findings).toEqual({ foreign: 7, "object-type": 1 });
    expect(run.noted).toEqual([]);
  });

  it("finds an object whose attributes moved under its name", () => {
    const path = objectOf("daily.0/plain");
    chmodSync(join(target, "daily.0/plain"), 0o600);
    expect(verify(["--quick", target])).toMatchObject({ code: 4, found: [`variant ${path}`] });
    expect(affectedOf(verify([target]))).toEqual(["daily.0/plain"]);
  });

  it("finds an inode with two names in the store", () => {
    const path = objectOf("daily.0/plain");
    linkSync(join(target, path), join(target, `${path}.1`));
    expect(verify([target]).found).toEqual([`duplicate ${path}`, `duplicate ${path}.1`]);
  });

  it("finds an empty file that was written into through a holder", () => {
    const descriptor = openSync(join(target, "daily.0/nothing"), "r+");
    writeSync(descriptor, "something");
    closeSync(descriptor);
    const run = verify([target]);
    expect(run.summary.findings).toEqual({ holder: 1 });
    expect(affectedOf(run)).toEqual(["daily.0/nothing", "daily.1/nothing"]);
  });

  it("finds a store that others may enter", () => {
    chmodSync(inStore(), 0o755);
    expect(verify([target]).found).toEqual(["not-private .dedupe"]);
  });

  it("believes nothing of the index: deleted it is a note, of garbage a finding, and all else is checked", () => {
    rmSync(inStore("index"), { recursive: true });
    expect(verify([target])).toMatchObject({ code: 0, noted: ["index-missing .dedupe/index/data.mdb"] });
    mkdirSync(inStore("index"));
    writeFileSync(inStore("index", "data.mdb"), Buffer.alloc(100_000, "garbage"));
    const path = objectOf("daily.0/plain");
    flip(join(target, path), 0);
    const found = [`content ${path}`, "index-damaged .dedupe/index/data.mdb"];
    expect(verify([target])).toMatchObject({ code: 4, found });
  });

  it("knows objects that no snapshot names any more", () => {
    rmSync(join(target, "daily.0/plain"));
    const run = verify([target]);
    expect(run).toMatchObject({ code: 0, found: [] });
    expect(run.summary.unnamedObjects).toBe(1);
  });

  it("finds one of a thousand flipped bytes at a time, whichever it is", () => {
    // Writing into a file takes its capabilities away.
    const capable = objectOf("daily.0/capable");
    const paths = objects().filter((path) => path !== capable);
    const flipped = new Set<string>();
    for (let number = 0; number < 1000; number++) {
      const path = paths[(number * 7919) % paths.length]!;
      if (flipped.has(path)) continue;
      flip(join(target, path), (number * 104_729) % lstatSync(join(target, path)).size);
      flipped.add(path);
      if (flipped.size > paths.length / 2) break;
    }
    const wanted = [...flipped].map((path) => `content ${path}`).sort();
    expect(verify([target]).found).toEqual(wanted);
  });

  it("reads every object once in all slices together, and records how far it is", () => {
    let inodes = 0;
    const found: string[] = [];
    flip(join(target, objectOf("daily.0/plain")), 0);
    flip(join(target, objectOf("daily.0/large")), 1_100_000);
    const all = verify([target]).found;
    for (let part = 1; part <= 5; part++) {
      const run = verify(["--slice", `${part}/5`, target]);
      inodes += run.summary.inodes;
      found.push(...run.found);
    }
    expect(inodes).toBe(objects().length);
    expect(found.sort()).toEqual(all);
    const record = JSON.parse(readFileSync(inStore("log", "verify-slices.json"), "utf8")) as { of: number };
    expect(record).toMatchObject({ of: 5 });
    expect(Object.keys((record as unknown as { done: object }).done)).toEqual(["1", "2", "3", "4", "5"]);
  });

  it("is refused with exit 5 while a run writes, and lets checks read side by side", async () => {
    const holder = startLock(inStore("lock"), "-x");
    await holder.held;
    const refused = dedupe(["verify", target]);
    holder.release();
    expect(refused.code).toBe(5);
    expect(refused.err).toContain("another run of dedupe is using this target");
    const reader = startLock(inStore("lock"), "-s");
    await reader.held;
    const { code } = verify([target]);
    reader.release();
    expect(code).toBe(0);
  });

  it("refuses a format it does not know, a damaged one, and a target without a store", () => {
    writeFileSync(inStore("format.json"), '{"version":2,"digest":"blake3-256","compared":[]}');
    expect(dedupe(["verify", target]).err).toContain(
      "has format version 2, which this version of dedupe does not know",
    );
    writeFileSync(inStore("format.json"), "{");
    expect(dedupe(["verify", target]).err).toContain("is not a store's format file");
    rmSync(inStore(), { recursive: true });
    const run = dedupe(["verify", target]);
    expect(run.code).toBe(1);
    expect(run.err).toContain("has no store");
  });

  it("stops at the first signal with its code", async () => {
    const run = startDedupe(["verify", "--bwlimit", "1", target]);
    run.process.stdout?.once("data", () => run.process.kill("SIGTERM"));
    const { code, out } = await run.ended;
    expect(code).toBe(143);
    expect(out).toContain("Stopped by SIGTERM");
  });

  it.skipIf(!requireFilesystem("ext4"))(
    "finds what rots beneath the filesystem, whatever memory says",
    async () => {
      await withFilesystem({ type: "ext4", sizeBytes: 2 ** 28 }, (mount, filesystem) => {
        const there = join(mount, "target");
        mkdirSync(there);
        migrateWell(join(workplace.path, "source"), there);
        const path = join(there, "daily.0/large");
        execFileSync("sync", ["-f", mount]);
        const map = execFileSync("filefrag", ["-b1", "-v", path], { encoding: "utf8" });
        const physical = Number(/^ +0: +0\.\. *\d+: +(\d+)\.\./m.exec(map)?.[1]);
        expect(readFileSync(path)[0]).toBe("0".charCodeAt(0));
        const image = openSync(filesystem.image!, "r+");
        writeSync(image, "1", physical);
        closeSync(image);
        expect(readFileSync(path)[0]).toBe("0".charCodeAt(0));
        const run = verify([there]);
        expect(run.summary.findings).toEqual({ content: 1 });
        expect(affectedOf(run)).toEqual(["daily.0/large"]);
        expect(verify(["--against", join(workplace.path, "source"), there]).found).toEqual([
          "content daily.0/large",
        ]);
      });
    },
  );

  it.skipIf(!requireFilesystem("ext4"))("works on a read-only mount and leaves nothing there", async () => {
    await withFilesystem({ type: "ext4", sizeBytes: 2 ** 26 }, (mount, filesystem) => {
      execFileSync("cp", ["-a", pristine, join(mount, "target")]);
      filesystem.remount("ro");
      const there = join(mount, "target");
      expect(verify([there])).toMatchObject({ code: 0, found: [] });
      const slice = verify(["--slice", "1/2", there]);
      expect(slice.code).toBe(0);
      expect(slice.events.filter(({ code }) => code === "SLICE_NOT_RECORDED")).toHaveLength(1);
      const against = verify(["--against", join(workplace.path, "source"), there]);
      expect(against).toMatchObject({ code: 0, found: [] });
      expect(against.events.filter(({ code }) => code === "NO_CERTIFICATE")).toHaveLength(1);
      expect(existsSync(join(there, ".dedupe/log/verify-slices.json"))).toBe(false);
    });
  });
});

/** Holds the store's lock as another run would. */
function startLock(path: string, mode: "-x" | "-s"): { held: Promise<void>; release(): void } {
  const holder = spawn("flock", [mode, path, "sh", "-c", "echo held; read line"]);
  const held = new Promise<void>((resolve) => holder.stdout.once("data", () => resolve()));
  return { held, release: () => holder.stdin.end("\n") };
}

describe.skipIf(!requireFilesystem("btrfs"))("a btrfs subvolume below the target", () => {
  it("has no deleted objects, though its inodes have the numbers of some", async () => {
    await withFilesystem({ type: "btrfs", sizeBytes: 2 ** 28 }, (mount) => {
      const subvolume = (...args: string[]) => execFileSync("btrfs", ["subvolume", ...args]);
      const [source, root] = [join(mount, "source"), join(mount, "target")];
      makeDiverseTree(source);
      subvolume("create", root);
      migrateWell(source, root);
      const [alone, group] = [join(root, "daily.0/alone"), join(root, "daily.0/group")];
      for (const path of [alone, group]) {
        writeFileSync(path, `${path} of old`);
        utimesSync(path, 1e9, 1e9);
      }
      linkSync(group, join(root, "daily.1/group"));
      compactWell(root);
      subvolume("snapshot", root, join(root, "within"));
      for (const path of [alone, group, join(root, "daily.1/group")]) rmSync(path);
      compactWell(root, "--steps", "prune");
      const { code, found, noted } = verify([root]);
      expect({ code, found }).toEqual({ code: 0, found: [] });
      expect(noted).toContain("new-since within/daily.0/alone");
    });
  });
});

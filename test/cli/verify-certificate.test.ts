import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dedupe, makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { makeDiverseTree } from "../support/differences.ts";
import { verify as faultyVerify } from "../support/faulty-run.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { migrateWell, untouched } from "../support/migrate.ts";
import { requireLoop } from "../support/skip.ts";
import { directory, file, linkTo, makeTree } from "../support/tree.ts";
import { against, verify } from "../support/verify.ts";

describe.skipIf(!requireLoop())("a certificate", () => {
  let workplace: Workplace;
  let source: string;
  let target: string;
  const file_ = (name: string): string => join(workplace.path, name);

  beforeAll(() => {
    workplace = makeWorkplace();
    source = file_("source");
    target = file_("target");
    makeDiverseTree(source);
    mkdirSync(target);
    migrateWell(source, target);
  });
  afterAll(() => workplace.close());

  it("is written into the store's log, and holds for both trees", () => {
    const before = untouched(source);
    const { summary } = against(source, target);
    const path = summary.certificate ?? "";
    expect(path.startsWith(join(target, ".dedupe/log/verify-"))).toBe(true);
    const certificate = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    expect(certificate).toMatchObject({
      source,
      target,
      names: summary.names,
      rootDigest: summary.rootDigest,
    });
    expect(summary.rootDigest?.source).toBe(summary.rootDigest?.target);
    for (const tree of [source, target]) {
      for (const jobs of ["1", "3"]) {
        const checked = verify(["-j", jobs, "--certificate-check", path, tree]);
        expect(checked).toMatchObject({ code: 0, found: [] });
        expect(checked.summary).toMatchObject({ mode: "certificate", names: summary.names });
      }
    }
    expect(untouched(source)).toEqual(before);
  });

  it("still holds once the store is gone, and not after any other change", () => {
    const path = file_("certificate.json");
    expect(against(source, target, "--certificate", path).summary.certificate).toBe(path);
    const copy = file_("copy");
    execFileSync("cp", ["-a", target, copy]);
    rmSync(join(copy, ".dedupe"), { recursive: true });
    expect(verify(["--certificate-check", path, copy]).code).toBe(0);

    const leaf = join(copy, "daily.0/folder/deeper/leaf");
    utimesSync(leaf, 1, 1);
    const moved = verify(["--certificate-check", path, copy]);
    expect(moved).toMatchObject({ code: 4, found: ["root-digest ."] });
    renameSync(join(copy, "daily.0/plain"), join(copy, "daily.0/plainer"));
    expect(verify(["--certificate-check", path, copy]).found).toEqual(["root-digest ."]);
    rmSync(leaf);
    expect(verify(["--certificate-check", path, copy]).found).toEqual(["names .", "root-digest ."]);
  });

  it("is not written where something differs, and a damaged one is refused", () => {
    const path = file_("none.json");
    const copy = file_("edited");
    execFileSync("cp", ["-a", target, copy]);
    appendFileSync(join(copy, "daily.0/plain"), "more");
    const run = against(source, copy, "--certificate", path);
    expect(run.code).toBe(4);
    expect(run.summary.certificate).toBeUndefined();
    expect(verify(["--certificate-check", path, target]).code).toBe(2);

    const { certificate = "" } = against(source, target).summary;
    writeFileSync(path, readFileSync(certificate, "utf8").replace('"names": ', '"names": 1'));
    const refused = dedupe(["verify", "--certificate-check", path, target]);
    expect(refused.code).toBe(2);
    expect(refused.err).toContain("is damaged");
    writeFileSync(path, "{}");
    expect(dedupe(["verify", "--certificate-check", path, target]).err).toContain("no certificate of dedupe");
  });

  it("is refused before anything is read where it cannot be written, and a failure in the end is in the summary", async () => {
    const long = file_("x".repeat(253));
    for (const path of [file_("no/such/folder"), workplace.path, long]) {
      const run = against(source, target, "--certificate", path);
      expect([path, run.code, run.events.map(({ type }) => type)]).toEqual([path, 1, ["error"]]);
      expect(run.events[0]).toMatchObject({ code: "CERTIFICATE" });
    }
    const path = file_("late.json");
    const action = { type: "fail", errno: constants.errno.EIO } as const;
    const rules = [{ calls: ["fsync"], path: "late.json", action }];
    const args = ["--against", source, "--certificate", path];
    const { code, summary } = await faultyVerify(target, { args, plan: { rules } });
    const error = { code: "CERTIFICATE" };
    expect([code, summary]).toMatchObject([1, { outcome: "failed", exitCode: 1, findings: {}, error }]);
    expect(existsSync(path)).toBe(false);
  });

  it("remembers the filters that the trees were compared with", () => {
    const [one, two] = [file_("one"), file_("two")];
    makeTree(one, { a: file("a"), "b.tmp": file("b"), c: directory() });
    makeTree(two, { a: file("a"), "b.tmp": file("other"), c: directory() });
    const path = file_("filtered.json");
    expect(against(one, two).found).toEqual(["size b.tmp"]);
    expect(against(one, two, "--exclude", "*.tmp", "--certificate", path).code).toBe(0);
    expect(verify(["--certificate-check", path, two]).code).toBe(0);
  });

  it.skipIf(!requireFilesystem("ext3-128"))(
    "has a digest of its own for a target with coarser times",
    async () => {
      await withFilesystem({ type: "ext3-128", sizeBytes: 2 ** 27 }, (mount) => {
        const there = join(mount, "target");
        mkdirSync(there);
        migrateWell(source, there);
        const run = against(source, there);
        expect(run).toMatchObject({ code: 0, found: [] });
        expect(Object.keys(run.summary.notes)).toEqual(["time-limit"]);
        expect(run.summary.rootDigest?.source).not.toBe(run.summary.rootDigest?.target);
        const { certificate = "" } = run.summary;
        for (const tree of [source, there])
          expect(verify(["--certificate-check", certificate, tree]).code).toBe(0);
        utimesSync(join(there, "daily.0/plain"), 1_700_000_001, 1_700_000_001);
        expect(against(source, there).found).toEqual(["mtime daily.0/plain"]);
      });
    },
  );
});

describe("verify --against", () => {
  it("lists what it may not read, and ends with 3", () => {
    const path = makeWorkplace(2 ** 26);
    try {
      const [one, two] = [join(path.path, "one"), join(path.path, "two")];
      const tree = { open: file("x"), closed: file("y", { mode: 0o000 }), link: linkTo("open") };
      makeTree(one, tree);
      makeTree(two, tree);
      const run = verify(["--against", one, two], { uid: 1000, gid: 1000 });
      expect(run).toMatchObject({ code: 3, found: [] });
      const failures = run.events.filter(({ type }) => type === "failure");
      expect(failures.map(({ path: name, code }) => [name, code])).toEqual([["closed", "EACCES"]]);
      expect(run.summary).toMatchObject({ outcome: "partial", failures: 1 });
      expect(run.summary.certificate).toBeUndefined();
    } finally {
      path.close();
    }
  });

  it("says what a store was told to ignore, and finds what it was not", () => {
    const path = makeWorkplace(2 ** 27);
    try {
      const [one, two] = [join(path.path, "one"), join(path.path, "two")];
      makeTree(one, { a: file("same"), b: file("same", { mtimeNs: 5n }), c: file("same", { mode: 0o600 }) });
      mkdirSync(two);
      migrateWell("--ignore-time", one, two);
      const run = against(one, two);
      expect(run).toMatchObject({ code: 0, found: [] });
      expect(run.summary).toMatchObject({ notes: { ignored: 1 }, mergedInodes: 1 });
      expect(verify([two])).toMatchObject({ code: 0, found: [] });
      // What nobody else gave it is no survivor's value, in an inode of its own or in one that is shared.
      utimesSync(join(two, "c"), 1, 1);
      const alone = against(one, two, "-j", "1");
      expect(alone).toMatchObject({ code: 4, found: ["mtime c"], noted: ["ignored b"] });
      expect(alone.summary.certificate).toBeUndefined();
      utimesSync(join(two, "a"), 1, 1);
      expect(against(one, two, "-j", "1")).toMatchObject({ found: ["mtime a", "mtime b", "mtime c"] });
    } finally {
      path.close();
    }
  });

  it("is refused where a report would lie inside what is read, and where options contradict each other", () => {
    const refusals = [
      ["--against", "/old", "--log-file", "/new/log", "/new"],
      ["--against", "/old", "--certificate", "/old/c.json", "/new"],
      ["--quick", "--slice", "1/2", "/new"],
      ["--quick", "--against", "/old", "/new"],
      ["--certificate", "c.json", "/new"],
      ["--exclude", "x", "/new"],
      ["--slice", "0/30", "/new"],
      ["--slice", "31/30", "/new"],
      ["--slice", "1", "/new"],
      ["-j", "0", "/new"],
      ["/old", "/new"],
    ];
    for (const args of refusals) {
      const run = dedupe(["verify", ...args]);
      expect([args, run.code, run.out]).toEqual([args, 2, ""]);
      expect(run.err).toMatch(/^dedupe: /);
    }
  });
});

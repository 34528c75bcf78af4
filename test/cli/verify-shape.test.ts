import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeMigrated } from "../support/migrated.ts";
import { stats } from "../support/stats.ts";
import { verify } from "../support/verify.ts";

describe("verify of a target of another shape than a run makes", () => {
  let target: string;
  let close: () => void;
  beforeAll(() => {
    ({ target, close } = makeMigrated());
  });
  afterAll(() => close());

  it("needs no descriptor for each level of a deep tree", () => {
    const top = join(target, "daily.0/deep");
    mkdirSync(join(top, "a/".repeat(400)), { recursive: true });
    mkdirSync(join(top, "a/a/z"));
    for (const folder of ["a/".repeat(400), "a/a/z"]) writeFileSync(join(top, folder, "new"), "new");
    const command = 'ulimit -n 200; exec "$0" bin/dedupe.js verify -j 1 --json --no-progress "$1"';
    const out = execFileSync("sh", ["-c", command, process.execPath, target], { encoding: "utf8" });
    const noted = out.split("\n").filter((line) => /"finding".*"new-since"/.test(line));
    expect(noted.map((line) => (JSON.parse(line) as { path: string }).path).sort()).toEqual([
      `daily.0/deep/${"a/".repeat(400)}new`,
      "daily.0/deep/a/a/z/new",
    ]);
  });

  it("needs none either below a directory that one tree alone has", () => {
    const source = mkdtempSync(join(tmpdir(), "dedupe-deep-"));
    const levels = "a/".repeat(400);
    mkdirSync(join(source, "daily.0/only", levels), { recursive: true });
    for (const folder of ["only/a/b", "only/a/c"]) mkdirSync(join(source, "daily.0", folder));
    writeFileSync(join(source, "daily.0/only", levels, "new"), "new");
    const command = 'ulimit -n 200; exec "$0" bin/dedupe.js verify -j 1 --json --against "$1" "$2"';
    const run = spawnSync("sh", ["-c", command, process.execPath, source, target], { encoding: "utf8" });
    rmSync(source, { recursive: true });
    const events = run.stdout.split("\n").filter((line) => line !== "");
    const all = events.map((line) => JSON.parse(line) as { type: string; class?: string; path: string });
    expect(all.filter(({ type }) => type === "failure")).toEqual([]);
    const missing = all.flatMap((event) => (event.class === "missing" ? [event.path] : []));
    expect(missing).toHaveLength(404);
    const inOrder = ["daily.0/only", "daily.0/only/a", `daily.0/only/${levels}new`, "daily.0/only/a/b"];
    expect(missing.filter((path) => inOrder.includes(path))).toEqual(inOrder);
    expect(missing.at(-1)).toBe("daily.0/only/a/c");
  });

  it("finds that objects/ and groups/ are missing, and what stats counts is there", () => {
    for (const folder of ["objects", "groups"]) rmSync(join(target, ".dedupe", folder), { recursive: true });
    const found = verify(["--quick", target]).found.filter((each) => each.startsWith("incomplete"));
    expect(found).toEqual(["incomplete .dedupe/groups", "incomplete .dedupe/objects"]);
    expect(verify([target]).summary.findings["deleted"]).toBeGreaterThan(5);
    expect(stats([target])).toMatchObject({ code: 0, summary: { objects: 0, failures: 0 } });
  });
});

import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { migrateJson } from "../support/dedupe.ts";
import { leftovers, migrate } from "../support/faulty-run.ts";
import { requireFilesystem } from "../support/filesystem.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { file, makeTree } from "../support/tree.ts";

useFolders();

const replaced = () => join(target, "hosts");

beforeEach(() => {
  makeTree(source, { "daily.0/x": file("x"), hosts: file("a file") });
  expect(migrateJson([source, target]).code).toBe(0);
  rmSync(join(source, "hosts"));
  makeTree(source, { "hosts/h1/daily.0/y": file("y"), "hosts/loose": file("loose") });
});

const killAt = async (call: string, at: number, when: "before" | "after") =>
  migrate(source, target, {
    args: ["-j1"],
    plan: { rules: [{ calls: [call], at, action: { type: "kill", when } }] },
  });

function expectFinished(): void {
  expect(migrateJson([source, target]).code).toBe(0);
  expect(compareTrees(source, target)).toEqual([]);
  expect(leftovers(target)).toEqual([]);
}

describe.skipIf(!requireFilesystem("ext4"))("a container where the target has a file", () => {
  it("takes its place after what is in it is durable, and not before", async () => {
    expect((await killAt("syncfs", 1, "before")).code).toBeNull();
    expect(readFileSync(replaced(), "utf8")).toBe("a file");
    expectFinished();
  });

  it("takes its place at once, wherever the run is killed", async () => {
    for (let at = 1; ; at++) {
      const { code } = await killAt("renameat2", at, at % 2 === 0 ? "before" : "after");
      if (code !== null) break;
      if (statSync(replaced()).isFile()) expect(readFileSync(replaced(), "utf8")).toBe("a file");
      else expect(["h1", "loose"]).toEqual(expect.arrayContaining(readdirSync(replaced())));
      expectFinished();
      // As it was.
      rmSync(replaced(), { recursive: true });
      writeFileSync(replaced(), "a file");
      expect(at).toBeLessThan(20);
    }
    expectFinished();
  });

  it.each([
    ["a container", "hosts", 1],
    // The first one finds that there is a file.
    ["a snapshot", "daily.1", 2],
  ])("keeps what took its place just before %s, where the run died then", async (_what, name, at) => {
    writeFileSync(join(target, name), "a file");
    makeTree(source, { "daily.1/z": file("new") });
    const command = `echo theirs > ${target}/.new && mv ${target}/.new ${target}/${name}`;
    const rules = (["run", "kill"] as const).map((type): FaultRule => {
      const action =
        type === "run" ? ({ type, when: "before", command } as const) : ({ type, when: "after" } as const);
      return { calls: ["renameat2"], path: name, at, action };
    });
    expect((await migrate(source, target, { args: ["-j1"], plan: { rules } })).code).toBeNull();
    expect(migrateJson([source, target]).code).toBe(0);
    expect(compareTrees(source, target)).toEqual([]);
    const staging = join(target, ".dedupe/staging");
    expect(readdirSync(staging).map((left) => readFileSync(join(staging, left), "utf8"))).toEqual([
      "theirs\n",
    ]);
  });
});

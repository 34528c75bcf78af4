import { linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dedupe, migrateJson } from "../support/dedupe.ts";
import { migrate, type RunResult } from "../support/faulty-run.ts";
import type { FaultRule } from "../support/faults/plan.ts";
import { source, target, useFolders } from "../support/folders.ts";
import { compareTrees } from "../support/oracle.ts";
import { directory, file, makeTree, type Entry } from "../support/tree.ts";

useFolders();

const staging = () => join(target, ".dedupe/staging");

/** What `daily.0/changing` becomes: an inode of the store, one that is made, a directory. */
const changes: Record<string, (path: string) => void> = {
  "an inode of the store": (path) => {
    linkSync(join(source, "daily.0/other"), path);
  },
  "new content": (path) => {
    writeFileSync(path, "new content\n");
  },
  "a directory": (path) => {
    makeTree(path, { f: file("f\n") });
  },
};

const call = { calls: ["renameat2"], path: "changing" };
const meanwhile = (content: string, at = 1): FaultRule => {
  const command = `echo ${content} > ${target}/.new && mv ${target}/.new ${target}/daily.0/changing`;
  return { ...call, at, action: { type: "run", when: "before", command } };
};
const kill = (when: "before" | "after"): FaultRule => ({ ...call, action: { type: "kill", when } });

async function update(kind: string, rules: FaultRule[], old: Entry = file("old\n")): Promise<RunResult> {
  makeTree(source, { "daily.0/changing": old, "daily.0/other": file("other\n") });
  expect(migrateJson([source, target]).code).toBe(0);
  const path = join(source, "daily.0/changing");
  rmSync(path, { recursive: true });
  changes[kind]!(path);
  return migrate(source, target, { plan: { rules } });
}

describe("of an update that was killed at an exchange", () => {
  it.each(Object.keys(changes))("what took the place meanwhile stays, and is said (%s)", async (change) => {
    expect((await update(change, [meanwhile("theirs"), kill("after")])).code).toBeNull();
    for (const [code, again] of [
      [4, ["compact", target]],
      [0, ["migrate", source, target]],
    ] as const) {
      expect(dedupe(again).code).toBe(code);
      expect(readdirSync(staging()).map((name) => readFileSync(join(staging(), name), "utf8"))).toEqual([
        "theirs\n",
      ]);
    }
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
    const { events } = migrateJson([source, target]);
    expect(events.filter(({ code }) => code === "LEFTOVER")).toHaveLength(1);
  });

  it.each([
    ["before", "an inode of the store"],
    ["after", "new content"],
  ] as const)("nothing of its own stays (%s, %s)", async (when, change) => {
    expect((await update(change, [kill(when)])).code).toBeNull();
    expect(readdirSync(staging())).toEqual([expect.stringMatching(/^u\d+\.\d+_4_\d+\.\d+$/)]);
    const { code, events } = migrateJson([source, target]);
    expect({ code, leftovers: events.filter((event) => event.code === "LEFTOVER") }).toEqual({
      code: 0,
      leftovers: [],
    });
    expect(readdirSync(staging())).toEqual([]);
    expect(compareTrees(source, target, { mergedOk: true })).toEqual([]);
  });
});

it("keeps what took the place of what had taken it, before it could be put back", async () => {
  const { code, failures } = await update("new content", [meanwhile("first"), meanwhile("second", 2)]);
  expect({ code, failures: failures.map((failure) => failure.code) }).toEqual({
    code: 3,
    failures: ["CHANGED"],
  });
  expect(readFileSync(join(target, "daily.0/changing"), "utf8")).toBe("first\n");
  expect(readdirSync(staging()).map((name) => readFileSync(join(staging(), name), "utf8"))).toEqual([
    "second\n",
  ]);
});

/** What another process does to the name just before the exchange. */
const others = (command: string): FaultRule => ({
  ...call,
  action: { type: "run", when: "before", command },
});
const there = () => join(target, "daily.0/changing");

it.each(Object.keys(changes))("leaves alone what was written in place meanwhile (%s)", async (change) => {
  const rules = [others(`echo newer > ${there()}`)];
  const { code, failures } = await update(change, rules);
  expect({ code, failures: failures.map((failure) => failure.code) }).toEqual({
    code: 3,
    failures: ["CHANGED"],
  });
  expect(readFileSync(there(), "utf8")).toBe("newer\n");
  expect(readdirSync(staging())).toEqual([]);
});

it("keeps a directory that was filled just before it was replaced by a run that died then", async () => {
  const rules = [others(`echo theirs > ${there()}/f`), kill("after")];
  expect((await update("new content", rules, directory())).code).toBeNull();
  expect(migrateJson([source, target]).code).toBe(0);
  const [left = ""] = readdirSync(staging());
  expect(readFileSync(join(staging(), left, "f"), "utf8")).toBe("theirs\n");
});

it("leaves alone a file that has the number of the directory that --delete was to remove", async () => {
  makeTree(source, { "daily.0/other": file("other\n") });
  expect(migrateJson([source, target]).code).toBe(0);
  const reuse = [
    `mkdir ${there()}.d; wanted=$(stat -c %i ${there()}); rmdir ${there()}.d ${there()}`,
    `for n in 1 2 3 4 5 6 7 8 9; do echo theirs > ${there()}.$n`,
    `if [ $(stat -c %i ${there()}.$n) = $wanted ]; then mv ${there()}.$n ${there()}; break; fi; done`,
  ].join("; ");
  makeTree(target, { "daily.0/changing": directory() });
  const { code, failures } = await migrate(source, target, {
    args: ["--delete"],
    plan: { rules: [others(reuse)] },
  });
  expect({ code, failures: failures.map((failure) => failure.code) }).toEqual({
    code: 3,
    failures: ["CHANGED"],
  });
  expect(readFileSync(there(), "utf8")).toBe("theirs\n");
});

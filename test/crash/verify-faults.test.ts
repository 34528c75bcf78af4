import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { migrateWell } from "../support/migrate.ts";
import { file, linkTo, makeTree, symlink, type Tree } from "../support/tree.ts";
import { countVerifyCalls, sweepVerify } from "../support/verify-faults.ts";
import { isLong } from "../support/long.ts";

/** Of the calls, one in so many that about this many runs are made. */
const sampled = 8;

const tree: Tree = {
  "daily.0/a/plain": file("plain", { xattrs: { "user.a": "1" } }),
  "daily.0/a/large": file("l".repeat(1_200_000)),
  "daily.0/link": symlink("a"),
  "daily.1/plain": linkTo("daily.0/a/plain"),
};

let workplace: Workplace;
let [source, target, other] = ["", "", ""];

beforeAll(() => {
  workplace = makeWorkplace();
  [source, target, other] = ["source", "target", "other"].map((name) => join(workplace.path, name)) as [
    string,
    string,
    string,
  ];
  makeTree(source, tree);
  mkdirSync(target);
  migrateWell(source, target);
  makeTree(other, { ...tree, "daily.0/a/large": file(`${"l".repeat(1_199_999)}m`) });
});
afterAll(() => workplace.close());

async function codesOf(args: readonly string[]): Promise<(number | null)[]> {
  const total = await countVerifyCalls(args, join(workplace.path, `trace-${args.length}-${Date.now()}`));
  const step = isLong ? 1 : Math.max(1, Math.floor(total / sampled));
  const calls = Array.from({ length: Math.ceil(total / step) }, (_, index) => 1 + index * step);
  return [...(await sweepVerify(args, calls)).values()];
}

const runs = 600_000;

test("a call that fails is no finding where nothing differs", { timeout: runs }, async () => {
  for (const args of [["--against", source, target], [target]])
    for (const code of await codesOf(["-j", "2", ...args])) expect([0, 1, 3]).toContain(code);
});

test("a call that fails never hides a difference", { timeout: runs }, async () => {
  for (const code of await codesOf(["-j", "2", "--against", source, other]))
    expect([1, 3, 4]).toContain(code);
});

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { makeWorkplace, type Workplace } from "../support/dedupe.ts";
import { migrateWell } from "../support/migrate.ts";
import { makeSmallRoot } from "../support/small-root.ts";
import { verify } from "../support/verify.ts";

let workplace: Workplace;
beforeAll(() => {
  workplace = makeWorkplace();
});
afterAll(() => workplace.close());

it("verify --slice next/N reads the part that was never read, then the one that was read longest ago", () => {
  const [source, target] = [join(workplace.path, "source"), join(workplace.path, "target")];
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  migrateWell(source, target);
  const slice = (text: string): number | undefined => verify(["--slice", text, target]).summary.slice?.number;
  expect(slice("2/3")).toBe(2);
  expect([slice("next/3"), slice("next/3"), slice("next/3")]).toEqual([1, 3, 2]);
  rmSync(join(target, ".dedupe/log/verify-slices.json"));
  expect(slice("next/3")).toBe(1);
});

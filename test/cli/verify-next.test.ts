import { mkdirSync } from "node:fs";
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
  expect([slice("2/2"), slice("next/2"), slice("next/2")]).toEqual([2, 1, 2]);
});

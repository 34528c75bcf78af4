import { expect } from "vitest";
import { compactWell, mismatches } from "./compact.ts";
import { makeWorkplace } from "./dedupe.ts";
import { verify } from "./verify.ts";
import { diskUse, liveThroughYear, type YearOptions } from "./year.ts";

/** Lives through it on a filesystem of its own, and says what is not as promised at the end. */
export async function expectGoodYear(options: Omit<YearOptions, "folder">): Promise<void> {
  const work = makeWorkplace(2 ** 30);
  try {
    const year = await liveThroughYear({ folder: work.path, ...options });
    expect(year.complaints).toEqual([]);
    expect(year.wrong).toEqual([]);
    expect(year.untold).toEqual([]);
    expect(year.did.edits * year.did.kills * year.did.deleted * year.did.chmods).toBeGreaterThan(0);
    compactWell(year.target);
    expect(mismatches(year.target)).toEqual([]);
    expect(verify([year.target]).found).toEqual([]);
    const { kept, fresh } = diskUse(year.target, work.path);
    expect(Math.abs(kept - fresh) / fresh).toBeLessThan(0.01);
    process.stderr.write(`${JSON.stringify({ ...year.did, kept, fresh })}\n`);
  } finally {
    work.close();
  }
}

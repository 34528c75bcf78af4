import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { makeWorkplace, type Workplace } from "./dedupe.ts";

/** Of the test at hand: a folder, the path of a source to be made in it, and an empty target. */
export let work = "";
export let source = "";
export let target = "";

/** Gives each test of the file that calls it a folder of its own; call it before the first test. */
export function useFolders(sizeBytes?: number): void {
  let place: Workplace;
  beforeAll(() => {
    place = makeWorkplace(sizeBytes);
  });
  afterAll(() => place.close());
  beforeEach(() => {
    work = mkdtempSync(join(place.path, "test-"));
    // Tests become other users.
    chmodSync(work, 0o755);
    source = join(work, "source");
    target = join(work, "target");
    mkdirSync(target);
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));
}

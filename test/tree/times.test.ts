import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AT_FDCWD } from "../../src/sys/constants.ts";
import { TimesBuffer } from "../../src/tree/times.ts";
import { openKernel } from "../support/kernel.ts";

const { sys, scratch } = openKernel();
const times = new TimesBuffer(sys);
let work = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "dedupe-times-"));
  writeFileSync(join(work, "file"), "");
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("times", () => {
  it.each([0n, 1n, -1n, -1_000_000_000n, -1_500_000_000n, 999_999_999n, 4_294_967_296_123_456_789n])(
    "of %d ns are set to the nanosecond",
    (mtimeNs) => {
      const path = join(work, "file");
      execFileSync("touch", ["-a", "-d", "@77.5", path]);
      expect(sys.utimensat(AT_FDCWD, scratch.text(path), times.withMtime(mtimeNs), 0)).toBe(0);
      const script = "import os,sys;print(os.stat(sys.argv[1]).st_mtime_ns)";
      expect(execFileSync("python3", ["-c", script, path], { encoding: "utf8" }).trim()).toBe(
        String(mtimeNs),
      );
      expect(statSync(path).atimeMs).toBe(77_500);
    },
  );
});

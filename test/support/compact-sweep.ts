import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mismatches } from "./compact.ts";
import { migrate } from "./dedupe.ts";
import {
  isTimeOfDirectory,
  isTimeOfFailed,
  openFaultSweep,
  unfinished,
  type FaultSweep,
} from "./fault-sweep.ts";
import { compact } from "./faulty-run.ts";
import { compareTrees } from "./oracle.ts";
import { makeSmallRoot } from "./small-root.ts";

const args = ["-j", "1", "--priority", "normal"];

/** Stores with something to do for every step, each compacted into one fault. */
export async function openCompactSweep(): Promise<FaultSweep> {
  return openFaultSweep({
    sizeBytes: 800 * 2 ** 20,
    codes: { whole: 4, faulted: [1, 3, 4] },
    make: (folder) => {
      const [target, as] = [join(folder, "target"), join(folder, "as")];
      makeNeglected(folder, target);
      // What the names lead to, in inodes of their own.
      // Not rsync: it leaves a directory's time as it is where that is in the same second.
      execFileSync("cp", ["-a", target, as]);
      rmSync(join(as, ".dedupe"), { recursive: true });
      execFileSync("touch", ["-r", target, as]);
      return { target, as };
    },
    run: ({ target }, plan) => compact(target, { args, plan }),
    judge: async ({ target, as }, fault, result) => {
      const changes = () => compareTrees(as, target, { mergedOk: true });
      const broken = changes().filter((each) => !isTimeOfDirectory(each));
      const next = await compact(target, { args });
      const hasTold = [result, next].some(({ stdout }) => stdout.includes('"path":"daily.1/docs/kept"'));
      return [
        ...broken.map((each) => `then ${JSON.stringify(each)}`),
        ...(hasTold ? [] : ["the edit was not told"]),
        ...unfinished(next, [0, 4]),
        ...changes()
          .filter((each) => !isTimeOfFailed(each, fault, result))
          .map((each) => `after the next run ${JSON.stringify(each)}`),
        ...mismatches(target).map((each) => `after the next run ${each}`),
      ];
    },
  });
}

/** A store that nobody has cared for: every step has something to do. */
function makeNeglected(folder: string, target: string): void {
  const source = join(folder, "source");
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  const { code, err } = migrate(source, target);
  if (code !== 0) throw new Error(err);
  rmSync(source, { recursive: true });
  const at = (name: string): string => join(target, name);
  rmSync(at("daily.1/docs/edited"));
  chmodSync(at("daily.0/docs/deep/er/leaf"), 0o640);
  appendFileSync(at("daily.0/docs/kept"), "written in place\n");
  execFileSync("cp", ["-p", at("daily.0/large"), at("daily.0/equal")]);
  writeFileSync(at("daily.0/new"), "new\n");
  linkSync(at("daily.0/new"), at("daily.0/new too"));
  linkSync(at("daily.0/twin"), at(".dedupe/tmp/relink.7"));
  mkdirSync(at(".dedupe/staging/u3"));
}

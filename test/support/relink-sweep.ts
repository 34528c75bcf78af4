import { join } from "node:path";
import {
  isTimeOfDirectory,
  isTimeOfFailed,
  openFaultSweep,
  unfinished,
  type FaultSweep,
} from "./fault-sweep.ts";
import { leftovers, relink } from "./faulty-run.ts";
import { makeInflatedRoot } from "./inflated-root.ts";
import { compareTrees, type Difference } from "./oracle.ts";
import { healedDifferences } from "./relink.ts";

/** Inflated roots, each relinked into one fault. */
export async function openRelinkSweep(jobs = 1): Promise<FaultSweep> {
  const args = ["-j", String(jobs)];
  return openFaultSweep({
    sizeBytes: 1500 * 2 ** 20,
    codes: { whole: 0, faulted: [0, 1, 3] },
    make: (folder) => {
      const [root, original] = [join(folder, "root"), join(folder, "original")];
      makeInflatedRoot(root, original);
      return { root, original };
    },
    run: ({ root }, plan) => relink(root, { args, plan }),
    judge: async ({ root, original }, fault, result) => [
      ...brokenNames(original, root).map((each) => `then ${JSON.stringify(each)}`),
      ...unfinished(await relink(root, { args }), [0]),
      ...healedDifferences(original, root)
        .filter((each) => !isTimeOfRoot(each) && !isTimeOfFailed(each, fault, result))
        .map((each) => `after the next run ${JSON.stringify(each)}`),
      ...leftovers(root).map((name) => `after the next run there is still ${name}`),
    ],
  });
}

/** Names that do not lead to what they led to. */
export function brokenNames(original: string, root: string): Difference[] {
  return compareTrees(original, root, { mergedOk: true }).filter(
    (each) => each.class !== "group-split" && !isTimeOfDirectory(each),
  );
}

/** The root's time is off between two calls when the store is made. */
const isTimeOfRoot = ({ class: kind, path }: Difference): boolean => kind === "mtime" && path === ".";

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { directory, file, makeTree, symlink, type Tree } from "./tree.ts";

const large = "l".repeat(1_300_000);

/** Three snapshots as a copy without -H leaves them: every name an inode of its own, directories with old times. */
const inflated: Tree = Object.fromEntries(
  [0, 1, 2].flatMap((day) => {
    const at = `daily.${day}`;
    const mtimeNs = 1_600_000_000_000_000_000n + BigInt(day);
    return [
      [at, directory({ mtimeNs })],
      [`${at}/docs`, directory({ mtimeNs: mtimeNs + 10n, mode: 0o750 })],
      [`${at}/docs/deep`, directory({ mtimeNs: mtimeNs + 20n })],
      [
        `${at}/docs/same`,
        file("the same every day\n", { mtimeNs: 1_500_000_000_123_456_789n, mode: 0o4755 }),
      ],
      [`${at}/docs/deep/same`, file("also the same\n", { mtimeNs: 1_500_000_000_000_000_000n })],
      [`${at}/docs/coloured`, file("green\n", { mtimeNs: 1n, xattrs: { "user.colour": "green" } })],
      [`${at}/large`, file(large, { mtimeNs: 1_500_000_001_000_000_000n })],
      [`${at}/own`, file(`of day ${day}\n`, { mtimeNs: 1_500_000_002_000_000_000n })],
      [`${at}/link`, symlink("docs/same")],
      [`${at}/empty`, file("", { mtimeNs: 1_500_000_002_000_000_000n })],
    ] as const;
  }),
);

/** Makes it, and a copy to compare with. */
export function makeInflatedRoot(root: string, original: string): void {
  mkdirSync(root);
  makeTree(root, { ...inflated, ".": directory({ mtimeNs: 1_600_000_000_000_000_100n }) });
  execFileSync("cp", ["-a", root, original]);
}

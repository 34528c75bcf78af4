import { execFileSync } from "node:child_process";
import { runPython } from "./python.ts";

export type HostileSection =
  | "names"
  | "times"
  | "modes"
  | "owners"
  | "xattrs"
  | "acls"
  | "sparse"
  | "sizes"
  | "specials"
  | "symlinks"
  | "links"
  | "merging"
  | "directories"
  | "nested-store"
  | "deep"
  | "immutable";

export interface HostileOptions {
  readonly without?: readonly HostileSection[];
  /** Names in the crowded directory; default 20,000 (in each of the two snapshots). */
  readonly entries?: number;
}

export interface HostileTree {
  readonly root: string;
  /** What the filesystem refused to hold, such as "symlink 4095: ENAMETOOLONG". Nothing on ext4 with 4 KiB blocks. */
  readonly unsupported: readonly string[];
  /** Takes the immutable flags away and deletes the tree, its deepest paths too. */
  close(): void;
}

/**
 * Fills the folder (made if need be) with daily.0 and daily.1, linked as `cp -al` links them, and loose names
 * beside them: every kind of name, time, mode, owner, xattr, ACL, hole, special file, symlink and link, one
 * folder for each kind. Needs root, and 512 MiB of ext4 (mkfs makes 1 KiB blocks below that).
 */
export function makeHostileTree(
  root: string,
  { without = [], entries = 20_000 }: HostileOptions = {},
): HostileTree {
  const sections = without.map((section) => `--without=${section}`);
  const report = runPython("hostile.py", { args: ["build", root, `--entries=${entries}`, ...sections] });
  const { unsupported } = JSON.parse(report) as { unsupported: string[] };
  return {
    root,
    unsupported,
    close: () => {
      runPython("hostile.py", { args: ["clean", root] });
      // Not rmSync: it joins paths, and these are longer than the kernel takes in one call.
      execFileSync("rm", ["-rf", "--", root]);
    },
  };
}

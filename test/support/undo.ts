import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import type { UndoSummary } from "../../src/report/events.ts";
import { relink } from "./relink.ts";
import { file, linkTo, makeTree, directory, type Tree } from "./tree.ts";

/** What makes one inode of files that differ in anything but content. */
export const ignoringAll = ["--ignore-time", "--ignore-mode", "--ignore-owner", "--ignore-xattrs"] as const;

const old = 1_600_000_000_000_000_000n;

/** Names of three contents whose attributes differ; two are one inode, and some have the same attributes. */
export const differing: Tree = {
  "daily.0": directory({ mtimeNs: old + 7n }),
  "daily.1": directory({ mtimeNs: old + 8n }),
  "daily.2": directory({ mtimeNs: old + 9n }),
  "daily.0/a": file("same\n", { mtimeNs: old }),
  "daily.0/a2": linkTo("daily.0/a"),
  "daily.1/a": file("same\n", { mtimeNs: old + 1n, mode: 0o4751, xattrs: { "user.colour": "green" } }),
  "daily.2/a": file("same\n", { mtimeNs: old + 1n, mode: 0o4751, xattrs: { "user.colour": "green" } }),
  "daily.2/b": file("same\n", { mtimeNs: old - 1n, uid: 12, gid: 34 }),
  "daily.0/c": file("c".repeat(1_200_000), { mtimeNs: old }),
  "daily.1/c": file("c".repeat(1_200_000), { mtimeNs: old + 2n }),
  "daily.0/d": file("alike\n", { mtimeNs: old, xattrs: { "user.a": "b" } }),
  "daily.1/d": file("alike\n", { mtimeNs: old, xattrs: { "user.a": "b" } }),
};

/** Makes it, and a copy to compare with. */
export function makeDiffering(root: string, original: string): void {
  mkdirSync(root);
  makeTree(root, { ...differing, ".": directory({ mtimeNs: old + 100n }) });
  execFileSync("cp", ["-a", root, original]);
}

/** `dedupe relink --undo`, whatever its exit code. */
export function undo(...args: readonly string[]): Omit<ReturnType<typeof relink>, "summary"> & {
  summary: UndoSummary;
} {
  const { summary, ...run } = relink("--undo", ...args);
  return { ...run, summary: summary as unknown as UndoSummary };
}

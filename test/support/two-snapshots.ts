import { linkSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The smallest root worth migrating: two snapshots that share one file and differ in another. */
export function makeTwoSnapshots(root: string): void {
  for (const snapshot of ["daily.0", "daily.1"]) mkdirSync(join(root, snapshot, "docs"), { recursive: true });
  writeFileSync(join(root, "daily.1/docs/kept"), "the same on both days\n");
  linkSync(join(root, "daily.1/docs/kept"), join(root, "daily.0/docs/kept"));
  writeFileSync(join(root, "daily.1/docs/edited"), "monday\n");
  writeFileSync(join(root, "daily.0/docs/edited"), "tuesday\n");
}

/** Whether the two names are one inode, as they were in the source. */
export function isLinked(root: string): boolean {
  const [a, b] = ["daily.0", "daily.1"].map((snapshot) => statSync(join(root, snapshot, "docs/kept")).ino);
  return a === b;
}

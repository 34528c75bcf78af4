import type { NameSection } from "./digest.ts";
import type { Facts } from "./inode-reader.ts";
import type { Listed } from "./listing.ts";
import type { WalkResult } from "./messages.ts";
import type { OpenDirectory } from "./selection.ts";

/** A directory of one tree. */
export type Side = {
  directory: OpenDirectory;
  facts: Facts;
  attributes: Buffer;
  names: NameSection;
  subdirectories: { name: string; digest: Buffer }[];
};

/** A directory that both trees have, or of the one tree that is read. */
export type Frame = { parent: Frame | undefined; path: string; name: string; sides: Side[]; left: string[] };

/** A name that is no directory, in each tree that is read; and where its mark belongs. */
export type Pair = { entries: Listed[]; marksAt: number[] };

export function finish({ attributes, names, subdirectories }: Side): WalkResult["sides"][number] {
  return { attributes, section: names.close(), subdirectories };
}

/** A list that is at its end comes after everything. */
export function compareNames(a: string | undefined, b: string | undefined): number {
  if (a === b) return 0;
  if (a === undefined) return 1;
  if (b === undefined) return -1;
  return a < b ? -1 : 1;
}

export function byInode(a: Listed, b: Listed): number {
  return a.inoHigh - b.inoHigh || a.inoLow - b.inoLow;
}

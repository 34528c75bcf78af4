import type { Metadata } from "../tree/attributes.ts";
import type { Filesystem } from "../tree/identity.ts";
import type { WalkMode } from "./messages.ts";

const SLASH = Buffer.from("/");

/** A directory that a worker is in: both ends open, its subdirectories still to be done. */
export type Frame = {
  parent: Frame | undefined;
  /** The path of a task's first directory; the name below its parent otherwise. */
  name: Buffer;
  /** Position of the unit in the plan. */
  unit: number;
  mode: WalkMode;
  sourceFd: number;
  targetFd: number;
  actionsFd: number;
  filesystem: Filesystem;
  /** The source directory's own, as it was before its entries were read. */
  metadata: Metadata;
  /** The target's directory was made by this run, with nothing to inherit: its subdirectories are as mkdir makes them. */
  isPlain: boolean;
  /** Its d_ino may be believed: see docs/design.md, "The way of a name". */
  isTrusted: boolean;
  /** A filesystem begins here. */
  isMountRoot: boolean;
  isListed: boolean;
  subdirectories: Buffer[];
  /** In a refill: the subdirectories that this run made, which need no second look. */
  fresh: Set<string> | undefined;
};

/** Where a name is: below others, or at a task's beginning. */
export type Located = { parent: Located | undefined; name: Buffer };

/** Path relative to the source's root, without leading slash; empty for the root itself. */
export function pathOf(frame: Located, name?: Buffer): Buffer {
  const parts: Buffer[] = name === undefined ? [] : [name];
  for (let at: Located | undefined = frame; at !== undefined; at = at.parent) {
    if (at.name.length === 0) continue;
    if (parts.length > 0) parts.push(SLASH);
    parts.push(at.name);
  }
  return Buffer.concat(parts.reverse());
}

import { accessAcl } from "./acl.ts";
import type { Attributes } from "./attributes.ts";

const STICKY = 0o1000;

/** `forOwner`: the classes of users are not the same before and after, so that no bits but the owner's mean the same. */
export type Access = { mode: number; forOwner: boolean };

/**
 * What grants nobody more than either, the owner's bits aside, who may change them at will; undefined where what is
 * there now does.
 */
export function accessBetween(actual: Attributes, wanted: Attributes): Access | undefined {
  const isSameOwner = actual.uid === wanted.uid;
  const forOwner = !isSameOwner || actual.gid !== wanted.gid || !hasSameAcl(actual, wanted);
  const common = (actual.mode & wanted.mode) | ((actual.mode | wanted.mode) & STICKY) | 0o700;
  const mode = forOwner ? common & ~0o077 : common;
  const isKept = (actual.mode & ~mode & 0o077) === 0 && (mode & ~actual.mode & STICKY) === 0;
  return isKept && isSameOwner ? undefined : { mode, forOwner };
}

function hasSameAcl(a: Attributes, b: Attributes): boolean {
  const [ours, theirs] = [accessAcl(a), accessAcl(b)];
  return ours === undefined || theirs === undefined ? ours === theirs : ours.equals(theirs);
}

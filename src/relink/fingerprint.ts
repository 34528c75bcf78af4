import { SEEK_SET } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Listing } from "../tree/listing.ts";

/** Inode numbers (high and low words) that a name may have before and after it was replaced. */
export type MayBe = readonly (readonly [high: number, low: number])[];
export type Print = { high: number; low: number };

/**
 * Tells whether others changed a directory's listing: a sum over its names and inode numbers, in which the names that
 * a batch replaces count without theirs. undefined: one of those is neither what it was nor what it is to become.
 * @throws SysError
 */
export function fingerprint(
  { sys }: Kernel,
  listing: Listing,
  dirFd: number,
  replaced: ReadonlyMap<string, MayBe>,
): Print | undefined {
  let high = 0;
  let low = 0;
  let isForeign = false;
  check(sys.lseek(dirFd, 0, SEEK_SET), "lseek");
  while (check(listing.read(dirFd), "getdents64") > 0) {
    while (listing.next()) {
      const name = listing.copyName();
      const mayBe = replaced.get(name.toString("latin1"));
      const { inoHigh, inoLow } = listing;
      if (mayBe !== undefined && !mayBe.some(([h, l]) => h === inoHigh && l === inoLow)) isForeign = true;
      const hash = hashName(name);
      const ino = mayBe === undefined ? inoLow ^ Math.imul(inoHigh, 0x85ebca6b) : 0;
      high = (high + Math.imul(hash ^ ino, 0x9e3779b1)) >>> 0;
      low = (low + Math.imul(hash, 0xc2b2ae35) + Math.imul(ino, 0x27d4eb2f) + 1) >>> 0;
    }
  }
  return isForeign ? undefined : { high, low };
}

/** FNV-1a. */
function hashName(name: Buffer): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ (name[at] as number), 0x01000193);
  return hash ^ (hash >>> 15);
}

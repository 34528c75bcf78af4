import { SEEK_SET } from "../sys/constants.ts";
import { check } from "../sys/errors.ts";
import type { Kernel } from "../sys/files.ts";
import type { Listing } from "../tree/listing.ts";

/** Inode numbers (high and low words) that a name may have before and after it was replaced. */
export type MayBe = readonly (readonly [high: number, low: number])[];
export type Print = { high: number; low: number };

/** Of a listed entry whose name may be among those that a batch replaces. */
export type Judge = (listing: Listing) => "replaced" | "other" | "foreign";

/**
 * Tells whether others changed a directory's listing: a sum over its names and inode numbers, in which the names that
 * a batch replaces count without theirs. undefined: one of those is neither what it was nor what it is to become.
 * @throws SysError
 */
export function fingerprint(
  { sys }: Kernel,
  listing: Listing,
  dirFd: number,
  judge: Judge,
): Print | undefined {
  let high = 0;
  let low = 0;
  check(sys.lseek(dirFd, 0, SEEK_SET), "lseek");
  while (check(listing.readIfThere(dirFd), "getdents64") > 0) {
    while (listing.next()) {
      const kind = judge(listing);
      if (kind === "foreign") return undefined;
      const hash = listing.nameHash;
      const ino = kind === "other" ? listing.inoLow ^ Math.imul(listing.inoHigh, 0x85ebca6b) : 0;
      high = (high + Math.imul(hash ^ ino, 0x9e3779b1)) >>> 0;
      low = (low + Math.imul(hash, 0xc2b2ae35) + Math.imul(ino, 0x27d4eb2f) + 1) >>> 0;
    }
  }
  return { high, low };
}

/** By the names themselves, as Latin-1. */
export function byName(replaced: ReadonlyMap<string, MayBe>): Judge {
  return (listing) => {
    const mayBe = replaced.get(listing.copyName().toString("latin1"));
    if (mayBe === undefined) return "other";
    const { inoHigh, inoLow } = listing;
    return mayBe.some(([high, low]) => high === inoHigh && low === inoLow) ? "replaced" : "foreign";
  };
}

/** As Listing.nameHash. */
export function hashName(name: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ (name[at] as number), 0x01000193);
  return hash ^ (hash >>> 15);
}

import { LINKS_UNDER_WAY } from "../work/link.ts";

/**
 * How many links an inode may get: headroom is left for the user's own next `cp -al`, 1% of the limit or the most
 * names one snapshot has of the inode, at most half the limit. 0: there is no limit.
 */
export function linkRoom(limit: number, mostInSnapshot: number): number {
  return limit - Math.min(limit >> 1, Math.max(Math.ceil(limit / 100), mostInSnapshot) + LINKS_UNDER_WAY);
}

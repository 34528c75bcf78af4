import type { Stat } from "../sys/stat.ts";

/**
 * Whether a directory's time is what exchanges of names in it left, and not what someone else gave it (`touch -d`): a
 * new listing moves mtime and ctime as one, and later ones of mode or owner move the ctime alone.
 * @param sinceNs the filesystem's clock before the first exchange
 */
export function isOwnTime({ mtimeNs, ctimeNs }: Stat, sinceNs: bigint): boolean {
  return mtimeNs === ctimeNs || (mtimeNs >= sinceNs && mtimeNs < ctimeNs);
}

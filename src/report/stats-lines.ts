/** One line each for what `dedupe stats` tells of a snapshot. */
import type { Event } from "./events.ts";
import { formatBytes, formatCount, formatPath, formatQuantity } from "./format.ts";

type Of<T extends Event["type"]> = Extract<Event, { type: T }>;

export function holdingLine(event: Of<"holding">): string {
  const { names, inodes, bytes, aloneBytes } = event;
  const parts = [
    holderText(event),
    formatQuantity(names, "name"),
    formatQuantity(inodes, "inode"),
    `${formatBytes(bytes)}, of which ${formatBytes(aloneBytes)} alone`,
  ];
  return parts.join("  ");
}

/** What a row is about. */
export function holderText({ path, kind }: Of<"holding">): string {
  if (kind !== "loose") return formatPath(path);
  return path.length === 0 ? "(beside the snapshots)" : `${formatPath(path)} (beside the snapshots)`;
}

export function largestLine({ path, bytes, names }: Of<"largest">): string {
  const more = names > 1 ? ` (${formatCount(names)} names)` : "";
  return `${formatBytes(bytes)}  ${formatPath(path)}${more}`;
}

export function brokenChainLine({ path, neighbour, inodes, sharedInodes }: Of<"broken-chain">): string {
  const shares =
    sharedInodes === 0 ? "no file" : `${formatCount(sharedInodes)} of ${formatQuantity(inodes, "file")}`;
  return `broken chain: ${formatPath(path)} shares ${shares} with ${formatPath(neighbour)}, which was made before it`;
}

/** A relink under way, in one line. */
import type { Event } from "./events.ts";
import { clip, formatBytes, formatCount, formatQuantity } from "./format.ts";

export type RelinkProgress = Extract<Event, { type: "relink-progress" }>;

export function relinkLine({ phase, counters, done, total }: RelinkProgress, columns: number): string {
  const { names, readBytes, linkedNames } = counters;
  const parts = {
    stock: ["taking stock", formatQuantity(names, "name")],
    read: [
      "reading",
      `${formatCount(done)} of ${formatQuantity(total, "inode")}`,
      `${formatBytes(readBytes)} read`,
    ],
    link: ["linking", formatQuantity(linkedNames, "name"), `${formatBytes(counters.freedBytes)} freed`],
  }[phase];
  const text = parts.join("  ");
  return columns === Infinity ? text : clip(text, columns);
}

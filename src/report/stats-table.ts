/** The rows of `dedupe stats` on a terminal: they are aligned, so they wait for the last one. */
import type { Event } from "./events.ts";
import { formatBytes, formatCount } from "./format.ts";
import { brokenChainLine, holderText, largestLine } from "./stats-lines.ts";

type Of<T extends Event["type"]> = Extract<Event, { type: T }>;

/** As many as the root has snapshots and directories. */
export type StatsRow = Of<"holding"> | Of<"largest"> | Of<"broken-chain">;

export const isStatsRow = (event: Event): event is StatsRow =>
  event.type === "holding" || event.type === "largest" || event.type === "broken-chain";

export type StatsTable = { add(row: StatsRow): void; lines(): string[] };

export function createStatsTable(): StatsTable {
  const rows: StatsRow[] = [];
  return {
    add(row) {
      rows.push(row);
    },
    lines() {
      if (rows.length === 0) return [];
      const holdings = rows.filter((row) => row.type === "holding").filter(isWorthARow);
      const largest = rows.filter((row) => row.type === "largest").map(largestLine);
      const broken = rows.filter((row) => row.type === "broken-chain").map(brokenChainLine);
      return [
        "",
        ...holdingTable(holdings),
        ...section("The largest files that only one of them holds:", largest),
        ...(broken.length === 0 ? [] : ["", ...broken]),
      ];
    },
  };
}

/** The directory that holds the snapshots is there in any case. */
const isWorthARow = ({ kind, names }: Of<"holding">): boolean => kind !== "loose" || names > 1;

const section = (title: string, lines: string[]): string[] =>
  lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];

/** Names come last: they may be of any width. */
function holdingTable(holdings: Of<"holding">[]): string[] {
  const head = ["names", "inodes", "bytes", "alone", "shared", "snapshot"];
  const body = holdings.map((row) => [
    formatCount(row.names),
    formatCount(row.inodes),
    formatBytes(row.bytes),
    formatBytes(row.aloneBytes),
    formatBytes(row.sharedBytes),
    `${holderText(row)}${row.isInSet ? "  (to be deleted)" : ""}`,
  ]);
  const lines = [head, ...body];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines.map((line) =>
    line
      .map((text, column) => (column === head.length - 1 ? text : text.padStart(widths[column] ?? 0)))
      .join("  "),
  );
}

/** The plan and the closing report of a compact. */
import type { CompactFigures, CompactSummary } from "./events.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatQuantity,
  formatText,
  quoteForShell,
} from "./format.ts";
import type { ReasonCounts } from "./reasons.ts";
import { bySignal, skippedText, table, type Row } from "./report-table.ts";

/** "to be pruned: …" for each step that has something to do. */
export function compactPlanLine({ detached, ...figures }: CompactFigures & { detached: boolean }): string {
  const rows: Row[] = detached ? [["detach", storeText(figures.prune)]] : stepRows(figures, "plan");
  const parts = rows.map(([label, text]) => `${label}: ${text}`);
  return parts.length === 0 ? "plan: nothing to do" : `plan: ${parts.join("; ")}`;
}

export function compactReport(summary: CompactSummary, reasons: ReasonCounts): string[] {
  const { names, directories, readBytes, failures, affectedNames, leftAlone, findings } = summary;
  const store: Row = ["store", storeText(summary)];
  const freed: Row = [summary.dryRun ? "would free" : "freed", formatBytes(summary.freedBytes)];
  const all: Row[] = [
    ["names", `${formatCount(names)}, ${formatQuantity(directories, "directory", "directories")} among them`],
    store,
    ["read", readBytes === 0 ? "" : formatBytes(readBytes)],
    ...stepRows(summary, summary.dryRun ? "plan" : "report"),
    ["index", indexText(summary)],
    freed,
    ["found", listText(findings)],
    ["affected", affectedNames === 0 ? "" : `${formatQuantity(affectedNames, "name")} of what was found`],
    ["left alone", leftAlone === 0 ? "" : leftAloneText(leftAlone)],
    ["skipped", skippedText(failures, reasons)],
  ];
  const shown = table((summary.detached ? [store, freed] : all).filter(([, text]) => text !== ""));
  return ["", compactHeadline(summary), "", ...shown, "", ...whatNext(summary)];
}

export function compactHeadline(summary: CompactSummary): string {
  const { outcome, dryRun, elapsedMs, timeLimit, exitCode, failures, findings, detached } = summary;
  const time = `after ${formatDuration(elapsedMs)}`;
  const finished = dryRun ? `Dry run finished ${time}` : `Finished ${time}`;
  switch (outcome) {
    case "complete":
      if (detached) return dryRun ? `${finished}: nothing was changed.` : `The store was taken away ${time}.`;
      return dryRun ? `${finished}: nothing was changed.` : `${finished}.`;
    case "findings":
      return `${finished}: ${formatQuantity(sum(findings), "finding")}.`;
    case "partial":
      return `${finished}, but ${formatQuantity(failures, "entry", "entries")} could not be handled.`;
    case "failed":
      return `Failed ${time}.`;
    case "stopped":
      return `Stopped${timeLimit ? " by the time limit" : bySignal(exitCode)} ${time}.`;
  }
}

const storeText = ({ objects, holders }: { objects: number; holders: number }): string =>
  `${formatQuantity(objects, "object")}, ${formatQuantity(holders, "holder")}`;

function stepRows(figures: CompactFigures, tense: "plan" | "report"): Row[] {
  const { sweep, adopt, refile, prune, fold, index } = figures;
  const label = (planned: string, done: string): string => (tense === "plan" ? planned : done);
  const all: [boolean, Row][] = [
    [sweep.leftovers > 0, [label("sweep", "swept"), formatQuantity(sweep.leftovers, "leftover name")]],
    [sweep.unfinished > 0, ["unfinished", unfinishedText(sweep.unfinished)]],
    [refile.objects > 0, [label("re-file", "re-filed"), formatQuantity(refile.objects, "object")]],
    [adopt.inodes > 0, [label("adopt", "adopted"), adoptText(adopt)]],
    // What re-filing and folding let go of; nothing new came.
    [adopt.inodes === 0 && adopt.linkedNames > 0, [label("merge", "merged"), adoptText(adopt)]],
    [prune.objects + prune.holders > 0, [label("prune", "pruned"), pruneText(prune)]],
    [fold.siblings > 0, [label("fold", "folded"), formatQuantity(fold.siblings, "sibling")]],
    [index.unknown > 0, [label("learn", "learned"), learnText(index.unknown)]],
  ];
  return all.filter(([isShown]) => isShown).map(([, row]) => row);
}

function unfinishedText(count: number): string {
  return `${formatQuantity(count, "snapshot")} that a migration has not finished; --forget-unfinished removes them`;
}

function adoptText({
  inodes,
  bytes,
  linkedNames,
  mergedInodes,
  freedBytes,
  siblings,
}: CompactFigures["adopt"]): string {
  const parts = [
    inodes === 0 ? "" : `${formatQuantity(inodes, "new inode")}, ${formatBytes(bytes)}`,
    linkedNames === 0
      ? ""
      : `${formatQuantity(linkedNames, "name")} linked to their equals, ${formatBytes(freedBytes)} in ${formatQuantity(mergedInodes, "inode")}`,
    siblings === 0 ? "" : `${formatQuantity(siblings, "inode")} kept apart by the link limit`,
  ];
  return parts.filter((part) => part !== "").join("; ");
}

function pruneText({ objects, holders, freedBytes }: CompactFigures["prune"]): string {
  const also = holders === 0 ? "" : ` and ${formatQuantity(holders, "holder")}`;
  return `${formatQuantity(objects, "object")}${also} that nothing names any more, ${formatBytes(freedBytes)}`;
}

const leftAloneText = (count: number): string =>
  `${formatQuantity(count, "name")} that others changed meanwhile; the next run looks again`;

const learnText = (unknown: number): string =>
  `${formatQuantity(unknown, "object")} that the index does not know`;

function indexText({ index: { rows, droppedRows, bytesBefore, bytesAfter } }: CompactSummary): string {
  if (rows === 0) return "";
  const dropped = droppedRows === 0 ? "" : `, ${formatCount(droppedRows)} of them of nothing that is there`;
  const size =
    bytesBefore === bytesAfter
      ? formatBytes(bytesAfter)
      : `${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}`;
  return `${formatQuantity(rows, "row")}${dropped}; ${size}`;
}

function listText(counts: Record<string, number>): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${formatCount(count)} ${name}`)
    .join(", ");
}

function whatNext(summary: CompactSummary): string[] {
  const { outcome, dryRun, target, detached } = summary;
  if (dryRun) return ["Run the same command without --dry-run to do it."];
  const place = formatText(target);
  if (detached && outcome === "complete") return detachedText(target);
  switch (outcome) {
    case "findings":
      return findingText(summary);
    case "complete":
    case "partial":
      return [`Everything is on the disk: ${place} is safe to unmount and unplug.`];
    case "failed":
    case "stopped":
      return [
        `What ${place} has is whole: every name leads to the content that it had.`,
        "To go on, run the same command again.",
      ];
  }
}

function findingText({ findings, target }: CompactSummary): string[] {
  const has = (name: string): boolean => (findings[name] ?? 0) > 0;
  return [
    ...(has("content")
      ? [
          "Content was changed in place, or was damaged, in all snapshots that share the inode. Damage, which leaves the",
          `modification time as it was, is put right from another copy by dedupe verify --repair ${quoteForShell(target)}`,
          "What was written is in its place. Restore the names listed from another copy if that was not meant.",
        ]
      : []),
    ...(has("leftover")
      ? [
          "A leftover in .dedupe is the last name of a file, or came under a name that was to go: look at it, and move it",
          "out or delete it.",
        ]
      : []),
    ...(has("foreign") || has("object-type")
      ? ["What is no object was left alone: look at it, and move it out of .dedupe."]
      : []),
    `Then check the store: dedupe verify ${quoteForShell(target)}`,
  ];
}

function detachedText(target: string): string[] {
  return [
    "The snapshots are as they were: what they share stays shared, and deleting one frees at once what it alone has.",
    "Without a store a migration to this target reads everything again; certificates in .dedupe/log went too.",
    `For a store anew: dedupe relink --full ${quoteForShell(target)}`,
  ];
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((a, b) => a + b, 0);

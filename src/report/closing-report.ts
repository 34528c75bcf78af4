/** The summary as a person reads it. It is printed after the last syncfs (P2), which it relies on. */
import { compactHeadline, compactReport } from "./compact-report.ts";
import type {
  CompactSummary,
  Counters,
  RelinkSummary,
  StatsSummary,
  Summary,
  UndoSummary,
  VerifySummary,
} from "./events.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatQuantity,
  formatText,
  quoteForShell,
} from "./format.ts";
import type { ReasonCounts } from "./reasons.ts";
import { relinkHeadline, relinkReport } from "./relink-report.ts";
import { bySignal, skippedText, table, type Row } from "./report-table.ts";
import { statsHeadline, statsReport } from "./stats-report.ts";
import { undoReport } from "./undo-report.ts";
import { verifyHeadline, verifyReport } from "./verify-report.ts";

type AnySummary = Summary | RelinkSummary | UndoSummary | CompactSummary | VerifySummary | StatsSummary;

export function closingReport(summary: AnySummary, reasons: ReasonCounts): string[] {
  if ("restoredNames" in summary) return undoReport(summary, reasons);
  if (summary.command === "relink") return relinkReport(summary, reasons);
  if (summary.command === "compact") return compactReport(summary, reasons);
  if (summary.command === "stats") return statsReport(summary, skippedText(summary.failures, reasons));
  if (summary.command === "verify") return verifyReport(summary, skippedText(summary.failures, reasons));
  return ["", headline(summary), "", ...table(rows(summary, reasons)), "", ...whatNext(summary)];
}

export function headline(summary: AnySummary): string {
  if (summary.command === "relink") return relinkHeadline(summary);
  if (summary.command === "compact") return compactHeadline(summary);
  if (summary.command === "verify") return verifyHeadline(summary);
  if (summary.command === "stats") return statsHeadline(summary);
  const { outcome, dryRun, elapsedMs, snapshots } = summary;
  const time = `after ${formatDuration(elapsedMs)}`;
  const through = `${formatCount(snapshots.total - snapshots.pending)} of ${formatQuantity(snapshots.total, "snapshot")}`;
  switch (outcome) {
    case "complete":
      return dryRun ? `Dry run finished ${time}: nothing was changed.` : `Finished ${time}.`;
    case "partial":
      return partialHeadline(summary, time);
    case "failed":
      return `Failed ${time}; ${through} done.`;
    case "stopped":
      return `Stopped${bySignal(summary.exitCode)} ${time}; ${through} done.`;
  }
}

function partialHeadline({ dryRun, failures }: Summary, time: string): string {
  const but =
    failures > 0
      ? `${formatQuantity(failures, "entry", "entries")} could not be handled`
      : "not all was kept";
  return dryRun
    ? `Dry run finished ${time}, but ${but}; nothing was changed.`
    : `Finished ${time}, but ${but}.`;
}

function rows(summary: Summary, reasons: ReasonCounts): Row[] {
  const optional: Row[] = [
    ["merged", mergedText(summary)],
    ["saved", savedText(summary)],
    ["link limit", siblingsText(summary)],
    [summary.dryRun ? "would remove" : "removed", deletedText(summary)],
    ["left", heldText(summary)],
    [summary.dryRun ? "would move" : "moved", movedText(summary)],
    ["not kept", lostText(summary)],
    ["skipped", skippedText(summary.failures, reasons)],
  ];
  return [...sourceRows(summary), ...targetRows(summary), ...optional.filter(([, text]) => text !== "")];
}

function sourceRows(summary: Summary): Row[] {
  const { snapshots, names, directories, inodes, contentBytes } = summary;
  const states = (["new", "updated", "unchanged", "incomplete", "pending"] as const)
    .filter((state) => snapshots[state] > 0)
    .map((state) => `${formatCount(snapshots[state])} ${state}`);
  const detail = states.length > 0 ? `: ${states.join(", ")}` : "";
  return [
    ["snapshots", `${formatCount(snapshots.total)}${detail}`],
    ["names", `${formatCount(names)}, ${formatQuantity(directories, "directory", "directories")} among them`],
    ["inodes", `${aboutText(summary)}${formatCount(inodes)} in the source, directories not counted`],
    ["content", `${aboutText(summary)}${formatBytes(contentBytes)} in the source, each inode counted once`],
  ];
}

function targetRows({ dryRun, writtenBytes, createdInodes, linkedNames, readBytes }: Summary): Row[] {
  const written = `${formatBytes(writtenBytes)} in ${formatQuantity(createdInodes, "new inode")}`;
  return [
    ["read", `${formatBytes(readBytes)} from the source`],
    [dryRun ? "would write" : "written", written],
    [dryRun ? "would link" : "linked", formatQuantity(linkedNames, "name")],
  ];
}

/** So many inodes that some may have been counted twice. */
function aboutText({ approximate }: Summary): string {
  return approximate ? "about " : "";
}

function mergedText(summary: Summary): string {
  const { mergedInodes, mergedBytes, dryRun } = summary;
  if (mergedInodes === 0) return "";
  const shares = mergedInodes === 1 ? "shares an inode with its equal" : "share an inode with their equals";
  const became = dryRun ? shares.replace(/^shares?/, "would share") : shares;
  return `${aboutText(summary)}${formatQuantity(mergedInodes, "source inode")} ${became}, ${formatBytes(mergedBytes)} less`;
}

function savedText({ plainCopyBytes, contentBytes, mergedBytes, dryRun }: Summary): string {
  const savedBytes = plainCopyBytes - contentBytes + mergedBytes;
  if (savedBytes <= 0) return "";
  const plain = formatBytes(plainCopyBytes);
  return `${formatBytes(savedBytes)}: a copy without hard links ${dryRun ? "would take" : "takes"} ${plain}`;
}

function siblingsText({ siblings, linkLimit, dryRun }: Summary): string {
  if (siblings === 0) return "";
  const opened = `${formatQuantity(siblings, "further inode")} ${dryRun ? "would be opened" : "opened"}`;
  const limit = linkLimit > 0 ? `: the target allows ${formatCount(linkLimit)} links to one inode` : "";
  return `${opened}${limit}`;
}

function deletedText({ deletedNames }: Summary): string {
  return deletedNames === 0 ? "" : `${formatQuantity(deletedNames, "name")} that the source no longer has`;
}

function heldText({ heldDeletes }: Summary): string {
  return heldDeletes === 0 ? "" : `${formatQuantity(heldDeletes, "removal")} beyond --max-delete`;
}

function movedText({ removedSourceNames, dryRun }: Summary): string {
  if (removedSourceNames === 0) return "";
  return `${formatQuantity(removedSourceNames, "name")} ${dryRun ? "to be removed" : "removed"} from the source, each read back from the target first`;
}

/** One line for all that an ordinary user may not set: a million foreign files are no reason for a million lines. */
function lostText({ lostOwners, lostTimes, lostXattrs, lostDevices }: Counters): string {
  const parts = [
    lostOwners > 0 ? `the owner of ${formatQuantity(lostOwners, "inode")}` : "",
    lostTimes > 0 ? `the modification time of ${formatQuantity(lostTimes, "inode")}` : "",
    lostXattrs > 0 ? formatQuantity(lostXattrs, "extended attribute") : "",
    lostDevices > 0 ? formatQuantity(lostDevices, "device node") : "",
  ].filter((part) => part !== "");
  if (parts.length === 0) return "";
  return `${parts.join(", ")} (this user may not read or set them, or the target cannot hold them)`;
}

function whatNext(summary: Summary): string[] {
  if (summary.dryRun) return ["Run the same command without --dry-run to do it."];
  switch (summary.outcome) {
    case "complete":
      return [...safeToUnplug(summary), ...compareOrClear(summary), ...aboutDeleting(summary)];
    case "partial":
      return [...safeToUnplug(summary), ...retry(summary), ...aboutDeleting(summary)];
    case "failed":
    case "stopped":
      return resume(summary);
  }
}

function safeToUnplug({ target }: Summary): string[] {
  return [formatText(`Everything copied is on the disk: ${target} is safe to unmount and unplug.`)];
}

function compareOrClear(summary: Summary): string[] {
  return summary.removedSourceNames > 0 ? afterMove(summary) : compareWithSource(summary);
}

/** Of a source that was emptied, comparing would only show that. */
function afterMove({ source }: Summary): string[] {
  const root = quoteForShell(source);
  return [
    "Next: the source has its directories still. Those that are empty go with:",
    `  find ${root} -mindepth 1 -type d -empty -delete`,
    "Never run with --delete from this source again: it would delete what was moved.",
  ];
}

function compareWithSource({ source, target }: Summary): string[] {
  return [
    "Next, before the source goes: have the two compared (with the filters of this run, if it had any):",
    `  dedupe verify --against ${quoteForShell(source)} ${quoteForShell(target)}`,
  ];
}

function retry({ failures }: Summary): string[] {
  if (failures === 0) return [];
  return ["Next: see to what failed and run the same command again; it tries only those entries again."];
}

function aboutDeleting({ target }: Summary): string[] {
  return [
    "Deleting a snapshot on the target frees no space by itself: the store keeps its content until",
    `  dedupe compact ${quoteForShell(target)}`,
  ];
}

function resume({ target }: Summary): string[] {
  return [
    formatText(`What ${target} has is whole, and what was finished is not read again.`),
    "To go on, run the same command again.",
  ];
}

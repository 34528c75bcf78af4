/** The closing report of a relink. */
import type { RelinkSummary, UndoSummary } from "./events.ts";
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

export function relinkReport(summary: RelinkSummary, reasons: ReasonCounts): string[] {
  return ["", relinkHeadline(summary), "", ...table(rows(summary, reasons)), "", ...whatNext(summary)];
}

export function relinkHeadline(summary: RelinkSummary | UndoSummary): string {
  const { outcome, dryRun, elapsedMs, exitCode, failures } = summary;
  const timeLimit = "timeLimit" in summary && summary.timeLimit;
  const time = `after ${formatDuration(elapsedMs)}`;
  switch (outcome) {
    case "complete":
      return dryRun ? `Dry run finished ${time}: nothing was changed.` : `Finished ${time}.`;
    case "partial":
      return `${dryRun ? "Dry run finished" : "Finished"} ${time}, but ${formatQuantity(failures, "entry", "entries")} could not be handled.`;
    case "failed":
      return `Failed ${time}.`;
    case "stopped":
      return `Stopped${timeLimit ? " by the time limit" : bySignal(exitCode)} ${time}.`;
  }
}

function rows(summary: RelinkSummary, reasons: ReasonCounts): Row[] {
  const { names, directories, dryRun, inodes, bytes, mergedInodes, freedBytes, linkedNames } = summary;
  const will = (done: string, would: string): string => (dryRun ? would : done);
  const all: Row[] = [
    ["names", `${formatCount(names)}, ${formatQuantity(directories, "directory", "directories")} among them`],
    ["before", `${formatQuantity(inodes, "inode")} of regular files, ${formatBytes(bytes)} on the disk`],
    ["read", readText(summary)],
    [
      will("linked", "would link"),
      `${formatQuantity(linkedNames, "name")} to an inode with the same content`,
    ],
    [will("freed", "would free"), `${formatBytes(freedBytes)} in ${formatQuantity(mergedInodes, "inode")}`],
    [will("after", "after that"), afterText(summary)],
    ["outside", outsideText(summary)],
    ["link limit", siblingsText(summary)],
    ["left alone", leftText(summary)],
    ...gainRows(summary),
    ["skipped", skippedText(summary.failures, reasons)],
  ];
  return all.filter(([, text]) => text !== "");
}

function readText({ readBytes, readInodes, aloneInodes }: RelinkSummary): string {
  const alone =
    aloneInodes === 0
      ? ""
      : `; ${formatQuantity(aloneInodes, "inode")} not read, as no other has that size and those attributes`;
  return `${formatBytes(readBytes)} in ${formatQuantity(readInodes, "inode")}${alone}`;
}

function afterText({ inodes, mergedInodes, outsideInodes, bytes, freedBytes }: RelinkSummary): string {
  return `${formatQuantity(inodes - mergedInodes - outsideInodes, "inode")}, ${formatBytes(bytes - freedBytes)}`;
}

function outsideText({ outsideInodes, dryRun }: RelinkSummary): string {
  if (outsideInodes === 0) return "";
  const frees = dryRun ? "would free" : outsideInodes === 1 ? "frees" : "free";
  return `${formatQuantity(outsideInodes, "inode")} ${frees} nothing until their other names go too, which are outside the root or excluded`;
}

function siblingsText({ siblings, linkLimit }: RelinkSummary): string {
  if (siblings === 0) return "";
  return `${formatQuantity(siblings, "inode")} kept apart: the filesystem allows ${formatCount(linkLimit)} links to one`;
}

function leftText({ twiceInodes, foreignDirectories }: RelinkSummary): string {
  const parts = [
    twiceInodes > 0
      ? `${formatQuantity(twiceInodes, "inode")} reached twice, through a mount or a name that was moved meanwhile`
      : "",
    foreignDirectories > 0
      ? `${formatQuantity(foreignDirectories, "directory", "directories")} of other filesystems or mounts`
      : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}

/** What would be one if these attributes were not compared, in addition. */
function gainRows({ gains }: RelinkSummary): Row[] {
  return Object.entries(gains).map(([option, { inodes, bytes, unreadInodes, unreadBytes }]): Row => {
    const name = option === "all" ? "all --ignore-*" : `--ignore-${option}`;
    const sure = `${formatQuantity(inodes, "inode")} more, ${formatBytes(bytes)}`;
    if (unreadInodes === 0) return [name, sure];
    const perhaps = `at most ${formatBytes(unreadBytes)} in ${formatQuantity(unreadInodes, "inode")} not read`;
    return [name, inodes === 0 ? perhaps : `${sure}; ${perhaps}`];
  });
}

function whatNext({ outcome, dryRun, root }: RelinkSummary): string[] {
  if (dryRun) return ["Run the same command without --dry-run to do it."];
  const place = formatText(root);
  switch (outcome) {
    case "complete":
    case "partial":
      return [
        `Everything is on the disk: ${place} is safe to unmount and unplug.`,
        "To go on with what a copy had begun: dedupe migrate <its source> " + quoteForShell(root),
      ];
    case "failed":
    case "stopped":
      return [
        `What ${place} has is whole: every name leads to the content that it had.`,
        "To go on, run the same command again.",
      ];
  }
}

/** The closing report of `relink --undo`. */
import type { UndoSummary } from "./events.ts";
import { formatBytes, formatQuantity, formatText } from "./format.ts";
import type { ReasonCounts } from "./reasons.ts";
import { relinkHeadline } from "./relink-report.ts";
import { skippedText, table, type Row } from "./report-table.ts";

export function undoReport(summary: UndoSummary, reasons: ReasonCounts): string[] {
  return ["", relinkHeadline(summary), "", ...table(rows(summary, reasons)), "", ...whatNext(summary)];
}

function rows(summary: UndoSummary, reasons: ReasonCounts): Row[] {
  const { dryRun, loggedNames, restoredNames, otherNames, changedInodes, createdInodes } = summary;
  const all: Row[] = [
    ["log", `${formatQuantity(loggedNames, "name")} lost attributes to --ignore options`],
    [dryRun ? "would restore" : "restored", formatQuantity(restoredNames, "name")],
    ["in place", changedInodes === 0 ? "" : `${formatQuantity(changedInodes, "inode")}, all names alike`],
    [
      dryRun ? "would copy" : "copied",
      createdInodes === 0
        ? ""
        : `${formatQuantity(createdInodes, "inode")} for names of their own, ${formatBytes(summary.writtenBytes)}`,
    ],
    [
      "passed over",
      otherNames === 0 ? "" : `${formatQuantity(otherNames, "name")} gone, moved or replaced since`,
    ],
    ["skipped", skippedText(summary.failures, reasons)],
  ];
  return all.filter(([, text]) => text !== "");
}

function whatNext({ outcome, dryRun, root, otherNames }: UndoSummary): string[] {
  if (dryRun) return ["Run the same command without --dry-run to do it."];
  const place = formatText(root);
  const kept =
    otherNames === 0
      ? []
      : [
          "The log is kept for the names that were passed over: once they have their places again, run this again.",
        ];
  if (outcome === "complete")
    return [`Everything is on the disk: ${place} is safe to unmount and unplug.`, ...kept];
  return [
    `What ${place} has is whole: every name leads to the content that it had.`,
    "To go on, run the same command again.",
  ];
}

/** The summary of `dedupe stats` as a person reads it. */
import type { StatsSummary } from "./events.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatQuantity,
  formatText,
  quoteForShell,
} from "./format.ts";
import { bySignal, table, type Row } from "./report-table.ts";

/** `skipped`: what could not be read, with reasons. */
export function statsReport(summary: StatsSummary, skipped: string): string[] {
  const isWhole = summary.outcome === "complete" || summary.outcome === "partial";
  const rows: Row[] = [...(isWhole ? rowsOf(summary) : []), ["could not read", skipped]];
  const shown = rows.filter(([, text]) => text !== "");
  return [
    "",
    statsHeadline(summary),
    ...(shown.length === 0 ? [] : ["", ...table(shown)]),
    ...(isWhole ? whatNext(summary) : []),
  ];
}

export function statsHeadline({ outcome, elapsedMs, failures, exitCode }: StatsSummary): string {
  const time = `after ${formatDuration(elapsedMs)}`;
  switch (outcome) {
    case "complete":
      return `Finished ${time}.`;
    case "partial":
      return `Finished ${time}, but ${formatQuantity(failures, "entry", "entries")} could not be read: they are in no figure.`;
    case "failed":
      return `Failed ${time}.`;
    case "stopped":
      return `Stopped${bySignal(exitCode)} ${time}: without all names there are no figures.`;
  }
}

function rowsOf(summary: StatsSummary): Row[] {
  const { names, directories, inodes, bytes, aloneBytes } = summary;
  return [
    ["names", `${formatCount(names)}, ${formatQuantity(directories, "directory", "directories")} among them`],
    ["inodes", `${formatCount(inodes)}, directories not counted`],
    ["on the disk", `${formatBytes(bytes)}, of which ${formatBytes(aloneBytes)} in one snapshot alone`],
    ["links save", linksText(summary)],
    ["merging", mergedText(summary)],
    ["store", storeText(summary)],
    ["unnamed", unnamedText(summary)],
    ["if deleted", ifDeletedText(summary)],
    ["link limit", linkLimitText(summary)],
    ["elsewhere", elsewhereText(summary)],
    ["twice", twiceText(summary)],
  ];
}

function linksText({ plainBytes, contentBytes }: StatsSummary): string {
  const plain = `${formatBytes(plainBytes)} without hard links`;
  return `${formatBytes(plainBytes - contentBytes)}: ${formatBytes(contentBytes)} of content, ${plain}`;
}

function mergedText({ store, index, indexedInodes, mergedInodes, mergedBytes }: StatsSummary): string {
  if (store === "missing") return "";
  if (index === "read" && indexedInodes === 0) return "not known, as the index remembers no source";
  switch (index) {
    case "read":
      return `${formatBytes(mergedBytes)} of that: of ${formatQuantity(indexedInodes, "source inode")} in the index ${formatCount(mergedInodes)} became one with an equal`;
    case "missing":
      return "not known, as the index is not there (see --index)";
    case "damaged":
      return "not known, as the index is damaged";
    case "locked":
      return "not known, as another run is using the index";
  }
}

function storeText({ store, objects, siblings, storeBytes }: StatsSummary): string {
  switch (store) {
    case "missing":
      return "none (.dedupe is not there)";
    case "hidden":
      return "may not be read by this user: what is held alone is guessed from the link counts";
    case "read": {
      const more = siblings === 0 ? "" : `, ${formatQuantity(siblings, "sibling")} among them`;
      return `${formatQuantity(objects, "object")}${more}; ${formatBytes(storeBytes)} for itself`;
    }
  }
}

function unnamedText({ unnamedObjects, unnamedBytes }: StatsSummary): string {
  if (unnamedObjects === 0) return "";
  return `${formatQuantity(unnamedObjects, "object")} that no snapshot names any more, ${formatBytes(unnamedBytes)}: to be freed`;
}

function ifDeletedText({ ifDeleted }: StatsSummary): string {
  if (ifDeleted === undefined) return "";
  const { sets, snapshots, inodes, bytes, names } = ifDeleted;
  const what = `${formatText(sets.join(", "))} (${formatQuantity(snapshots, "snapshot")}, ${formatQuantity(names, "name")})`;
  return `${what} would free ${formatBytes(bytes)} in ${formatQuantity(inodes, "inode")}`;
}

function linkLimitText({ linkLimit, mostLinks, nearLimitInodes }: StatsSummary): string {
  if (linkLimit === 0) return `none is known here; the most links of one inode are ${formatCount(mostLinks)}`;
  const most = `${formatCount(mostLinks)} of ${formatCount(linkLimit)} links at most`;
  if (nearLimitInodes === 0) return most;
  return `${most}; ${formatQuantity(nearLimitInodes, "inode")} may pass the limit with the next snapshot`;
}

function elsewhereText({ elsewhereInodes, elsewhereBytes }: StatsSummary): string {
  if (elsewhereInodes === 0) return "";
  return `${formatQuantity(elsewhereInodes, "inode")} (${formatBytes(elsewhereBytes)}) with names outside, too: they stay whatever is deleted here`;
}

function twiceText({ twiceInodes }: StatsSummary): string {
  if (twiceInodes === 0) return "";
  return `${formatQuantity(twiceInodes, "inode")} reached twice through a mount: held alone by none`;
}

function whatNext({ store, target, brokenChains, merge, ignored = [] }: StatsSummary): string[] {
  const root = quoteForShell(target);
  const options = ignored.map((name) => `--ignore-${name} `).join("");
  const heal = [
    "Where a chain is broken the links between the same files may be lost. What healing it would free is said by",
    `  dedupe relink --dry-run ${options}${root}`,
    "and the same without --dry-run heals it.",
  ];
  const compact = [
    "The store holds what a deleted snapshot had until it is compacted:",
    `  dedupe compact ${root}`,
  ];
  // relink merges, which a store that is to keep the source's own groups alone refuses.
  const isHealable = brokenChains > 0 && merge !== "none";
  const parts = [...(isHealable ? heal : []), ...(store === "missing" ? [] : compact)];
  return parts.length === 0 ? [] : ["", ...parts];
}

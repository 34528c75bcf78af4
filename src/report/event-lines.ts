/** One event -> one line of text, the same words on the terminal and in the log file. */
import { compactPlanLine } from "./compact-report.ts";
import type { Event } from "./events.ts";
import { brokenChainLine, holdingLine, largestLine } from "./stats-lines.ts";
import { formatBytes, formatCount, formatPath, formatQuantity, formatText } from "./format.ts";

type Of<T extends Event["type"]> = Extract<Event, { type: T }>;

/** Events that are one line wherever they are shown; the others differ by listener. */
export type LineEvent = Exclude<
  Event,
  { type: "progress" | "relink-progress" | "compact-progress" | "error" | "summary" }
>;

/** `dryRun` as the start event said it. */
export function eventLine(event: LineEvent, dryRun: boolean): string {
  switch (event.type) {
    case "start":
      return startLine(event);
    case "notice":
      return noticeLine(event);
    case "plan":
      return planLine(event);
    case "snapshot":
      return snapshotLine(event, dryRun);
    case "loose":
      return looseLine(event, dryRun);
    case "relinked":
      return relinkedLine(event, dryRun);
    case "entry":
      return entryLine(event);
    case "failure":
      return failureLine(event);
    case "finding":
      return findingLine(event);
    case "affected":
      return `affected: ${formatPath(event.path)}`;
    case "compact-plan":
      return compactPlanLine(event);
    case "repaired":
      return repairedLine(event);
    case "unrepaired":
      return `not repaired: ${formatPath(event.path)}: ${formatText(event.message)} (${event.code})`;
    case "holding":
      return holdingLine(event);
    case "largest":
      return largestLine(event);
    case "broken-chain":
      return brokenChainLine(event);
  }
}

function startLine(event: Of<"start">): string {
  const workers = formatQuantity(event.jobs, "worker");
  const what = event.dryRun ? "dry run, nothing will be changed" : workers;
  switch (event.command) {
    case "migrate":
      return formatText(`migrate ${event.source} -> ${event.target} (${what})`);
    case "relink":
      return formatText(`relink ${event.root} (${what})`);
    case "compact":
      return formatText(`compact ${event.target} (${what})`);
    case "stats":
      return formatText(`stats ${event.target} (${workers})`);
    case "verify": {
      const against = event.source === undefined ? "" : ` against ${event.source}`;
      return formatText(`verify ${event.target}${against} (${workers})`);
    }
  }
}

function relinkedLine({ path, names, freedBytes }: Of<"relinked">, dryRun: boolean): string {
  const where = path.length === 0 ? "." : formatPath(path);
  const what = dryRun ? "would be linked" : "linked";
  const freed = `${formatBytes(freedBytes)} ${dryRun ? "would be freed" : "freed"}`;
  return `${where}  ${formatQuantity(names, "name")} ${what}  ${freed}`;
}

function repairedLine({ path, how, from, names }: Of<"repaired">): string {
  const what =
    how === "restored"
      ? `from ${formatPath(from)}, for ${formatQuantity(names, "name")} in the snapshots`
      : `named ${formatPath(from)}`;
  return `repaired: ${formatPath(path)}: ${what}`;
}

function noticeLine({ level, message }: Of<"notice">): string {
  return level === "warning" ? `warning: ${formatText(message)}` : formatText(message);
}

function planLine({ snapshots }: Of<"plan">): string {
  return `${formatQuantity(snapshots, "snapshot")} to look at`;
}

function snapshotLine(event: Of<"snapshot">, dryRun: boolean): string {
  const { path, index, total, names } = event;
  const parts = [
    `snapshot ${formatCount(index)} of ${formatCount(total)}`,
    formatPath(path),
    formatQuantity(names, "name"),
    snapshotNote(event, dryRun),
  ];
  return parts.filter((part) => part !== "").join("  ");
}

function looseLine(event: Of<"loose">, dryRun: boolean): string {
  const { path, names } = event;
  const where = path.length === 0 ? "beside the snapshots" : `beside the snapshots of ${formatPath(path)}`;
  return [where, formatQuantity(names, "name"), snapshotNote(event, dryRun)]
    .filter((part) => part !== "")
    .join("  ");
}

function snapshotNote({ state, failures }: Of<"snapshot"> | Of<"loose">, dryRun: boolean): string {
  switch (state) {
    case "new":
      return dryRun ? "would be made" : "";
    case "updated":
      return dryRun ? "would be updated" : "updated";
    case "unchanged":
      return "unchanged";
    case "incomplete": {
      const could = dryRun ? "could not be read" : "could not be handled";
      return `incomplete: ${formatQuantity(failures, "entry", "entries")} ${could}`;
    }
  }
}

function entryLine({ path, action }: Of<"entry">): string {
  return `${action.padEnd("directory".length)}  ${formatPath(path)}`;
}

function failureLine({ path, code, message }: Of<"failure">): string {
  // An errno message of the system calls may bring its code along.
  const text = formatText(message);
  const where = path.length === 0 ? "." : formatPath(path);
  return text.includes(code) ? `failed: ${where}: ${text}` : `failed: ${where}: ${text} (${code})`;
}

export type ErrorText = { message: string; hint?: string | undefined };

export function errorLines({ message, hint }: ErrorText): string[] {
  return [`dedupe: ${formatText(message)}`, ...(hint === undefined ? [] : [formatText(hint)])];
}

function findingLine({ path, class: name, isFinding, ...detail }: Of<"finding">): string {
  const word = isFinding ? "found" : "note";
  const about = detail.name === undefined ? name : `${name} (${formatPath(detail.name)})`;
  const values = [detail.source, detail.target].filter((value) => value !== undefined).map(valueText);
  const where = path.length === 0 ? "." : formatPath(path);
  return `${word}: ${about}: ${where}${values.length === 0 ? "" : `: ${values.join(" -> ")}`}`;
}

const valueText = (value: string | Buffer): string =>
  typeof value === "string" ? formatText(value) : formatPath(value);

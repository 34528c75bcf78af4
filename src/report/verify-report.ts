/** The summary of `dedupe verify` as a person reads it. */
import type { VerifySummary } from "./events.ts";
import { formatBytes, formatCount, formatDuration, formatQuantity, formatText } from "./format.ts";

type Row = [label: string, text: string];

/** `skipped`: what could not be read, with reasons. */
export function verifyReport(summary: VerifySummary, skipped: string): string[] {
  const rows = [...rowsOf(summary), ...countRows(summary), ["could not read", skipped] as Row];
  const shown = rows.filter(([, text]) => text !== "");
  const width = Math.max(...shown.map(([label]) => label.length));
  const table = shown.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`);
  return ["", verifyHeadline(summary), "", ...table, "", ...verdict(summary)];
}

export function verifyHeadline(summary: VerifySummary): string {
  const { outcome, elapsedMs, findings, failures, exitCode, unrepaired = 0 } = summary;
  const time = `after ${formatDuration(elapsedMs)}`;
  switch (outcome) {
    case "sound":
      return `Finished ${time}: nothing found.`;
    case "repaired":
      return `Finished ${time}: all that was found was repaired.`;
    case "findings":
      return sum(findings) === 0
        ? `Finished ${time}: ${formatQuantity(unrepaired, "object")} could not be repaired.`
        : `Finished ${time}: ${formatQuantity(sum(findings), "finding")}.`;
    case "partial":
      return `Finished ${time}, but ${formatQuantity(failures, "entry", "entries")} could not be read.`;
    case "failed":
      return `Failed ${time}.`;
    case "stopped":
      return `Stopped${signalName(exitCode)} ${time}: what was not looked at is not known.`;
  }
}

function signalName(exitCode: number): string {
  const name = { 129: "SIGHUP", 130: "SIGINT", 143: "SIGTERM" }[exitCode];
  return name === undefined ? "" : ` by ${name}`;
}

function rowsOf(summary: VerifySummary): Row[] {
  const read: Row = ["read", formatBytes(summary.readBytes)];
  switch (summary.mode) {
    case "store":
      return [...storeRows(summary), read];
    case "against":
      return [...againstRows(summary), read];
    case "certificate":
      return [["names", namesText(summary)], ["inodes", inodesText(summary)], read];
  }
}

function namesText({ names, directories }: VerifySummary): string {
  return `${formatCount(names)}, ${directoriesAmong(directories)}`;
}

const directoriesAmong = (count: number): string =>
  `${formatQuantity(count, "directory", "directories")} among them`;

function inodesText({ inodes, contentBytes }: VerifySummary): string {
  return `${formatCount(inodes)}, ${formatBytes(contentBytes)} of content`;
}

function storeRows(summary: VerifySummary): Row[] {
  const {
    objects,
    inodes,
    contentBytes,
    slice,
    quick,
    unnamedObjects,
    affectedNames,
    findings,
    failures,
    unrepaired = 0,
  } = summary;
  const part = slice === undefined ? "" : ` (part ${slice.number} of ${slice.of})`;
  const how =
    quick === true
      ? `attributes of ${formatCount(inodes)} checked, contents not read`
      : `${formatCount(inodes)} read again${part}, ${formatBytes(contentBytes)}`;
  const what = [
    ...(sum(findings) + unrepaired > 0 ? ["was found"] : []),
    ...(failures > 0 ? ["could not be read"] : []),
  ].join(" or ");
  return [
    ["objects", `${formatCount(objects)}: ${how}`],
    [
      "unused",
      unnamedObjects === 0 ? "" : `${formatQuantity(unnamedObjects, "object")} that no snapshot names`,
    ],
    ["names", namesText(summary)],
    ["in the store", formatQuantity(summary.knownNames, "name")],
    ["affected", affectedNames === 0 ? "" : `${formatQuantity(affectedNames, "name")} of what ${what}`],
    ["repaired", repairedText(summary)],
    ["not repaired", unrepaired === 0 ? "" : formatQuantity(unrepaired, "object")],
  ];
}

function repairedText({ repaired }: VerifySummary): string {
  if (repaired === undefined || repaired.objects === 0) return "";
  const names = `${formatQuantity(repaired.names, "name")} in the snapshots`;
  return `${formatQuantity(repaired.objects, "object")}, ${names}; ${formatBytes(repaired.bytes)} written`;
}

function againstRows(summary: VerifySummary): Row[] {
  const { names, directories, inodes, contentBytes, targetNames, targetInodes, mergedInodes } = summary;
  const shares = mergedInodes === 1 ? "shares an inode with its equal" : "share an inode with their equals";
  const merged = `${formatQuantity(mergedInodes, "source inode")} ${shares}`;
  return [
    [
      "source",
      `${formatQuantity(names, "name")}, ${directoriesAmong(directories)}; ${formatQuantity(inodes, "inode")}, ${formatBytes(contentBytes)}`,
    ],
    ["target", `${formatQuantity(targetNames, "name")}; ${formatQuantity(targetInodes, "inode")}`],
    ["merged", mergedInodes === 0 ? "" : merged],
  ];
}

function countRows({ findings, notes }: VerifySummary): Row[] {
  const list = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .sort(([, a], [, b]) => b - a)
      .map(([name, count]) => `${formatCount(count)} ${name}`)
      .join(", ");
  return [
    ["found", list(findings)],
    ["notes", list(notes)],
  ];
}

function verdict(summary: VerifySummary): string[] {
  switch (summary.outcome) {
    case "sound":
      return soundVerdict(summary);
    case "repaired":
      return [
        "What was repaired was read again and is durable. A disk that rots once rots again: see to it.",
      ];
    case "findings":
      return summary.mode === "store" ? storeVerdict(summary) : ["Keep the source: what is listed differs."];
    case "partial":
      return [
        "Nothing of what could be read is wrong. What could not be read is not known:",
        "see to it and run the same command again.",
      ];
    case "failed":
    case "stopped":
      return [];
  }
}

function storeVerdict({ repaired, source, unrepaired = 0 }: VerifySummary): string[] {
  if (repaired !== undefined && source === undefined && unrepaired > 0)
    return [
      "What no other copy here allows to repair may be restored from the source: add --against SOURCE,",
      "or run migrate --checksum, which brings back what a program wrote to, too.",
    ];
  return [
    "Do not rely on what is listed: restore it from another copy, or run migrate --checksum from the source.",
    ...(repaired === undefined ? ["What has a copy on the target can be put right: verify --repair."] : []),
  ];
}

function soundVerdict(summary: VerifySummary): string[] {
  const { mode, quick, slice, certificate, source } = summary;
  if (mode === "certificate") return ["The tree is what the certificate says."];
  if (mode === "against") {
    const written = certificate === undefined ? [] : [formatText(`Certificate: ${certificate}`)];
    return [formatText(`The target holds all that ${source ?? "the source"} has, as it has it.`), ...written];
  }
  if (quick === true) return ["The store is sound as far as can be told without reading contents."];
  if (slice !== undefined) return ["This part of the store is sound."];
  return ["The store is sound: every object is what its name says."];
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((a, b) => a + b, 0);

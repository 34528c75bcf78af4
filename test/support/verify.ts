import type { VerifySummary } from "../../src/report/events.ts";
import { dedupe, type JsonEvent, type Run, type RunSettings } from "./dedupe.ts";

export type VerifyRun = Run & {
  readonly events: readonly JsonEvent[];
  readonly summary: VerifySummary;
  /** "class path" of each finding, sorted; notes are left out. */
  readonly found: readonly string[];
  readonly noted: readonly string[];
};

/** `dedupe verify --json`, its events parsed; the summary is the last of them. */
export function verify(args: readonly string[], settings: RunSettings = {}): VerifyRun {
  const run = dedupe(["verify", "--json", "--no-progress", ...args], settings);
  const lines = run.out.split("\n").filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line) as JsonEvent);
  const list = (isFinding: boolean): string[] =>
    events
      .filter((event) => event.type === "finding" && event["isFinding"] === isFinding)
      .map((event) => `${String(event["class"])} ${textOf(event["path"])}`)
      .sort();
  const summary = events.at(-1) as unknown as VerifySummary;
  return { ...run, events, summary, found: list(true), noted: list(false) };
}

/** A path that is no UTF-8 as latin1. */
function textOf(path: unknown): string {
  if (typeof path === "string") return path === "" ? "." : path;
  return Buffer.from((path as { bytes: string }).bytes, "base64").toString("latin1");
}

export function against(source: string, target: string, ...options: readonly string[]): VerifyRun {
  return verify([...options, "--against", source, target]);
}

/** JSON Lines: one event a line, the schema in docs/cli.md. */
import { isUtf8 } from "node:buffer";
import type { Event, Reporter } from "./events.ts";
import { createLineBuffer } from "./line-buffer.ts";

/** A path that is no UTF-8 has no faithful JSON string. */
export type JsonPath = string | { bytes: string };

export type JsonVerbosity = {
  entries: boolean;
  progress: boolean;
  /** Failures, errors and the summary alone. */
  errorsOnly: boolean;
};

/** Counters for scripts: one event a second is plenty. */
const progressEveryMs = 1000;

/** `write` takes whole lines; an event other than `entry` is written at once. */
export function createJsonReporter(write: (text: string) => void, verbosity: JsonVerbosity): Reporter {
  const lines = createLineBuffer(write);
  const due = createThrottle();
  return {
    emit(event) {
      const isDue = !isProgress(event) || due(event.elapsedMs);
      const wanted = isWanted(event, verbosity) && isDue;
      if (wanted) lines.add(toJson(event));
      if (event.type !== "entry") lines.flush();
    },
    close() {
      lines.flush();
      return Promise.resolve();
    },
  };
}

function isWanted({ type }: Event, { entries, progress, errorsOnly }: JsonVerbosity): boolean {
  if (type === "failure" || type === "error" || type === "summary") return true;
  if (type === "finding" || type === "repaired" || type === "unrepaired") return true;
  if (errorsOnly) return false;
  if (type === "entry") return entries;
  return !isProgress({ type }) || progress;
}

type ProgressType = "progress" | "relink-progress" | "compact-progress";

export function isProgress<T extends Pick<Event, "type">>(
  event: T,
): event is Extract<T, { type: ProgressType }> {
  return event.type === "progress" || event.type === "relink-progress" || event.type === "compact-progress";
}

function createThrottle(): (elapsedMs: number) => boolean {
  let nextMs = 0;
  return (elapsedMs) => {
    if (elapsedMs < nextMs) return false;
    nextMs = elapsedMs + progressEveryMs;
    return true;
  };
}

/** Its type comes first. */
export function toJson({ type, ...event }: Event): string {
  const fields = Object.entries(event).map(([key, value]: [string, unknown]): [string, unknown] => [
    key,
    toPlain(key, value),
  ]);
  return JSON.stringify({ type, ...Object.fromEntries(fields) });
}

/** Only the fields of an event hold bytes, never something nested. */
function toPlain(key: string, value: unknown): unknown {
  if (key === "elapsedMs" && typeof value === "number") return Math.round(value);
  return Buffer.isBuffer(value) ? toPath(value) : value;
}

function toPath(path: Buffer): JsonPath {
  return isUtf8(path) ? path.toString("utf8") : { bytes: path.toString("base64") };
}

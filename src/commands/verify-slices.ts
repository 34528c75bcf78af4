import { isSysError } from "../sys/errors.ts";
import { openDirectory, readFile, writeFileDurably } from "../sys/files.ts";
import type { VerifyRun } from "./verify-run.ts";
import type { ReadStore } from "./verify-target.ts";

const NAME = "verify-slices.json";

type Slice = { number: number; of: number };

/** What became of a slice: read to its end, but for so many entries; until then it counts as given up. */
export type SliceTurn = { type: "read"; failures: number } | { type: "stopped" };

/** Of one division of the store, by the number of a slice. Times are ISO 8601. */
export type SliceRecord = {
  of: number;
  /** When it was last read to its end. */
  done: Record<string, string>;
  /** Entries that could not be read then. */
  failures: Record<string, number>;
  /** When it was begun since and not read to its end: the last two times. */
  stopped: Record<string, string[]>;
};

/** The slice as asked for; of "next" the one whose turn it is. */
export function chosenSlice(
  run: VerifyRun,
  store: ReadStore,
  slice: { number: number | "next"; of: number } | undefined,
): Slice | undefined {
  if (slice === undefined) return undefined;
  const { number, of } = slice;
  return { number: number === "next" ? nextNumber(readRecord(run, store, of)) : number, of };
}

/**
 * The first that was never read, else the one that was read longest ago. One that was stopped is tried once more, and
 * then comes after all others: a slice that cannot be read to its end in the time there is must not keep them away.
 */
export function nextNumber({ of, done, stopped }: SliceRecord): number {
  const turns = Array.from({ length: of }, (_, at) => stopped[at + 1]?.[1] ?? done[at + 1] ?? "");
  return turns.indexOf(turns.reduce((a, b) => (a <= b ? a : b))) + 1;
}

/** A record that cannot be read says nothing. */
function readRecord({ kernel, startedAt }: VerifyRun, { fd }: ReadStore, of: number): SliceRecord {
  try {
    const logFd = openDirectory(kernel, fd, "log");
    try {
      return parseRecord(readFile(kernel, logFd, NAME), of, startedAt);
    } finally {
      kernel.sys.close(logFd);
    }
  } catch (error) {
    if (!isSysError(error)) throw error;
    return parseRecord(undefined, of, startedAt);
  }
}

/** Remembers what became of the slice, where the medium lets it, and says how far the round is. */
export function recordSlice(run: VerifyRun, store: ReadStore, slice: Slice, turn: SliceTurn): void {
  const { reporter } = run.context;
  const tell = (level: "info" | "warning", code: string, message: string): void => {
    reporter.emit({ type: "notice", level, code, message });
  };
  const record = withTurn(readRecord(run, store, slice.of), slice.number, { turn, at: run.startedAt });
  try {
    const logFd = openDirectory(run.writer, store.fd, "log");
    try {
      writeFileDurably(run.writer, logFd, NAME, Buffer.from(`${JSON.stringify(record, null, 2)}\n`));
    } finally {
      run.writer.sys.close(logFd);
    }
    if (turn.type === "read") tell("info", "SLICES", progressText(record));
  } catch (error) {
    if (!isSysError(error)) throw error;
    if (turn.type === "stopped") return;
    tell("warning", "SLICE_NOT_RECORDED", `that this part was read could not be recorded: ${error.message}`);
  }
}

export function withTurn(
  { of, done, failures, stopped }: SliceRecord,
  number: number,
  { turn, at }: { turn: SliceTurn; at: Date },
): SliceRecord {
  const time = at.toISOString();
  if (turn.type === "stopped") {
    const times = [...(stopped[number] ?? []), time].slice(-2);
    return { of, done, failures, stopped: { ...stopped, [number]: times } };
  }
  const others = without(failures, number);
  return {
    of,
    done: { ...done, [number]: time },
    failures: turn.failures > 0 ? { ...others, [number]: turn.failures } : others,
    stopped: without(stopped, number),
  };
}

function without<T>(of: Record<string, T>, number: number): Record<string, T> {
  return Object.fromEntries(Object.entries(of).filter(([each]) => each !== String(number)));
}

function progressText({ of, done, failures }: SliceRecord): string {
  const times = Object.values(done);
  const oldest = times.reduce((a, b) => (a < b ? a : b));
  const rest = times.length === of ? `the oldest was read on ${oldest}` : "the others are still to come";
  const parts = Object.keys(failures).length;
  const but = parts === 0 ? "" : ` (${String(parts)} but for entries that could not be read)`;
  return `${String(times.length)} of ${String(of)} parts have been read${but}; ${rest}`;
}

/** A record of another division, or a damaged one, says nothing; neither does what cannot be true by `now`. */
export function parseRecord(content: Buffer | undefined, of: number, now: Date): SliceRecord {
  const found = parse(content);
  const { done, failures, stopped } = found["of"] === of ? found : {};
  const isTime = (value: unknown): value is string =>
    typeof value === "string" && new Date(value) <= now && new Date(value).toISOString() === value;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) > 0;
  const areTimes = (value: unknown): value is string[] => Array.isArray(value) && value.every(isTime);
  const times = ofSlices(done, of, isTime);
  const counts = ofSlices(failures, of, isCount);
  const read = Object.entries(counts).filter(([number]) => number in times);
  return { of, done: times, failures: Object.fromEntries(read), stopped: ofSlices(stopped, of, areTimes) };
}

function parse(content: Buffer | undefined): Record<string, unknown> {
  try {
    return fieldsOf(JSON.parse(content?.toString() ?? "null"));
  } catch {
    return {};
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** What a record says of each slice, where it makes sense. */
function ofSlices<T>(value: unknown, of: number, isSound: (value: unknown) => value is T): Record<string, T> {
  const fields = fieldsOf(value);
  const numbers = Array.from({ length: of }, (_, at) => String(at + 1));
  return Object.fromEntries(
    numbers.flatMap((number): [string, T][] => {
      const field = fields[number];
      return isSound(field) ? [[number, field]] : [];
    }),
  );
}

import { parentAndName } from "../tree/path.ts";
import type { Unit } from "../tree/snapshots.ts";

/** A set as typed: a name, a range `daily.20..daily.29`, or a pattern. */
export type Chosen = {
  isChosen: boolean[];
  /** Those sets that name nothing. */
  nothing: string[];
};

/** `matcher` makes a pattern into a test of a path from the root. */
export function chooseUnits(
  units: readonly Unit[],
  sets: readonly string[],
  matcher: (pattern: string) => (path: Buffer) => boolean,
): Chosen {
  const isChosen = units.map(() => false);
  const nothing: string[] = [];
  for (const set of sets) {
    const chosen = positions(units, set, matcher);
    if (chosen.length === 0) nothing.push(set);
    for (const at of chosen) isChosen[at] = true;
  }
  return { isChosen, nothing };
}

/** A name stands for itself before it is a range, and a range before it is a pattern. */
function positions(
  units: readonly Unit[],
  set: string,
  matcher: (pattern: string) => (path: Buffer) => boolean,
): number[] {
  const typed = Buffer.from(set.replace(/(.)\/+$/, "$1"));
  const where = (test: (unit: Unit) => boolean): number[] =>
    units.flatMap((unit, at) => (unit.type !== "loose" && test(unit) ? [at] : []));
  const exact = where(({ path }) => path.equals(typed));
  if (exact.length > 0) return exact;
  const range = /^(.+)\.\.(.+)$/.exec(set);
  if (range !== null) {
    const inRange = rangeTest(range[1] ?? "", range[2] ?? "");
    return where(({ type, path }) => type === "snapshot" && inRange(path));
  }
  const matches = matcher(set);
  return where(({ type, path }) => type === "snapshot" && matches(path));
}

/**
 * From one to the other, both included, in either order: by number where both end with one after the same beginning
 * (the second may be the number alone), else by name.
 */
function rangeTest(first: string, last: string): (path: Buffer) => boolean {
  const from = split(bytesAsText(first));
  const to = split(/^\d+$/.test(last) && from.number >= 0 ? `${from.head}${last}` : bytesAsText(last));
  if (from.head === to.head && from.number >= 0 && to.number >= 0) {
    const [least, most] = [Math.min(from.number, to.number), Math.max(from.number, to.number)];
    return (path) => {
      const { head, number } = split(path.toString("latin1"));
      return head === from.head && number >= least && number <= most;
    };
  }
  const [a, b] = [parentAndName(Buffer.from(first)), parentAndName(Buffer.from(last))];
  const container = b.parent.length === 0 ? a.parent : b.parent;
  const [low, high] = a.name.compare(b.name) <= 0 ? [a.name, b.name] : [b.name, a.name];
  return (path) => {
    const { parent, name } = parentAndName(path);
    return (
      container.equals(a.parent) &&
      parent.equals(container) &&
      name.compare(low) >= 0 &&
      name.compare(high) <= 0
    );
  };
}

const bytesAsText = (typed: string): string => Buffer.from(typed).toString("latin1");

/** `host/daily.` and 3, as latin1; -1: no number. A date is a name: its last part is no count. */
function split(text: string): { head: string; number: number } {
  const match = /^(.*[A-Za-z_-]\.)(\d{1,9})$/s.exec(text);
  return match === null ? { head: text, number: -1 } : { head: match[1] ?? "", number: Number(match[2]) };
}

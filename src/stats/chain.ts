import type { Unit } from "../tree/snapshots.ts";
import { parentAndName } from "../tree/path.ts";

/** A unit in the order in which snapshots were made, newest first. */
export type Link = {
  unit: Unit;
  /** The next one is the snapshot made before this one. */
  hasNeighbour: boolean;
};

/** `daily.` and 3; a date, or any other name, has no number. */
type Place = { container: string; chain: string; series: string; number: number; name: Buffer };

/** rsnapshot rotates the last of a series into the next longer one: these are one chain. Other series have no kin. */
const intervals = new Set(
  [
    ...["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "annually"],
    ...["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"],
  ].map((name) => `${name}.`),
);

/**
 * The units of a plan with each snapshot beside the one that was made before it: by container, then the chain and the
 * series (hourly, daily) whose first is newest, then by number, or by name where that is a date. Other units follow as
 * they are.
 */
export function orderUnits(units: readonly Unit[]): Link[] {
  const snapshots = units.filter(({ type }) => type === "snapshot");
  const places = new Map(snapshots.map((unit) => [unit, placeOf(unit)]));
  const place = (unit: Unit): Place => places.get(unit) as Place;
  const newest = new Map<string, bigint>();
  for (const unit of snapshots) {
    for (const key of keysOf(place(unit)))
      if (unit.mtimeNs > (newest.get(key) ?? -1n << 63n)) newest.set(key, unit.mtimeNs);
  }
  const byNewest = (a: string, b: string): number => {
    const [left = 0n, right = 0n] = [newest.get(a), newest.get(b)];
    return left === right ? (a < b ? -1 : a > b ? 1 : 0) : left > right ? -1 : 1;
  };
  const ordered = [...snapshots].sort((left, right) => {
    const [a, b] = [place(left), place(right)];
    return (
      keysOf(a).reduce((order, key, at) => order || byNewest(key, keysOf(b)[at] as string), 0) ||
      a.number - b.number ||
      b.name.compare(a.name)
    );
  });
  const links = ordered.map((unit, at): Link => {
    const next = ordered[at + 1];
    return { unit, hasNeighbour: next !== undefined && chainOf(place(next)) === chainOf(place(unit)) };
  });
  const others = units.filter(({ type }) => type !== "snapshot");
  return [...links, ...others.map((unit): Link => ({ unit, hasNeighbour: false }))];
}

function placeOf({ path }: Unit): Place {
  const { parent, name } = parentAndName(path);
  const text = name.toString("latin1");
  const numbered = /^(.*[^0-9])(\d{1,9})$/.exec(text);
  const isNumbered = numbered !== null && /^[A-Za-z][A-Za-z_-]*\.$/.test(numbered[1] ?? "");
  const series = isNumbered ? (numbered[1] ?? "") : (/^\D*/.exec(text)?.[0] ?? "");
  const number = isNumbered ? Number(numbered[2]) : 0;
  const chain = intervals.has(series.toLowerCase()) ? "" : series;
  return { container: parent.toString("latin1"), chain, series, number, name };
}

const chainOf = ({ container, chain }: Place): string => `${container}/${chain}`;

/** What snapshots are grouped by, the outermost first. */
function keysOf(place: Place): string[] {
  return [place.container, chainOf(place), `${chainOf(place)}/${place.series}`];
}

/**
 * rsync's wildcards over bytes: `?` and `[...]` take one byte, `*` a run of bytes, neither a slash; `**` takes
 * any run. `***` is `**` here: what makes it special is the text it is run over (filter-pattern.ts).
 *
 * No recursion, so that no pattern can make it exponential. Two places to resume from are enough: an earlier
 * `*` can do nothing that the last one cannot, because it ends before the same slash, and an earlier `**`
 * nothing at all, because the last one takes whatever it would.
 */
import { namedByteClass } from "./filter-byte-class.ts";

export type Wildcard = {
  /** A byte value, or one of the negative codes below. */
  readonly steps: Int32Array;
  /** A `[...]` as a table of 256 flags; step `firstSet - n` is the nth. */
  readonly sets: readonly Uint8Array[];
};

/** The part of a path to look at: index -1 and index `length` stand for a slash before and after it. */
export type Span = { readonly start: number; readonly end: number };

const anyByte = -1;
const star = -2;
const starStar = -3;
const firstSet = -4;

const slash = 0x2f;
const byte = (character: string): number => character.charCodeAt(0);
const escape = byte("\\");
const open = byte("[");
const close = byte("]");
const dash = byte("-");
const colon = byte(":");

export function compileWildcard(pattern: Uint8Array): Wildcard {
  const steps: number[] = [];
  const sets: Uint8Array[] = [];
  const addSet = (set: Uint8Array): void => {
    steps.push(firstSet - sets.length);
    sets.push(set);
  };
  for (let at = 0; at < pattern.length;) {
    const current = pattern[at] ?? 0;
    if (current === byte("?")) steps.push(anyByte);
    else if (current === byte("*")) {
      const last = endOfStars(pattern, at);
      steps.push(last === at ? star : starStar);
      at = last;
    } else if (current === escape && at + 1 < pattern.length) steps.push(pattern[++at] ?? 0);
    else if (current === escape) addSet(new Uint8Array(256));
    else if (current === open) {
      const read = readSet(pattern, at + 1);
      addSet(read.set);
      at = read.last;
    } else steps.push(current);
    at += 1;
  }
  return { steps: Int32Array.from(steps), sets };
}

function endOfStars(pattern: Uint8Array, start: number): number {
  let at = start;
  while (pattern[at + 1] === byte("*")) at += 1;
  return at;
}

/** A set that is never closed, or names an unknown class, matches nothing, and so does the pattern it is in. */
function readSet(pattern: Uint8Array, start: number): { set: Uint8Array; last: number } {
  const inverted = pattern[start] === byte("!") || pattern[start] === byte("^");
  const set = new Uint8Array(256).fill(inverted ? 1 : 0);
  const first = inverted ? start + 1 : start;
  let rangeFrom: number | undefined;
  let at = first;
  // A "]" in first place is a member.
  while (at === first || pattern[at] !== close) {
    const member = readMember(pattern, at, rangeFrom);
    if (member === undefined) return { set: new Uint8Array(256), last: pattern.length };
    for (const one of member.bytes) set[one] = inverted ? 0 : 1;
    rangeFrom = member.rangeFrom;
    at = member.next;
  }
  set[slash] = 0;
  return { set, last: at };
}

type Member = { bytes: readonly number[]; rangeFrom: number | undefined; next: number };

function readMember(pattern: Uint8Array, at: number, rangeFrom: number | undefined): Member | undefined {
  const current = pattern[at];
  const following = pattern[at + 1];
  if (current === undefined) return undefined;
  if (current === escape) return single(following, at + 2);
  if (current === dash && rangeFrom !== undefined && following !== undefined && following !== close) {
    const to = following === escape ? single(pattern[at + 2], at + 3) : single(following, at + 2);
    return to && { ...to, bytes: range(rangeFrom, to.rangeFrom ?? 0), rangeFrom: undefined };
  }
  if (current === open && following === colon) return readClass(pattern, at);
  return single(current, at + 1);
}

function single(value: number | undefined, next: number): Member | undefined {
  return value === undefined ? undefined : { bytes: [value], rangeFrom: value, next };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}

function readClass(pattern: Uint8Array, at: number): Member | undefined {
  const end = pattern.indexOf(close, at + 2);
  if (end < 0) return undefined;
  if (end === at + 2 || pattern[end - 1] !== colon) return single(open, at + 1);
  const bytes = namedByteClass(Buffer.from(pattern.subarray(at + 2, end - 1)).toString("latin1"));
  return bytes && { bytes, rangeFrom: undefined, next: end + 1 };
}

export function matchesWildcard({ steps, sets }: Wildcard, text: Uint8Array, { start, end }: Span): boolean {
  let step = 0;
  let at = start;
  let starStep = -1;
  let starAt = start;
  let deepStep = -1;
  let deepAt = start;
  for (;;) {
    const wanted = steps[step];
    if (wanted === star) {
      starStep = ++step;
      starAt = at;
    } else if (wanted === starStar) {
      deepStep = ++step;
      deepAt = at;
      starStep = -1;
      if (deepStep === steps.length) return true;
    } else if (at >= end) {
      // Resuming further right leaves even less text for the same steps.
      return wanted === undefined;
    } else if (wanted !== undefined && accepts(sets, wanted, byteAt(text, at))) {
      step += 1;
      at += 1;
    } else if (starStep >= 0 && byteAt(text, starAt) !== slash) {
      step = starStep;
      at = ++starAt;
    } else if (deepStep >= 0) {
      // Where a `*` ran into a slash, every start before the next slash leads to the same failure.
      deepAt = starStep < 0 ? deepAt + 1 : nextSlash(text, { start: deepAt + 1, end });
      starStep = -1;
      step = deepStep;
      at = deepAt;
    } else return false;
  }
}

function accepts(sets: readonly Uint8Array[], wanted: number, given: number): boolean {
  if (wanted >= 0) return wanted === given;
  if (wanted === anyByte) return given !== slash;
  return sets[firstSet - wanted]?.[given] === 1;
}

function byteAt(text: Uint8Array, at: number): number {
  return at < 0 ? slash : (text[at] ?? slash);
}

function nextSlash(text: Uint8Array, { start, end }: Span): number {
  let at = start;
  while (at < end && byteAt(text, at) !== slash) at += 1;
  return at;
}

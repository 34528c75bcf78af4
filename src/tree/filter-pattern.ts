/**
 * One pattern of rsync's filter language against one path. What a pattern is compared with depends on its shape:
 * without a slash and `**` on the last name alone; with a leading slash on the whole path; with slashes inside
 * on as many last names as it has itself; with `**` from every name on. Most rules are plain names or `*.o`:
 * those are compared without running a wildcard.
 */
import { compileWildcard, matchesWildcard } from "./filter-wildcard.ts";
import type { Wildcard } from "./filter-wildcard.ts";

export type PathPattern =
  | { readonly type: "name" | "name-end" | "path" | "path-end"; readonly bytes: Uint8Array }
  | {
      readonly type: "wildcard";
      readonly wildcard: Wildcard;
      readonly over: WildcardText;
      /** A final `***` also takes the directory itself: a slash is put after its path. */
      readonly closesDirectories: boolean;
    };

/** "slash-path": the path with a slash before it. */
type WildcardText =
  { readonly type: "name" | "path" | "slash-path" } | { readonly type: "last-names"; readonly names: number };

export type Subject = {
  /** Relative to the root, no slash at either end. */
  readonly path: Uint8Array;
  readonly nameStart: number;
  readonly kind: "directory" | "other";
};

const slash = 0x2f;
const star = 0x2a;

/** `pattern` is without the trailing slash that limits it to directories. */
export function compilePattern(pattern: Uint8Array): PathPattern {
  const text = Buffer.from(pattern).toString("latin1");
  const anchored = text.startsWith("/");
  const bytes = anchored ? pattern.slice(1) : pattern;
  if (/[*?[]/.test(text)) return compileWild(text, bytes);
  if (anchored) return { type: "path", bytes };
  return { type: text.includes("/") ? "path-end" : "name", bytes };
}

function compileWild(text: string, bytes: Uint8Array): PathPattern {
  const slashes = text.split("/").length - 1;
  const deep = text.includes("**");
  if (!deep && slashes === 0 && /^\*[^*?[\\]*$/.test(text))
    return { type: "name-end", bytes: bytes.slice(1) };
  const over = wildcardText(text, { slashes, deep });
  // "At the start or after any slash" is what `**/` says of a path with a slash before it.
  const search = over.type === "slash-path" && !text.startsWith("**");
  const wildcard = compileWildcard(search ? Uint8Array.from([star, star, slash, ...bytes]) : bytes);
  return { type: "wildcard", wildcard, over, closesDirectories: text.endsWith("***") };
}

function wildcardText(text: string, { slashes, deep }: { slashes: number; deep: boolean }): WildcardText {
  if (text.startsWith("/")) return { type: "path" };
  if (deep) return { type: "slash-path" };
  return slashes === 0 ? { type: "name" } : { type: "last-names", names: slashes + 1 };
}

export function subjectOf(path: Uint8Array, kind: Subject["kind"]): Subject {
  return { path, nameStart: path.lastIndexOf(slash) + 1, kind };
}

export function matchesPattern(pattern: PathPattern, subject: Subject): boolean {
  const { path, nameStart } = subject;
  switch (pattern.type) {
    case "name":
      return path.length - nameStart === pattern.bytes.length && endsWith(path, pattern.bytes);
    case "name-end":
      return path.length - nameStart >= pattern.bytes.length && endsWith(path, pattern.bytes);
    case "path":
      return path.length === pattern.bytes.length && endsWith(path, pattern.bytes);
    case "path-end":
      return endsWith(path, pattern.bytes) && startsName(path, path.length - pattern.bytes.length);
    case "wildcard": {
      const start = startOf(pattern.over, subject);
      if (start === undefined) return false;
      const closed = pattern.closesDirectories && subject.kind === "directory";
      return matchesWildcard(pattern.wildcard, path, { start, end: path.length + (closed ? 1 : 0) });
    }
  }
}

function startOf(over: WildcardText, { path, nameStart }: Subject): number | undefined {
  switch (over.type) {
    case "name":
      return nameStart;
    case "path":
      return 0;
    case "slash-path":
      return -1;
    case "last-names":
      return startOfLastNames(path, over.names);
  }
}

/** Undefined: the path has fewer names. */
function startOfLastNames(path: Uint8Array, names: number): number | undefined {
  let missing = names;
  for (let at = path.length - 1; at >= 0; at -= 1) {
    if (path[at] === slash && --missing === 0) return at + 1;
  }
  return missing === 1 ? 0 : undefined;
}

function startsName(path: Uint8Array, at: number): boolean {
  return at === 0 || path[at - 1] === slash;
}

function endsWith(path: Uint8Array, end: Uint8Array): boolean {
  const offset = path.length - end.length;
  if (offset < 0) return false;
  for (let at = end.length - 1; at >= 0; at -= 1) {
    if (path[offset + at] !== end[at]) return false;
  }
  return true;
}

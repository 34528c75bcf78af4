import { getgid, getuid } from "node:process";
import { runPython } from "./python.ts";

/**
 * A tree as a literal, and back:
 *
 *     const tree = { "daily.0/a": file("x"), "daily.1/a": linkTo("daily.0/a"), "daily.1/empty": directory() };
 *     makeTree(source, tree);
 *     expect(readTree(target)).toEqual(tree);
 *
 * Every attribute that is not given has a default, is set, and is compared. Directories that hold something and
 * have the defaults need not be named, the root "." neither. Of the names of one inode the first (directory by
 * directory, in byte order) is the entry, the others link to it. A byte that is no UTF-8 is written as a lone
 * surrogate: 0xFF is "\udcff", in names, contents, targets and xattr values alike.
 */
export type Tree = Readonly<Record<string, Entry>>;

export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly xattrs: Readonly<Record<string, string>>;
}

type LinkAttributes = Omit<Attributes, "mode">;

export type Entry =
  | ({ readonly type: "file"; readonly content: string } & Attributes)
  | ({ readonly type: "sparse"; readonly pieces: readonly (number | string)[] } & Attributes)
  | ({ readonly type: "directory" } & Attributes)
  | ({ readonly type: "symlink"; readonly target: string } & LinkAttributes)
  | ({ readonly type: "fifo" } & Attributes)
  | ({ readonly type: "socket" } & Attributes)
  | ({ readonly type: "character" | "block"; readonly major: number; readonly minor: number } & Attributes)
  | { readonly type: "link"; readonly to: string };

/** What a file, directory or symlink has where nothing else is said. */
export const defaultMtimeNs = 1_700_000_000_123_456_789n;

export function file(content: string | Uint8Array, attributes: Partial<Attributes> = {}): Entry {
  return { type: "file", content: textOf(content), ...withDefaults(0o644, attributes) };
}

/**
 * Pieces one after the other: a number is a hole of so many bytes, anything else is data. It reads back as the
 * same only where holes and data begin at multiples of 4,096.
 */
export function sparse(
  pieces: readonly (number | string | Uint8Array)[],
  attributes: Partial<Attributes> = {},
): Entry {
  const texts = pieces.map((piece) => (typeof piece === "number" ? piece : textOf(piece)));
  return { type: "sparse", pieces: texts, ...withDefaults(0o644, attributes) };
}

export function directory(attributes: Partial<Attributes> = {}): Entry {
  return { type: "directory", ...withDefaults(0o755, attributes) };
}

export function symlink(target: string, attributes: Partial<LinkAttributes> = {}): Entry {
  const { uid, gid, mtimeNs, xattrs } = withDefaults(0, attributes);
  return { type: "symlink", target, uid, gid, mtimeNs, xattrs };
}

export function fifo(attributes: Partial<Attributes> = {}): Entry {
  return { type: "fifo", ...withDefaults(0o644, attributes) };
}

export function socket(attributes: Partial<Attributes> = {}): Entry {
  return { type: "socket", ...withDefaults(0o644, attributes) };
}

export function device(
  kind: "c" | "b",
  major: number,
  minor: number,
  attributes: Partial<Attributes> = {},
): Entry {
  const type = kind === "c" ? "character" : "block";
  return { type, major, minor, ...withDefaults(0o644, attributes) };
}

/** A further name of the inode at this path of the tree. */
export function linkTo(path: string): Entry {
  return { type: "link", to: path };
}

/** Makes the entries in the folder, which is made if need be, and returns them. */
export function makeTree<T extends Tree>(root: string, tree: T): T {
  const named = new Map<string, Entry>(Object.entries(tree));
  for (const path of ["./x", ...named.keys()]) {
    for (const parent of parentsOf(path)) if (!named.has(parent)) named.set(parent, directory());
  }
  const entries = [...named].map(([path, entry]) => toWire(path, entry));
  const ordered = [...entries.filter(isNoLink), ...entries.filter((entry) => !isNoLink(entry))];
  const input = JSON.stringify(ordered, (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
  runPython("tree.py", { args: ["make", root], input });
  return tree;
}

/** All but a top-level `.dedupe` and an empty `lost+found`. */
export function readTree(root: string): Tree {
  const entries = JSON.parse(runPython("tree.py", { args: ["read", root] })) as WireEntry[];
  const named = new Map(entries.map((wire) => [wire.path, fromWire(wire)]));
  const plain = JSON.stringify(comparable(directory()));
  for (const path of parentsOfAll(named.keys())) {
    const entry = named.get(path);
    if (entry !== undefined && JSON.stringify(comparable(entry)) === plain) named.delete(path);
  }
  return Object.fromEntries(named);
}

interface WireEntry {
  readonly path: string;
  readonly type: Exclude<Entry["type"], "sparse">;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeNs?: string | bigint;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly size?: number;
  readonly data?: readonly (readonly [number, string])[];
  readonly target?: string;
  readonly to?: string;
  readonly major?: number;
  readonly minor?: number;
}

function toWire(path: string, entry: Entry): WireEntry {
  switch (entry.type) {
    case "file": {
      const { content, ...rest } = entry;
      return { ...rest, path, size: byteLength(content), data: content === "" ? [] : [[0, content]] };
    }
    case "sparse": {
      const { pieces, ...rest } = entry;
      return { ...rest, path, type: "file", ...laidOut(pieces) };
    }
    case "directory":
    case "symlink":
    case "fifo":
    case "socket":
    case "character":
    case "block":
    case "link":
      return { ...entry, path };
  }
}

function laidOut(pieces: readonly (number | string)[]): { size: number; data: [number, string][] } {
  const data: [number, string][] = [];
  let size = 0;
  for (const piece of pieces) {
    if (typeof piece === "string") data.push([size, piece]);
    size += typeof piece === "string" ? byteLength(piece) : piece;
  }
  return { size, data };
}

function fromWire(wire: WireEntry): Entry {
  const { type, mode = 0, uid = 0, gid = 0, xattrs = {}, size = 0, data = [] } = wire;
  const attributes = { uid, gid, mtimeNs: BigInt(wire.mtimeNs ?? 0), xattrs };
  switch (type) {
    case "link":
      return linkTo(wire.to ?? "");
    case "symlink":
      return { type, target: wire.target ?? "", ...attributes };
    case "file": {
      const pieces = piecesOf(data, size);
      return pieces.some((piece) => typeof piece === "number")
        ? { type: "sparse", pieces, mode, ...attributes }
        : { type, content: pieces.join(""), mode, ...attributes };
    }
    case "character":
    case "block":
      return { type, major: wire.major ?? 0, minor: wire.minor ?? 0, mode, ...attributes };
    case "directory":
    case "fifo":
    case "socket":
      return { type, mode, ...attributes };
  }
}

function piecesOf(data: readonly (readonly [number, string])[], size: number): (number | string)[] {
  const pieces: (number | string)[] = [];
  let end = 0;
  for (const [offset, content] of data) {
    if (offset > end) pieces.push(offset - end);
    pieces.push(content);
    end = offset + byteLength(content);
  }
  if (size > end) pieces.push(size - end);
  return pieces;
}

function isNoLink(entry: WireEntry): boolean {
  return entry.type !== "link";
}

function withDefaults(mode: number, given: Partial<Attributes>): Attributes {
  const defaults = { mode, uid: getuid?.() ?? 0, gid: getgid?.() ?? 0, mtimeNs: defaultMtimeNs, xattrs: {} };
  return { ...defaults, ...given };
}

function comparable(entry: Entry): unknown {
  return Object.entries(entry)
    .map(([key, value]): [string, unknown] => [key, typeof value === "bigint" ? String(value) : value])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** "a/b/c": "a/b", "a" and the root. */
function parentsOf(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== ".");
  const parents = parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
  return [".", ...parents];
}

function parentsOfAll(paths: Iterable<string>): Set<string> {
  return new Set([...paths].flatMap((path) => (path === "." ? ["."] : parentsOf(path))));
}

function byteLength(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += isEscapedByte(code) ? 1 : Buffer.byteLength(character);
  }
  return bytes;
}

function isEscapedByte(code: number): boolean {
  return code >= 0xdc80 && code <= 0xdcff;
}

/** As Python decodes with surrogateescape. */
function textOf(content: string | Uint8Array): string {
  if (typeof content === "string") return content;
  const whole = decoded(content);
  if (whole !== undefined) return whole;
  let text = "";
  for (let at = 0; at < content.length;) {
    const lengths = [1, 2, 3, 4].filter((length) => at + length <= content.length);
    const length = lengths.find((each) => decoded(content.subarray(at, at + each)) !== undefined);
    text +=
      length === undefined
        ? String.fromCharCode(0xdc00 + content[at]!)
        : decoded(content.subarray(at, at + length))!;
    at += length ?? 1;
  }
  return text;
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

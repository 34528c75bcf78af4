import { runPython } from "./python.ts";

/** What can differ between two trees. */
export type DifferenceClass =
  | "missing"
  | "extra"
  | "type"
  | "mode"
  | "owner"
  | "mtime"
  | "xattr"
  | "content"
  | "size"
  | "rdev"
  | "symlink-target"
  | "hole"
  | "group-split"
  | "group-merged"
  | "unreadable";

/** One finding. Names that share an inode in both trees share their findings: reported at the first name. */
export interface Difference {
  readonly class: DifferenceClass;
  /** Escaped: bytes outside printable ASCII, and the backslash, as \xNN. "." is the root itself. */
  readonly path: string;
  readonly pathBase64: string;
  /** What it is in each tree; the shape depends on the class. */
  readonly a?: unknown;
  readonly b?: unknown;
  /** group-split: the group's names in A, and how many inodes they are in B. group-merged: inodes in A. */
  readonly names?: number;
  readonly inodes?: number;
  /** Some of the names of a group. */
  readonly at?: readonly string[];
  /** missing, extra: what the name is. */
  readonly type?: string;
  /** xattr: the names that differ. */
  readonly xattrs?: readonly string[];
  /** hole: how many aligned 4 KiB blocks are holes in A and data in B. */
  readonly blocks?: number;
  /** unreadable: in which tree, and the calls that failed. */
  readonly side?: "a" | "b";
  readonly errors?: readonly string[];
}

export interface CompareOptions {
  /** Identical non-empty regular files of A may be one inode in B. Default false. */
  readonly mergedOk?: boolean;
  /** Groups of A with more names than this may be several inodes in B. Default: none may. */
  readonly splitOkAbove?: number;
  /** What B's filesystem can hold: 1_000_000_000 for `mkfs.ext3 -I 128`. Default 1. */
  readonly timeGranularityNs?: number;
  /** Seconds; what lies outside is expected to be clamped. */
  readonly timeRange?: readonly [number, number];
  /** Classes not to report, and `xattr:PREFIX` for single xattrs ("xattr:trusted."). */
  readonly ignore?: readonly (DifferenceClass | `xattr:${string}`)[];
  /** Top-level names that are left out of both trees, besides `.dedupe` and an empty `lost+found`. */
  readonly excludeTop?: readonly string[];
  /** Default true. */
  readonly holes?: boolean;
  /** How many differences are listed; all are counted. Default 1000. */
  readonly limit?: number;
}

export interface Comparison {
  readonly names: { readonly a: number; readonly b: number };
  /** All but directories. */
  readonly inodes: { readonly a: number; readonly b: number };
  readonly counts: Readonly<Partial<Record<DifferenceClass, number>>>;
  readonly differences: readonly Difference[];
}

/** One name and everything known of its inode. Times and numbers beyond 2^53 are decimal strings. */
export interface ManifestEntry {
  readonly path: string;
  readonly pathBase64: string;
  readonly type: "file" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: string;
  /** As it was before the oracle read the entry. */
  readonly atimeNs: string;
  readonly ctimeNs: string;
  readonly size: number;
  readonly device: string;
  readonly inode: string;
  readonly nlink: number;
  readonly blocks: number;
  /** By escaped name; values in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly digest?: string | null;
  /** Half-open byte ranges that hold data. */
  readonly extents?: readonly (readonly [number, number])[];
  /** Half-open ranges of aligned 4 KiB blocks that are holes. */
  readonly holes?: readonly (readonly [number, number])[];
  /** Base64. */
  readonly target?: string;
  /** "major:minor". */
  readonly rdev?: string;
  readonly errors?: readonly string[];
}

/** What differs between tree A (as it should be) and tree B (as it is); nothing, when the list is empty. */
export function compareTrees(a: string, b: string, options: CompareOptions = {}): Difference[] {
  return [...compareReport(a, b, options).differences];
}

/** As compareTrees, with the counts of names, inodes and differences. */
export function compareReport(a: string, b: string, options: CompareOptions = {}): Comparison {
  const args = ["compare", a, b, ...compareArguments(options)];
  return JSON.parse(runPython("oracle.py", { args, accept: [1] })) as Comparison;
}

/** Every name of the tree, parents before children; the root itself is ".". */
export function manifest(root: string, options: Pick<CompareOptions, "excludeTop"> = {}): ManifestEntry[] {
  const args = ["manifest", root, ...topArguments(options)];
  const lines = runPython("oracle.py", { args }).split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as ManifestEntry);
}

function compareArguments(options: CompareOptions): string[] {
  const { mergedOk = false, splitOkAbove, timeGranularityNs, timeRange, ignore = [], holes = true } = options;
  return [
    ...(mergedOk ? ["--merged-ok"] : []),
    ...(splitOkAbove === undefined ? [] : [`--split-ok-above=${splitOkAbove}`]),
    ...(timeGranularityNs === undefined ? [] : [`--time-granularity=${timeGranularityNs}`]),
    ...(timeRange === undefined ? [] : ["--time-range", ...timeRange.map(String)]),
    ...(ignore.length === 0 ? [] : [`--ignore=${ignore.join(",")}`]),
    ...(holes ? [] : ["--no-holes"]),
    ...(options.limit === undefined ? [] : [`--limit=${options.limit}`]),
    ...topArguments(options),
  ];
}

function topArguments({ excludeTop = [] }: Pick<CompareOptions, "excludeTop">): string[] {
  return excludeTop.map((name) => `--exclude-top=${name}`);
}

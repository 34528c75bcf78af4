import { DedupeError } from "../errors.ts";
import { check } from "../sys/errors.ts";
import { openDirectory, readFile, writeFileDurably, type Kernel } from "../sys/files.ts";
import type { FilterRules } from "../tree/filter.ts";
import { STORE_NAME } from "../../store/store.ts";
import type { Notice, Root } from "./preflight.ts";

const FILE = "selection.json";
const VERSION = 1;

/** Which inodes may be merged; docs/store-format.md, "What may be merged". */
export type Selection = { minSizeBytes: number; maxSizeBytes: number; filter: FilterRules | undefined };

const everything: Selection = {
  minSizeBytes: 1,
  maxSizeBytes: Number.MAX_SAFE_INTEGER,
  filter: undefined,
};

/** What the runs that merged here were told; a store without it merges all. @throws DedupeError, SysError */
export function readSelection(kernel: Kernel, root: Root): Selection {
  const storeFd = openDirectory(kernel, root.fd, STORE_NAME);
  try {
    const content = readFile(kernel, storeFd, FILE);
    return content === undefined ? everything : parse(content, `${root.path}/${STORE_NAME}/${FILE}`);
  } finally {
    kernel.sys.close(storeFd);
  }
}

/**
 * For the next `compact`, durable before anything is merged. A migration has filters of its source and leaves those of
 * the last relink: `filter` "kept". @throws DedupeError, SysError
 */
export function rememberSelection(
  kernel: Kernel,
  { root, storeFd }: { root: Root; storeFd: number },
  {
    filter,
    minSizeBytes,
    maxSizeBytes,
  }: Omit<Selection, "filter"> & { filter: Selection["filter"] | "kept" },
): void {
  const known = readSelection(kernel, root);
  const wanted = { minSizeBytes, maxSizeBytes, filter: filter === "kept" ? known.filter : filter };
  const text = textOf(wanted);
  if (text === textOf(known)) return;
  if (text === textOf(everything)) {
    const { sys, scratch } = kernel;
    check(sys.unlinkat(storeFd, scratch.text(FILE), 0), "unlinkat", FILE);
  } else writeFileDurably(kernel, storeFd, FILE, Buffer.from(text));
}

/** What is not merged is said, since no option of this run asked for it. */
export function aboutSelection(selection: Selection, { path }: Root): Notice[] {
  if (textOf(selection) === textOf(everything)) return [];
  const { minSizeBytes, maxSizeBytes, filter } = selection;
  const limits = [
    ...(minSizeBytes > 1 ? [`from ${String(minSizeBytes)} bytes`] : []),
    ...(maxSizeBytes < everything.maxSizeBytes ? [`up to ${String(maxSizeBytes)} bytes`] : []),
    ...(filter === undefined ? [] : [`that ${String(filter.length)} filter rules take`]),
  ];
  const message = `only files ${limits.join(", ")} are taken in and merged (${path}): so the last runs of relink and migrate were told`;
  return [{ level: "info", code: "SELECTION", message }];
}

function textOf({ minSizeBytes, maxSizeBytes, filter = [] }: Selection): string {
  const rules = filter.map(({ pattern, ...rule }) => ({
    ...rule,
    pattern: Buffer.from(pattern).toString("latin1"),
  }));
  return `${JSON.stringify({ version: VERSION, minSizeBytes, maxSizeBytes, filter: rules }, null, 2)}\n`;
}

type Stored = { version: number; minSizeBytes: number; maxSizeBytes: number; filter: StoredRule[] };
type StoredRule = Omit<FilterRules[number], "pattern"> & { pattern: string };

function parse(content: Buffer, path: string): Selection {
  try {
    const { version, minSizeBytes, maxSizeBytes, filter } = JSON.parse(content.toString()) as Stored;
    if (version === VERSION && Number.isSafeInteger(minSizeBytes) && Number.isSafeInteger(maxSizeBytes)) {
      const rules = filter.map((rule) => ({ ...rule, pattern: Buffer.from(rule.pattern, "latin1") }));
      return { minSizeBytes, maxSizeBytes, filter: rules.length === 0 ? undefined : rules };
    }
  } catch {
    // Refused below: merging more than was asked for cannot be taken back.
  }
  throw new DedupeError("SELECTION", `${path} does not say what may be merged here`, {
    hint: "Remove it, then run dedupe relink with the filters and sizes that are to hold.",
  });
}

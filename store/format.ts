import { randomBytes } from "node:crypto";
import { readFile, writeFileDurably, type Kernel } from "../src/sys/files.ts";
import { StoreError } from "./errors.ts";
import { FORMAT_VERSION, STORE_NAME, names } from "./layout.ts";

/** Which attributes must agree for two inodes to become one, and whether they may at all (P5). */
export type MergePolicy = {
  compared: { time: boolean; mode: boolean; owner: boolean; xattrs: boolean };
  merge: "all" | "none";
};

type FormatFile = {
  version: number;
  digest: string;
  compared: string[];
  merge: "all" | "none";
  /** Of the target's times, as probed when the store was made. */
  granularityNs: number;
  /** Names the store where its index lies elsewhere; given when that is first asked for. */
  id?: string;
};

const attributeNames = ["mode", "owner", "time", "xattrs"] as const;

function comparedNames({ compared }: MergePolicy): string[] {
  return attributeNames.filter((name) => compared[name]);
}

/**
 * Reads format.json, or writes it for a new store. The policy is fixed when a store is made: objects of another
 * policy would be named by other rules.
 * @throws StoreError when the version is unknown or the run asks for another policy.
 */
export function settleFormat(
  kernel: Kernel,
  storeFd: number,
  policy: MergePolicy,
  granularityNs: bigint,
): void {
  const content = readFile(kernel, storeFd, names.format);
  if (content === undefined) {
    const made: FormatFile = {
      version: FORMAT_VERSION,
      digest: "blake3-256",
      compared: comparedNames(policy),
      merge: policy.merge,
      granularityNs: Number(granularityNs),
    };
    writeFormat(kernel, storeFd, made);
    return;
  }
  checkFormat(parse(content), policy);
}

/**
 * A name for this store among those that keep their index in one folder: rows are about the inodes of one target, and
 * would vouch for those of another that has the same numbers. @throws SysError
 */
export function nameStore(kernel: Kernel, storeFd: number): string {
  const known = storeName(kernel, storeFd);
  if (known !== undefined) return known;
  const format = JSON.parse(readFile(kernel, storeFd, names.format)?.toString() ?? "{}") as FormatFile;
  const id = randomBytes(16).toString("hex");
  writeFormat(kernel, storeFd, { ...format, id });
  return id;
}

/** undefined: it never had an index elsewhere. */
export function storeName(kernel: Kernel, storeFd: number): string | undefined {
  const content = readFile(kernel, storeFd, names.format);
  const id = content === undefined ? undefined : (JSON.parse(content.toString()) as { id?: unknown }).id;
  return typeof id === "string" && /^[0-9a-f]{32}$/.test(id) ? id : undefined;
}

function writeFormat(kernel: Kernel, storeFd: number, format: FormatFile): void {
  writeFileDurably(kernel, storeFd, names.format, Buffer.from(`${JSON.stringify(format, null, 2)}\n`));
}

/** The policy of a store that is there. @throws StoreError */
export function existingPolicy(kernel: Kernel, storeFd: number): MergePolicy | undefined {
  const content = readFile(kernel, storeFd, names.format);
  if (content === undefined) return undefined;
  const found = parse(content);
  checkVersion(found);
  const { compared, merge } = found;
  const has = (name: string): boolean => compared.includes(name);
  return {
    compared: { time: has("time"), mode: has("mode"), owner: has("owner"), xattrs: has("xattrs") },
    merge,
  };
}

/** Checks the store of a target that nothing may be written to (a dry run). */
export function checkExistingFormat(kernel: Kernel, storeFd: number, policy: MergePolicy): void {
  const content = readFile(kernel, storeFd, names.format);
  if (content !== undefined) checkFormat(parse(content), policy);
}

function checkVersion(found: FormatFile): void {
  if (found.version !== FORMAT_VERSION || found.digest !== "blake3-256") {
    throw new StoreError(
      "STORE_FORMAT",
      `the store in ${STORE_NAME} has format version ${String(found.version)}, which this version of dedupe does not know`,
      {
        hint: `Use a newer dedupe, or remove ${STORE_NAME} (the snapshots stay as they are) and run again.`,
      },
    );
  }
}

function checkFormat(found: FormatFile, policy: MergePolicy): void {
  checkVersion(found);
  const wanted = comparedNames(policy);
  if (found.merge === policy.merge && found.compared.join() === wanted.join()) return;
  const describe = (merge: string, compared: string[]): string =>
    `--merge ${merge}, comparing ${compared.length === 0 ? "content alone" : compared.join(", ")}`;
  throw new StoreError(
    "STORE_POLICY",
    `the store was made with ${describe(found.merge, found.compared)}; this run asks for ${describe(policy.merge, wanted)}`,
    {
      hint: `Run again with the options of the first run, or remove ${STORE_NAME} from the target (the snapshots stay as they are) to start a new store.`,
    },
  );
}

function parse(content: Buffer): FormatFile {
  try {
    const value = JSON.parse(content.toString()) as Partial<FormatFile> | null;
    if (
      typeof value === "object" &&
      value !== null &&
      typeof value.version === "number" &&
      isListOrNone(value.compared)
    ) {
      return {
        version: value.version,
        digest: value.digest ?? "blake3-256",
        compared: value.compared ?? [],
        merge: value.merge ?? "all",
        granularityNs: value.granularityNs ?? 1,
      };
    }
  } catch (cause) {
    throw damaged(cause);
  }
  throw damaged(undefined);
}

function isListOrNone(value: unknown): boolean {
  return value === undefined || Array.isArray(value);
}

function damaged(cause: unknown): StoreError {
  return new StoreError("STORE_FORMAT", `${STORE_NAME}/${names.format} is not a store's format file`, {
    hint: `Remove ${STORE_NAME} from the target (the snapshots stay as they are) and run again.`,
    cause,
  });
}

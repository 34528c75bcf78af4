import { join } from "node:path";
import { DedupeError } from "../errors.ts";
import type { CommandOptions, RsnapshotOptions } from "../options.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import type { Kernel } from "../sys/files.ts";
import { leadsInto } from "../tree/reach.ts";
import { STORE_NAME } from "../../store/store.ts";
import { openKernel } from "./migrate-run.ts";
import { readRsnapshotConf } from "./rsnapshot-conf.ts";

/** Nothing is written to `root`, but to the folder `but` in it. */
type Forbidden = { root: string; but?: string; what: string };

/**
 * The log, the index and the certificate are the user's own places, and must not be in what is only read (P1), nor among
 * the snapshots, by whatever symlinks and bind mounts either is named; the options have looked at names alone. Before the
 * log is opened. @throws DedupeError
 */
export async function refuseInside(options: CommandOptions, sysModule: URL | undefined): Promise<void> {
  const isNamed = (each: [string, string | undefined]): each is [string, string] => each[1] !== undefined;
  const places = Object.entries(writtenBy(options)).filter(isNamed);
  if (places.length === 0) return;
  const { kernel } = await openKernel(sysModule);
  const roots = forbiddenBy(options, (file) => rsnapshotRoot(kernel, file));
  const { sys, scratch } = kernel;
  const isInside = (root: string, path: string): boolean => {
    const rootFd = sys.openat(AT_FDCWD, scratch.text(root), O_PATH | sys.O_DIRECTORY | O_CLOEXEC, 0);
    // The preflight says what is wrong with the root.
    if (rootFd < 0) return false;
    const leads = leadsInto(kernel, rootFd, Buffer.from(path));
    sys.close(rootFd);
    return leads;
  };
  for (const { root, but, what } of roots) {
    const inside = places.find(
      ([, path]) => isInside(root, path) && (but === undefined || !isInside(join(root, but), path)),
    );
    if (inside === undefined) continue;
    throw new DedupeError("INSIDE_ROOT", `${inside.join(" ")} lies inside ${what}`, {
      hint: "Name a place outside of it.",
      exitCode: "usage",
    });
  }
}

function writtenBy(options: CommandOptions): Record<string, string | undefined> {
  switch (options.command) {
    case "migrate":
    case "relink":
    case "compact":
      return { "--log-file": options.logFile, "--index": options.indexDir };
    case "verify":
      return { "--log-file": options.logFile, "--certificate": options.certificate };
    case "stats":
      return {};
  }
}

/** `rootOf`: the root that rsnapshot's configuration names, which is the target where none is typed. */
function forbiddenBy(options: CommandOptions, rootOf: (file: string) => string | undefined): Forbidden[] {
  switch (options.command) {
    case "migrate": {
      const what = "the source, which is never written";
      return [{ root: options.source, what }, allButTheStore(options.target)];
    }
    case "relink":
      return [allButTheStore(options.root)];
    case "compact":
      return targetOf(options, rootOf).map(allButTheStore);
    case "verify": {
      const { against } = options;
      const compared = against === undefined ? [] : [against, ...targetOf(options, rootOf)];
      return compared.map((root) => ({ root, what: `${root}, which is to be read as it is` }));
    }
    case "stats":
      return [];
  }
}

function targetOf(
  { target, rsnapshotConf }: RsnapshotOptions,
  rootOf: (file: string) => string | undefined,
): string[] {
  const named = target ?? (rsnapshotConf === undefined ? undefined : rootOf(rsnapshotConf));
  return named === undefined ? [] : [named];
}

/** What is wrong with the file is said when it is read for the lock, into the log as well. */
function rsnapshotRoot(kernel: Kernel, file: string): string | undefined {
  try {
    return readRsnapshotConf(kernel, file).snapshotRoot?.toString();
  } catch (error) {
    if (error instanceof DedupeError) return undefined;
    throw error;
  }
}

/** Else it would be taken into the store while it is written, or --delete would remove it. */
function allButTheStore(root: string): Forbidden {
  return { root, but: STORE_NAME, what: `${root}, among the snapshots` };
}

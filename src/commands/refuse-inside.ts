import { join } from "node:path";
import { DedupeError } from "../errors.ts";
import type { CommandOptions } from "../options.ts";
import { AT_FDCWD, O_CLOEXEC, O_PATH } from "../sys/constants.ts";
import { leadsInto } from "../tree/reach.ts";
import { STORE_NAME } from "../../store/store.ts";
import { openKernel } from "./migrate-run.ts";

/** What a command writes where the user says, and the roots that it must not write to. */
type Places = {
  written: Record<string, string | undefined>;
  roots: readonly Forbidden[];
};

/** Nothing is written to `root`, but to the folder `but` in it. */
type Forbidden = { root: string; but?: string; what: string };

/**
 * The log, the index and the certificate are the user's own places, and must not be in what is only read (P1), nor among
 * the snapshots, by whatever symlinks and bind mounts either is named; the options have looked at names alone. Before the
 * log is opened. @throws DedupeError
 */
export async function refuseInside(options: CommandOptions, sysModule: URL | undefined): Promise<void> {
  const { written, roots } = placesOf(options);
  const places = Object.entries(written).filter((each): each is [string, string] => each[1] !== undefined);
  if (places.length === 0) return;
  const { kernel } = await openKernel(sysModule);
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

function placesOf(options: CommandOptions): Places {
  switch (options.command) {
    case "migrate": {
      const { source, target } = options;
      const what = "the source, which is never written";
      return { written: logAndIndex(options), roots: [{ root: source, what }, allButTheStore(target)] };
    }
    case "relink":
      return { written: logAndIndex(options), roots: [allButTheStore(options.root)] };
    case "compact": {
      const { target } = options;
      return { written: logAndIndex(options), roots: target === undefined ? [] : [allButTheStore(target)] };
    }
    case "verify": {
      const { logFile, certificate, against, target } = options;
      const compared = against === undefined ? [] : [against, target].filter((root) => root !== undefined);
      const roots = compared.map((root) => ({ root, what: `${root}, which is to be read as it is` }));
      return { written: { "--log-file": logFile, "--certificate": certificate }, roots };
    }
    case "stats":
      return { written: {}, roots: [] };
  }
}

function logAndIndex({ logFile, indexDir }: { logFile: string | undefined; indexDir: string | undefined }) {
  return { "--log-file": logFile, "--index": indexDir };
}

/** Else it would be taken into the store while it is written, or --delete would remove it. */
function allButTheStore(root: string): Forbidden {
  return { root, but: STORE_NAME, what: `${root}, among the snapshots` };
}

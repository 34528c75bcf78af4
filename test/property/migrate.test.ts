import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { edit, growth, life } from "../support/edits.ts";
import { requireFilesystem, withFilesystem } from "../support/filesystem.ts";
import { migrateJson } from "../support/dedupe.ts";
import { fingerprint, grow, migrateWell, nothingDone, untouched, workDone } from "../support/migrate.ts";
import { compareTrees, manifest, type Difference, type ManifestEntry } from "../support/oracle.ts";
import { isLong } from "../support/long.ts";

const MIB = 2 ** 20;
/* `check` repeats the same trees, so that a change is to blame for a failure; the long sweep looks for new ones. */
const seed = Number(process.env["DEDUPE_TESTS_SEED"] ?? (isLong ? Date.now() % 2 ** 31 : 110114516));
const numRuns = Number(process.env["DEDUPE_TESTS_RUNS"] ?? (isLong ? 600 : 15));
/* A run takes some two seconds, shrinking a failure some fifty runs. */
const timeout = numRuns * 10_000 + 600_000;

describe.skipIf(!requireFilesystem("ext4"))(`random trees (seed ${seed})`, () => {
  it(
    "arrive, arrive again without a change, and follow every edit of the source",
    async () => {
      let serial = 0;
      await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (sourceMount) => {
        await withFilesystem({ type: "ext4", sizeBytes: 1024 * MIB }, async (targetMount) => {
          const property = fc.asyncProperty(growth, life, options, async (first, second, chosen) => {
            const roots = {
              source: join(sourceMount, `${++serial}`),
              target: join(targetMount, `${serial}`),
            };
            mkdirSync(roots.target);
            try {
              edit(roots.source, first);
              await checkArrival(roots, chosen);
              await checkRepetition(roots, chosen);
              edit(roots.source, second);
              const isWhole = await (chosen.delete ? checkArrival : checkArrivalBesideExtras)(roots, chosen);
              if (isWhole) await checkRepetition(roots, chosen);
            } finally {
              for (const root of Object.values(roots)) rmSync(root, { recursive: true, force: true });
            }
          });
          await fc.assert(property, { seed, numRuns, endOnFailure: !isLong });
        });
      });
    },
    timeout,
  );
});

interface Roots {
  readonly source: string;
  readonly target: string;
}

interface Chosen {
  readonly merge: "all" | "none";
  readonly delete: boolean;
  readonly jobs: number;
  /** Older than the two seconds within which no directory's inode numbers are trusted. */
  readonly aged: boolean;
}

const options: fc.Arbitrary<Chosen> = fc.record({
  merge: fc.constantFrom("all", "none"),
  delete: fc.boolean(),
  jobs: fc.constantFrom(1, 2, 3),
  aged: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});

function argumentsOf({ source, target }: Roots, chosen: Chosen): string[] {
  return [
    // Edits may leave nothing of the source, which is refused otherwise.
    ...(chosen.delete ? ["--delete", "--force-delete"] : []),
    `--merge=${chosen.merge}`,
    `--jobs=${chosen.jobs}`,
    source,
    target,
  ];
}

async function checkArrival(roots: Roots, chosen: Chosen): Promise<boolean> {
  await grow(chosen.aged ? 3100 : 60);
  const before = untouched(roots.source);
  migrateWell(...argumentsOf(roots, chosen));
  expect(compareTrees(roots.source, roots.target, { mergedOk: chosen.merge === "all" })).toEqual([]);
  expect(untouched(roots.source)).toEqual(before);
  return true;
}

/** Nothing has changed since: nothing is read, written or touched. */
async function checkRepetition(roots: Roots, chosen: Chosen): Promise<void> {
  const before = fingerprint(roots.target);
  const { summary, out } = migrateWell(...argumentsOf(roots, chosen));
  expect({ done: workDone(summary), out }).toEqual({ done: nothingDone, out });
  expect(fingerprint(roots.target)).toEqual(before);
}

/** Without --delete every name of the source is right, and what only the target has stays as it was. */
async function checkArrivalBesideExtras(roots: Roots, chosen: Chosen): Promise<boolean> {
  await grow(60);
  const before = manifest(roots.target);
  const conflicts = conflictsOf(manifest(roots.source), before);
  const { code, events, out } = migrateJson(argumentsOf(roots, chosen));
  const failed = events
    .filter(({ type }) => type === "failure")
    .map(({ path, code }) => ({ path: bytesOf(path), code }));
  expect(failed.sort((a, b) => (a.path < b.path ? -1 : 1))).toEqual(
    conflicts.map((path) => ({ path, code: "EISDIR" })),
  );
  expect({ code, out }).toEqual({ code: conflicts.length === 0 ? 0 : 3, out });
  const differences = compareTrees(roots.source, roots.target, {
    mergedOk: chosen.merge === "all",
    ignore: ["extra"],
  });
  expect(differences.filter((each) => !isAbout(each, conflicts))).toEqual([]);
  expect(lostExtras(roots, before)).toEqual([]);
  // Of what stands in the way a next run says the same again.
  return conflicts.length === 0;
}

/** A directory that holds something is not replaced by anything else: as with rsync, --delete decides that. */
function conflictsOf(source: readonly ManifestEntry[], target: readonly ManifestEntry[]): string[] {
  const folders = new Set<string>();
  for (const { pathBase64, path } of target) {
    if (path !== "." && path.includes("/"))
      folders.add(parentOf(Buffer.from(pathBase64, "base64").toString("latin1")));
  }
  const others = source.filter(({ type }) => type !== "directory").map(latin1PathOf);
  return others.filter((path) => folders.has(path)).sort();
}

const latin1PathOf = ({ pathBase64 }: { pathBase64: string }) =>
  Buffer.from(pathBase64, "base64").toString("latin1");
const parentOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** A path of an event, as latin1: text is UTF-8, the rest comes in base64. */
function bytesOf(path: unknown): string {
  if (typeof path === "string") return Buffer.from(path).toString("latin1");
  return Buffer.from((path as { bytes: string }).bytes, "base64").toString("latin1");
}

function isAbout(difference: Difference, conflicts: readonly string[]): boolean {
  return (
    conflicts.includes(latin1PathOf(difference)) ||
    (conflicts.length > 0 && difference.class.startsWith("group-"))
  );
}

function lostExtras({ source, target }: Roots, before: readonly ManifestEntry[]): string[] {
  const taken = new Set(manifest(source).map((entry) => entry.pathBase64));
  const now = new Map(manifest(target).map((entry) => [entry.pathBase64, entry.inode]));
  return before
    .filter((entry) => !taken.has(entry.pathBase64) && now.get(entry.pathBase64) !== entry.inode)
    .map(latin1PathOf);
}

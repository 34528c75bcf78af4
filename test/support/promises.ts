/** What P2, P7 and P8 say of a run that met a fault, as findings: an empty list where they were kept. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { leftovers, migrate, type RunOptions, type RunResult } from "./faulty-run.ts";
import { compareTrees, type CompareOptions, type Difference } from "./oracle.ts";

export interface Attempt {
  readonly source: string;
  readonly target: string;
  readonly args?: readonly string[];
  readonly limits?: CompareOptions;
  /** At which depth snapshots lie; 1 where nothing is said. */
  readonly unitDepth?: number;
  /** Of an update: what the target had before. */
  readonly old?: string;
}

const exact: CompareOptions = { mergedOk: true };

/** How the source differs from what the target has under names that are visible there. */
export function visibleDifferences({ source, target, limits = exact, unitDepth = 1 }: Attempt): Difference[] {
  return compareTrees(source, target, limits).filter(({ path, class: kind }) => {
    const parts = path.split("/");
    // What holds the snapshots gets its own metadata last.
    if (path === "." || parts.length < unitDepth) return false;
    // A snapshot that is not there yet is no difference; one that is there must be whole.
    return kind !== "missing" || existsSync(join(target, ...parts.slice(0, unitDepth)));
  });
}

const ofContent = new Set(["missing", "type", "size", "content", "symlink-target", "rdev", "hole"]);

/** Names of an update cut short that are neither what they were nor what they were to become. */
export function neitherOldNorNew({ source, target, old, limits = exact }: Attempt): Difference[] {
  const ofNames = (root: string): Difference[] =>
    compareTrees(root, target, limits).filter((each) => ofContent.has(each.class));
  const unlikeOld = new Set(ofNames(old!).map(({ path }) => path));
  return ofNames(source).filter(({ path }) => unlikeOld.has(path));
}

/** Runs again without a fault: everything must be there, and nothing else. */
export async function finishes(attempt: Attempt, options: RunOptions = {}): Promise<string[]> {
  const { source, target, args = [], limits = exact } = attempt;
  const result = await migrate(source, target, { ...options, args });
  const findings = [
    ...(result.code === 0 ? [] : [`the next run ended with ${outcomeOf(result)}`]),
    ...compareTrees(source, target, limits).map((found) => `after the next run: ${describe(found)}`),
    ...leftovers(target).map((name) => `after the next run there is still ${name}`),
  ];
  return findings;
}

/** A run that went on or gave up after a failed call. */
export function judgeFaulted(result: RunResult, attempt: Attempt): string[] {
  if (result.hung) return ["it hung"];
  const findings: string[] = [];
  if (/bug|\n {4}at /.test(result.stderr) || result.stdout.includes('"code":"bug"')) {
    findings.push(`a bug message: ${result.stderr.slice(0, 1200)}`);
  }
  if (![0, 1, 3].includes(result.code ?? -1)) findings.push(`it ended with ${outcomeOf(result)}`);
  if (result.code === 0 && result.failures.length > 0) findings.push("exit 0 with failures listed");
  if (result.code === 3 && result.failures.length === 0) findings.push("exit 3 without a failure listed");
  if (result.code === 1 && sentenceOf(result) === undefined) findings.push("exit 1 without a sentence");
  const differences =
    result.code === 1
      ? afterStop(attempt)
      : compareTrees(attempt.source, attempt.target, attempt.limits ?? exact);
  const unlisted = differences.filter((difference) => !isListed(difference, result));
  findings.push(...unlisted.map((found) => `not listed, exit ${result.code}: ${describe(found)}`));
  return findings;
}

/** What no run that ended early may leave. */
export function afterStop(attempt: Attempt): Difference[] {
  return attempt.old === undefined ? visibleDifferences(attempt) : neitherOldNorNew(attempt);
}

function sentenceOf({ summary, stderr }: RunResult): string | undefined {
  const sentence = summary?.error?.message ?? /^dedupe: (.*)$/m.exec(stderr)?.[1];
  return sentence === undefined || sentence.includes("\n") ? undefined : sentence;
}

/** The entry itself was listed, or a directory above it; of linked names, one of them. */
function isListed({ path, at = [] }: Difference, { failures }: RunResult): boolean {
  const listed = failures.map(({ path: failed }) => (typeof failed === "string" ? failed : "*"));
  return [path, ...at].some((name) =>
    listed.some((failed) => {
      // The root itself stands for the loose names in it.
      if (failed === "") return !name.includes("/");
      return failed === "*" || name === failed || name.startsWith(`${failed}/`);
    }),
  );
}

const describe = (found: Difference): string =>
  `${found.class} at ${found.path} ${JSON.stringify([found.a, found.b])}`;

function outcomeOf({ code, failures, summary, stderr, hung }: RunResult): string {
  if (hung) return "a hang";
  const error = summary?.error?.message ?? "";
  return `${code}: ${error} ${JSON.stringify(failures.slice(0, 3))} ${stderr.slice(0, 800)}`;
}

/** Does the work for every item, two at a time. */
export async function twoAtATime<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const take = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all([take(), take()]);
}

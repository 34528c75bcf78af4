import { rotated } from "../work/walked-units.ts";
import type { CommandContext } from "./context.ts";
import { planSource, type MigrateRun } from "./migrate-run.ts";

/**
 * At the end of a run that got through: whether each unit of the source is still the directory that was walked under
 * its name. A snapshot that slipped past the run in a rotation is a failure; one that merely came meanwhile is not.
 * @throws SysError when the source fails
 */
export function tellRotation(
  { kernel, options, plan, filter, migration, source }: MigrateRun,
  context: CommandContext,
): void {
  const keyOf = (path: Buffer): string => path.toString("latin1");
  const walked = new Map(plan.units.map(({ path }, unit) => [keyOf(path), migration.walked.inodeOf(unit)]));
  const known = new Set([...plan.units.map(({ inode }) => inode), ...walked.values()]);
  const { code, message } = rotated();
  let cameMeanwhile = 0;
  for (const { path, inode } of planSource(kernel, source, options, filter).units) {
    const key = keyOf(path);
    if (inode === "" || walked.get(key) === inode) continue;
    if (!walked.has(key) && !known.has(inode)) cameMeanwhile++;
    // What could not be walked at all has failed by its name already.
    else if (!walked.has(key) || walked.get(key) !== undefined)
      migration.failures(-1, [{ path, code, message }]);
  }
  if (cameMeanwhile > 0) context.reporter.emit({ type: "notice", ...aboutNew(cameMeanwhile) });
}

function aboutNew(count: number) {
  const what = count === 1 ? "1 directory" : `${String(count)} directories`;
  const message = `${what} came to the source while it was read: the next run brings what is new`;
  return { level: "warning", code: "CAME_MEANWHILE", message } as const;
}

import { birthTimeNs } from "../sys/birth-time.ts";
import type { Kernel } from "../sys/files.ts";
import { openBelow } from "../tree/path.ts";
import type { Unit } from "../tree/snapshots.ts";
import { entryFailure } from "../work/errors.ts";
import { rotated } from "../work/walked-units.ts";
import type { CommandContext } from "./context.ts";
import { planSource, type MigrateRun } from "./migrate-run.ts";

/**
 * At the end of a run that got through: whether each unit of the source is still the directory that was walked under
 * its name, and whether all were walked. A snapshot that slipped past the run in a rotation is a failure; one that was
 * made meanwhile is not.
 * @throws RunFailure, SysError when the source fails
 */
export function tellRotation(run: MigrateRun, context: CommandContext): void {
  const { kernel, options, plan, filter, migration, source } = run;
  for (const unit of migration.walked.unrefused()) tellMoved(run, unit);
  const keyOf = ({ path }: Unit): string => path.toString("latin1");
  const planned = new Set(plan.units.map(keyOf));
  const known = migration.walked.inodes();
  let cameMeanwhile = 0;
  for (const unit of planSource(kernel, source, options, filter).units) {
    if (planned.has(keyOf(unit))) continue;
    if (!known.has(unit.inode) && isMadeSince(kernel, source.fd, unit.path, run.plannedAtMs)) cameMeanwhile++;
    else tellFailure(run, unit.path, rotated());
  }
  if (cameMeanwhile > 0) context.reporter.emit({ type: "notice", ...aboutNew(cameMeanwhile) });
}

function tellMoved(run: MigrateRun, unit: number): void {
  try {
    run.migration.walked.withDirectory(unit, () => undefined);
  } catch (error) {
    tellFailure(run, (run.plan.units[unit] as Unit).path, entryFailure(error, "source"));
  }
}

function tellFailure(
  { migration }: MigrateRun,
  path: Buffer,
  failure: { code: string; message: string },
): void {
  const { code, message } = failure;
  migration.failures(-1, [{ path, code, message }]);
}

/** What is older was there when the source was planned, and had another name just then. */
function isMadeSince(kernel: Kernel, sourceFd: number, path: Buffer, ms: number): boolean {
  const fd = openBelow(kernel, sourceFd, path);
  if (fd < 0) return false;
  const bornNs = birthTimeNs(fd);
  kernel.sys.close(fd);
  return bornNs > BigInt(ms) * 1_000_000n;
}

function aboutNew(count: number) {
  const what = count === 1 ? "1 directory" : `${String(count)} directories`;
  const message = `${what} came to the source while it was read: the next run brings what is new`;
  return { level: "warning", code: "CAME_MEANWHILE", message } as const;
}

import type { RelinkCounters } from "../report/events.ts";
import { DONE, FAILED, NAME_ROW, TARGET_ROW, UNCHANGED, VICTIM_ROW, type BatchView } from "./batch-memory.ts";
import { NLINK, numberAt } from "./layout.ts";

const BLOCK_BYTES = 512;

/** What snapshots got from it, by their position in the plan. */
export type PerUnit = { names: Float64Array; freedBytes: Float64Array };

/** Adds what became of a batch. An inode's blocks are free when its last name is gone, and not before. */
export function countBatch(
  batch: BatchView,
  to: { counters: RelinkCounters; perUnit: PerUnit; isDryRun: boolean },
): void {
  const { counters, perUnit, isDryRun } = to;
  const gone = new Uint32Array(batch.victimCount);
  const lastUnit = new Uint32Array(batch.victimCount);
  for (let index = 0; index < batch.nameCount; index++) {
    const row = batch.name(index);
    const state = isDryRun ? DONE : row[NAME_ROW.state];
    if (state !== DONE && state !== UNCHANGED) continue;
    if (batch.isItself(row)) continue;
    const victim = row[NAME_ROW.victim] as number;
    const unit = row[NAME_ROW.unit] as number;
    gone[victim] = (gone[victim] as number) + 1;
    lastUnit[victim] = Math.max(lastUnit[victim] as number, unit);
    if (state === UNCHANGED) continue;
    counters.linkedNames++;
    perUnit.names[unit] = (perUnit.names[unit] as number) + 1;
  }
  for (let index = 0; index < batch.victimCount; index++) {
    const row = batch.victim(index);
    if (gone[index] !== row[VICTIM_ROW.namesCount]) continue;
    if (row[NLINK] !== row[VICTIM_ROW.namesCount]) {
      counters.outsideInodes++;
      continue;
    }
    const unit = lastUnit[index] as number;
    const freed = numberAt(row, VICTIM_ROW.freedBlocks) * BLOCK_BYTES;
    counters.mergedInodes++;
    counters.freedBytes += freed;
    // Of several snapshots the oldest has it to itself once the newer ones are gone.
    perUnit.freedBytes[unit] = (perUnit.freedBytes[unit] as number) + freed;
  }
  for (let index = 0; index < batch.targetCount; index++) {
    const row = batch.target(index);
    const isThere = isDryRun || row[TARGET_ROW.state] !== FAILED;
    if (isThere && row[TARGET_ROW.again] === 0) counters.objects++;
  }
}

import type { CompactFigures, RelinkCounters } from "../report/events.ts";
import type { Compaction } from "../compact/compaction.ts";
import type { CompactState } from "../compact/state.ts";
import type { SweepItem } from "../compact/sweep.ts";
import type { IndexFigures } from "../../store/store.ts";

type Counted = {
  compaction: Compaction;
  state: CompactState;
  index: IndexFigures | undefined;
  sweeping: readonly SweepItem[];
};

/** What is to be done (before anything was), or what was done. */
export function figuresOf(
  { compaction, state, index, sweeping }: Counted,
  what: "planned" | "done",
): CompactFigures {
  const { counts } = state;
  const adopt = adoptedBy(compaction);
  const { unnamed } = compaction;
  const pruned = {
    objects: counts.prunedObjects,
    holders: counts.prunedHolders,
    freedBytes: counts.prunedBytes,
  };
  const unpruned = { ...unnamed, freedBytes: unnamed.bytes };
  const count = (verdict: SweepItem["verdict"]): number =>
    sweeping.filter((item) => item.verdict === verdict).length;
  const { rows = 0, droppedRows = 0, bytesBefore = 0, bytesAfter = 0 } = index ?? {};
  return {
    sweep: { leftovers: count("drop"), unfinished: count("keep") },
    adopt,
    refile: { objects: what === "planned" ? compaction.toRefile : counts.refiled },
    prune: what === "planned" ? pick(unpruned) : pruned,
    fold: { siblings: what === "planned" ? counts.toFold : counts.foldedSiblings },
    index: {
      unknown: what === "planned" ? compaction.unindexed : counts.indexed,
      ...{ rows, droppedRows, bytesBefore, bytesAfter },
    },
  };
}

const pick = ({ objects, holders, freedBytes }: CompactFigures["prune"]): CompactFigures["prune"] => ({
  objects,
  holders,
  freedBytes,
});

/** Those that were merged again were not new. */
export function adoptedBy({ counters, adopted }: Compaction): CompactFigures["adopt"] {
  const sum = (field: keyof RelinkCounters): number =>
    counters.reduce((total, pass) => total + pass[field], 0);
  const { inodes, bytes } = adopted;
  return {
    ...{ inodes, bytes, objects: sum("objects"), linkedNames: sum("linkedNames") },
    ...{ mergedInodes: sum("mergedInodes"), freedBytes: sum("freedBytes"), siblings: sum("siblings") },
  };
}

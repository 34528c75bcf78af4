import type { Placer } from "./place.ts";
import type { Needs } from "./survey-needs.ts";
import type { SurveyLedger } from "./survey-ledger.ts";
import type { SurveyRemover } from "./survey-remove.ts";
import type { Thread } from "./thread.ts";

/** What a survey will find beside what `TargetTraits` say. */
export type SurveyTraits = { makesDevices: boolean; clones: boolean; blockBytes: number };

/** What the parts of a survey share. The thread's door to the kernel is the reading half alone. */
export type SurveyContext = {
  readonly thread: Thread;
  readonly placer: Placer;
  readonly ledger: SurveyLedger;
  readonly traits: SurveyTraits;
  readonly needs: Needs;
  /** Whether the run would have to make the target's store. */
  readonly store: "new" | "there";
  readonly remover: SurveyRemover;
  /** Of the unit at hand: what would differ from what is published. */
  changes: number;
  /** Of the unit at hand, as handed over by the thread. */
  failures: number;
};

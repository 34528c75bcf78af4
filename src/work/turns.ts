import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import { Stopped } from "./errors.ts";

/** The event loop gets a turn this often: signals and progress wait for it. */
const TURN_MS = 15;
/** Longest sleep without asking whether to stop. */
const SLEEP_MS = 200;

export type Done = { readBytes: number; removedSourceNames: number };

export type TurnRules = {
  bwlimitBytes: number | undefined;
  isStopped(): boolean;
  /** Often: bytes read and names removed since the last call. */
  tally(done: Done): void;
};

/** Lets long work on the main thread give way to signals, timers and --bwlimit, and counts it. */
export class Turns {
  readonly #rules: TurnRules;
  readonly done: Done = { readBytes: 0, removedSourceNames: 0 };
  #lastMs = 0;
  #readAgainMs = 0;

  constructor(rules: TurnRules) {
    this.#rules = rules;
  }

  tally(): void {
    this.#rules.tally({ ...this.done });
    this.done.readBytes = 0;
    this.done.removedSourceNames = 0;
  }

  /** Between names: the safe point. @throws Stopped */
  async turn(): Promise<void> {
    if (performance.now() - this.#lastMs > TURN_MS) {
      this.tally();
      await nextTurn();
      this.#lastMs = performance.now();
    }
    if (this.#rules.isStopped()) throw new Stopped();
  }

  /** Between chunks of content; sleeps where --bwlimit says so. @throws Stopped */
  async passed(bytes: number): Promise<void> {
    this.done.readBytes += bytes;
    const { bwlimitBytes } = this.#rules;
    await this.turn();
    if (bwlimitBytes === undefined) return;
    this.#readAgainMs = Math.max(this.#readAgainMs, performance.now()) + (bytes / bwlimitBytes) * 1000;
    for (let leftMs = SLEEP_MS; leftMs > 0;) {
      leftMs = this.#readAgainMs - performance.now();
      await delay(Math.max(0, Math.min(leftMs, SLEEP_MS)));
      await this.turn();
    }
  }
}

import { Adopter } from "./adopt.ts";
import { BatchView } from "./batch-memory.ts";
import { BatchWorker } from "./batch-worker.ts";
import { readKey } from "./classes.ts";
import { comparedWords } from "./layout.ts";
import type { RelinkTask } from "./messages.ts";
import { ContentReader } from "./read-content.ts";
import type { RelinkThread } from "./relink-thread.ts";
import type { TaskRunner } from "./serve.ts";
import type { Run } from "./sorter.ts";
import { StockTaker } from "./take-stock.ts";

/** What a thread of a relink does. */
export class RelinkTasks implements TaskRunner<RelinkTask> {
  readonly #thread: RelinkThread;
  #taker: StockTaker | undefined;
  #reader: ContentReader | undefined;
  #adopter: Adopter | undefined;
  #batchWorker: BatchWorker | undefined;

  constructor(thread: RelinkThread) {
    this.#thread = thread;
  }

  run(task: RelinkTask): void {
    const thread = this.#thread;
    switch (task.type) {
      case "walk":
        this.#taker ??= new StockTaker(thread);
        this.#taker.run({
          ...task,
          path: Buffer.from(task.path),
          subdirectories: task.subdirectories?.map((name) => Buffer.from(name)),
        });
        return;
      case "read":
        this.#reader ??= new ContentReader(
          thread,
          task.placesFd,
          readKey(comparedWords(thread.rules.compared)),
        );
        this.#reader.run(task);
        return;
      case "adopt":
        this.#adopter ??= new Adopter(thread);
        this.#adopter.run(new BatchView(task.batch), task.first, task.count);
        return;
      case "prepare":
      case "replace":
        this.#batchWorker ??= new BatchWorker(thread, task.store);
        this.#batchWorker[task.type](new BatchView(task.batch), task);
        return;
    }
  }

  collect(): Run[] {
    const runs = this.#reader?.finish() ?? this.#taker?.finish() ?? [];
    this.#reader = undefined;
    this.#taker = undefined;
    return runs;
  }
}

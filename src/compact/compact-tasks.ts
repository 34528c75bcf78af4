import { Ref } from "../../store/store.ts";
import type { RelinkThread } from "../relink/relink-thread.ts";
import { RelinkTasks } from "../relink/relink-tasks.ts";
import type { TaskRunner } from "../relink/serve.ts";
import type { Run } from "../relink/sorter.ts";
import { Examiner } from "./examine.ts";
import { Folder } from "./fold.ts";
import type { CompactTask } from "./messages.ts";
import { Mover } from "./move.ts";
import { ObjectScanner } from "./object-scan.ts";
import { Pruner } from "./prune.ts";
import { Teller } from "./teller.ts";

/** What a thread of a compact does: work on the store's own names, and all that a relink does. */
export class CompactTasks implements TaskRunner<CompactTask> {
  readonly #thread: RelinkThread;
  readonly #relink: RelinkTasks;
  readonly #teller: Teller;
  readonly #to: Ref;
  #scanner: ObjectScanner | undefined;
  #examiner: Examiner | undefined;

  constructor(thread: RelinkThread) {
    this.#thread = thread;
    this.#relink = new RelinkTasks(thread);
    this.#teller = new Teller(thread);
    this.#to = new Ref(thread.sys);
    thread.damaged = (digest) => {
      this.#teller.damaged(digest);
    };
  }

  /** Also of a task that is cut short it is told what was done. */
  run(task: CompactTask): void {
    try {
      this.#run(task);
    } finally {
      this.#teller.flush();
    }
  }

  #run(task: CompactTask): void {
    const thread = this.#thread;
    const { session } = thread;
    if (session === undefined) throw new Error("a store's task without a store");
    const parts = { teller: this.#teller, to: this.#to };
    switch (task.type) {
      case "scan":
        this.#scanner ??= new ObjectScanner(thread, session, this.#teller);
        this.#scanner.run(task);
        return;
      case "examine":
        this.#examiner ??= new Examiner(thread, session, parts);
        this.#examiner.run(task);
        return;
      case "move":
        new Mover(thread, session, parts).run(task);
        return;
      case "prune":
        new Pruner(thread, session, this.#teller).run(task);
        return;
      case "fold":
        new Folder(thread, session, parts).run(task);
        return;
      case "walk":
      case "read":
      case "adopt":
      case "prepare":
      case "replace":
        this.#relink.run(task);
    }
  }

  collect(): Run[] {
    const runs = this.#scanner?.finish() ?? this.#examiner?.finish() ?? this.#relink.collect();
    this.#scanner = undefined;
    this.#examiner = undefined;
    return runs;
  }
}

import { RelinkTasks } from "./relink-tasks.ts";
import { serveTasks } from "./serve.ts";

/** A worker thread of a relink. */
serveTasks((thread) => new RelinkTasks(thread));

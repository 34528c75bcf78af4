import { serveTasks } from "../relink/serve.ts";
import { CompactTasks } from "./compact-tasks.ts";

/** A worker thread of a compact. */
serveTasks((thread) => new CompactTasks(thread));

import { createRequire } from "node:module";
import type * as Lmdb from "lmdb";

const load = createRequire(import.meta.url);

/** Loaded with the first index that is opened: most threads read none, and loading costs more than they do. */
export const lmdb = (): typeof Lmdb => load("lmdb") as typeof Lmdb;

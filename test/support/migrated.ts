import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { makeWorkplace } from "./dedupe.ts";
import { migrateWell } from "./migrate.ts";
import { makeSmallRoot } from "./small-root.ts";

/** A small root, migrated, on a filesystem of its own. */
export function makeMigrated(): { target: string; close: () => void } {
  const workplace = makeWorkplace();
  const [source, target] = [join(workplace.path, "source"), join(workplace.path, "target")];
  makeSmallRoot(source, "monday");
  mkdirSync(target);
  migrateWell(source, target);
  return { target, close: () => workplace.close() };
}

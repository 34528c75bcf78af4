import { execFileSync } from "node:child_process";
import { closeSync, lstatSync, openSync, readSync, readdirSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { VerifyRun } from "./verify.ts";

/** Paths of all objects below the target. */
export function objectsOf(target: string): string[] {
  const folder = join(target, ".dedupe/objects");
  return readdirSync(folder).flatMap((two) =>
    readdirSync(join(folder, two)).map((rest) => `.dedupe/objects/${two}/${rest}`),
  );
}

/** The store's name for the inode that has the name in a snapshot. */
export function objectOf(target: string, name: string): string {
  const { ino } = lstatSync(join(target, name));
  const found = objectsOf(target).find((path) => lstatSync(join(target, path)).ino === ino);
  if (found === undefined) throw new Error(`no object is ${name}`);
  return found;
}

/** Names in the snapshots that findings are about. */
export function affectedOf(run: VerifyRun): string[] {
  return run.events.flatMap(({ type, path }) => (type === "affected" ? [String(path)] : [])).sort();
}

/** Does what would change the modification time, and puts it back to the nanosecond. */
export function keepingTime(path: string, work: () => void): void {
  const { mtimeNs } = statSync(path, { bigint: true });
  work();
  const text = `${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, "0")}`;
  execFileSync("touch", ["-m", "-d", `@${text}`, path]);
}

/** Turns a bit over and puts the times back, as a failing disk would. */
export function flip(path: string, offset: number): void {
  keepingTime(path, () => {
    const descriptor = openSync(path, "r+");
    const byte = Buffer.alloc(1);
    readSync(descriptor, byte, 0, 1, offset);
    writeSync(descriptor, Buffer.from([byte[0]! ^ 1]), 0, 1, offset);
    closeSync(descriptor);
  });
}

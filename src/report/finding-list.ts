/** Findings on a terminal: a few of each class as they come, the rest counted. */
import { eventLine } from "./event-lines.ts";
import type { Event } from "./events.ts";

type Listed = Extract<Event, { type: "finding" | "affected" | "repaired" | "unrepaired" }>;

const shownOfClass = 5;
const shownOthers = 20;

const listed: ReadonlySet<Event["type"]> = new Set(["finding", "affected", "repaired", "unrepaired"]);

export function isListed(event: Event): event is Listed {
  return listed.has(event.type);
}

/** With `quiet` notes, which are no findings, are left out. */
export function createFindingList(
  quiet: boolean,
  print: (line: string) => void,
): { add(event: Listed): void } {
  const counts = new Map<string, number>();
  return {
    add(event) {
      if (event.type === "finding" && !event.isFinding && quiet) return;
      if (event.type === "repaired" && quiet) return;
      const about = event.type === "finding" ? `of class ${event.class}` : event.type;
      const count = (counts.get(about) ?? 0) + 1;
      counts.set(about, count);
      const shown = event.type === "finding" ? shownOfClass : shownOthers;
      if (count <= shown) print(eventLine(event, false));
      if (count === shown + 1)
        print(`… further ones ${about} are counted, not shown (see --json or --log-file)`);
    },
  };
}

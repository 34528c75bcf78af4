/** Findings on a terminal: a few of each class as they come, the rest counted. */
import { eventLine } from "./event-lines.ts";
import type { Event } from "./events.ts";

type Finding = Extract<Event, { type: "finding" }>;
type Affected = Extract<Event, { type: "affected" }>;

const shownOfClass = 5;
const shownAffected = 20;

export type FindingList = { add(finding: Finding): void; addAffected(affected: Affected): void };

export function createFindingList(print: (line: string) => void): FindingList {
  const counts = new Map<string, number>();
  let affected = 0;
  return {
    add(finding) {
      const count = (counts.get(finding.class) ?? 0) + 1;
      counts.set(finding.class, count);
      if (count <= shownOfClass) print(eventLine(finding, false));
      if (count === shownOfClass + 1)
        print(`… further ones of class ${finding.class} are counted, not shown (see --json or --log-file)`);
    },
    addAffected(event) {
      affected += 1;
      if (affected <= shownAffected) print(eventLine(event, false));
      if (affected === shownAffected + 1)
        print("… further affected names are counted, not shown (see --json or --log-file)");
    },
  };
}

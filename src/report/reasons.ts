/** Failed entries by reason code. */
export type ReasonCounts = ReadonlyMap<string, number>;

/** A reason is a closed vocabulary; should one not be, the count must not grow with the number of files (P6). */
const countedReasons = 50;

export function countReason(reasons: Map<string, number>, code: string): void {
  const reason = reasons.has(code) || reasons.size < countedReasons ? code : "other";
  reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}

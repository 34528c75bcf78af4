/** What a timer of Node can wait for; it fires at once for more. */
const MOST_MS = 2 ** 31 - 1;

/** To be cleared at the end. */
export function startTimeLimit(
  { timeLimitMs }: { timeLimitMs: number | undefined },
  control: { stop: () => void },
): NodeJS.Timeout | undefined {
  if (timeLimitMs === undefined) return undefined;
  let left = Math.max(1, Math.ceil(timeLimitMs / MOST_MS));
  return setInterval(() => {
    if (--left === 0) control.stop();
  }, timeLimitMs / left);
}

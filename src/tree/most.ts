/** The largest of them, 0 of none: Math.max takes no more arguments than the stack has room for. */
export function mostOf(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

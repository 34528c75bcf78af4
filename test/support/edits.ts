import fc from "fast-check";
import { runPython } from "./python.ts";

/** One random edit; see edits.py. */
export interface Edit {
  readonly do: string;
  readonly at: number;
  readonly to: number;
  readonly name: number;
  readonly value: number;
}

/** How often each edit is drawn while a tree grows. */
const growing = {
  file: 8,
  directory: 4,
  symlink: 2,
  special: 2,
  link: 5,
  copy: 3,
  snapshot: 2,
  chmod: 1,
  chown: 1,
  touch: 1,
  xattr: 1,
};

/** And while it lives on. */
const living = {
  ...growing,
  file: 4,
  directory: 2,
  unshare: 2,
  write: 3,
  append: 2,
  bare: 1,
  rename: 4,
  delete: 4,
  chmod: 2,
  chown: 2,
  touch: 3,
};

function edits(weights: Readonly<Record<string, number>>, length: { minLength: number; maxLength: number }) {
  const kinds = Object.entries(weights).map(([name, weight]) => ({ weight, arbitrary: fc.constant(name) }));
  const number = fc.nat(999);
  return fc.array(
    fc.record({ do: fc.oneof(...kinds), at: number, to: number, name: number, value: number }),
    { ...length, size: "max" },
  );
}

export const growth: fc.Arbitrary<Edit[]> = edits(growing, { minLength: 5, maxLength: 40 });
export const life: fc.Arbitrary<Edit[]> = edits(living, { minLength: 1, maxLength: 15 });

/** Carries the edits out, in a folder that is made if need be. */
export function edit(root: string, steps: readonly Edit[]): void {
  runPython("edits.py", { args: ["apply", root], input: JSON.stringify(steps) });
}

import { runPython } from "./python.ts";

export interface ManyNames {
  /** Of what the one inode is. */
  readonly kind: "file" | "empty" | "symlink" | "fifo";
  readonly snapshots: number;
  readonly namesInEach: number;
}

/** Snapshots daily.0 … in which one inode has all the names: 0, 1, 2 … */
export function makeManyNames(root: string, { kind, snapshots, namesInEach }: ManyNames): void {
  runPython("many-names.py", { args: [root, kind, `${snapshots}`, `${namesInEach}`] });
}

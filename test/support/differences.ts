import { runPython } from "./python.ts";
import { device, directory, fifo, file, linkTo, makeTree, sparse, symlink, type Tree } from "./tree.ts";

const tree: Tree = {
  ".": directory({ mode: 0o750 }),
  "daily.0": directory(),
  "daily.0/plain": file("plain content\n"),
  "daily.0/large": file("0123456789".repeat(130_000)),
  "daily.0/block": file("b".repeat(4096)),
  "daily.0/zeros": file("\0".repeat(4096)),
  "daily.0/one": file("content one\n"),
  "daily.0/two": file("content two\n"),
  "daily.0/suid": file("suid\n", { mode: 0o4755 }),
  "daily.0/marked": file("marked\n", { xattrs: { "user.colour": "green" } }),
  "daily.0/acl": file("acl\n", { mode: 0o640 }),
  "daily.0/capable": file("capable\n", { mode: 0o755 }),
  "daily.0/sparse": sparse([1 << 20, "x".repeat(4096), 1 << 20]),
  "daily.0/empty": file(""),
  "daily.0/empty too": file(""),
  "daily.0/link": symlink("plain"),
  "daily.0/link bare": symlink("bare"),
  "daily.0/link too": symlink("bare"),
  "daily.0/pipe": fifo(),
  "daily.0/disk": device("b", 7, 200, { mode: 0o600 }),
  "daily.0/null": device("c", 1, 3, { mode: 0o600 }),
  "daily.0/folder": directory(),
  "daily.0/folder/inside": file("inside\n"),
  "daily.0/folder/deeper/leaf": file("leaf\n"),
  "daily.0/hollow": directory(),
  "daily.0/\udcff\udcfe": file("a name of bytes\n"),
  "daily.0/shared": file("shared by both days\n"),
  "daily.0/nothing": file(""),
  "daily.0/way": symlink("somewhere"),
  "daily.0/tube": fifo(),
  "daily.0/twin": file("identical content in two inodes\n"),
  "daily.1": directory(),
  "daily.1/old": file("new a day before\n"),
  "daily.1/shared": linkTo("daily.0/shared"),
  "daily.1/nothing": linkTo("daily.0/nothing"),
  "daily.1/way": linkTo("daily.0/way"),
  "daily.1/tube": linkTo("daily.0/tube"),
  "daily.1/twin": file("identical content in two inodes\n"),
};

/** Two snapshots with one of everything that may differ. Needs root. */
export function makeDiverseTree(root: string): void {
  makeTree(root, tree);
  runPython("differ.py", { args: [root, "decorate"] });
}

/** Makes one thing different, and nothing else, in each of the trees "0", "1", … of the folder: a kind in each. */
export function makeAllDifferent(folder: string): void {
  runPython("differ.py", { args: [folder, "all"] });
}

export function differenceKinds(): string[] {
  return JSON.parse(runPython("differ.py", { args: ["kinds"] })) as string[];
}

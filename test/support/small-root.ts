import { makeTree, directory, fifo, file, linkTo, sparse, symlink, type Tree } from "./tree.ts";

const large = (letter: string): string => letter.repeat(1_300_000);

/**
 * Of everything one: two snapshots that share files, contents that merge, a small and a large file, a hole, an empty
 * group, symlinks, a fifo, xattrs, directories with times of their own, a directory that is no snapshot, and loose
 * names in the root.
 */
const monday: Tree = {
  ".": directory({ mtimeNs: 1_600_000_000_000_000_001n }),
  "daily.1": directory({ mtimeNs: 1_600_000_000_100_000_000n }),
  "daily.1/docs": directory({ mode: 0o750, mtimeNs: 1_500_000_000_000_000_002n }),
  "daily.1/docs/kept": file("the same on both days\n", { mode: 0o4755 }),
  "daily.1/docs/kept too": file("another\n", { uid: 12, gid: 34, xattrs: { "user.colour": "green" } }),
  "daily.1/docs/edited": file("monday\n"),
  "daily.1/docs/deep/er/leaf": file("leaf\n"),
  "daily.1/large": file(large("m")),
  "daily.1/holes": sparse([1 << 20, "x".repeat(4096), 1 << 20]),
  "daily.1/empty": file(""),
  "daily.1/empty too": linkTo("daily.1/empty"),
  "daily.1/to kept": symlink("docs/kept"),
  "daily.1/pipe": fifo(),
  "daily.1/twin": file("identical content in two inodes\n"),
  "daily.1/\udcff": file("a name of bytes\n"),
  "daily.0/docs/kept": linkTo("daily.1/docs/kept"),
  "daily.0/docs/kept too": linkTo("daily.1/docs/kept too"),
  "daily.0/docs/edited": file("tuesday\n"),
  "daily.0/docs/deep/er/leaf": linkTo("daily.1/docs/deep/er/leaf"),
  "daily.0/large": linkTo("daily.1/large"),
  "daily.0/empty": linkTo("daily.1/empty"),
  "daily.0/to kept": linkTo("daily.1/to kept"),
  "daily.0/pipe": linkTo("daily.1/pipe"),
  "daily.0/twin": file("identical content in two inodes\n"),
  "other/thing": file("no snapshot\n"),
  loose: file("in the root itself\n"),
};

/** As monday, two days on: files edited, of another type, and new. */
const wednesday: Tree = {
  ...monday,
  "daily.0/docs": directory({ mode: 0o700 }),
  "daily.0/docs/edited": file("wednesday\n"),
  "daily.0/twin": symlink("docs/edited"),
  "daily.0/pipe/now": file("a directory where a fifo was\n"),
  "daily.0/pipe": directory(),
  "daily.0/new": linkTo("daily.0/docs/edited"),
  "daily.0/new large": file(large("w")),
  loose: file("in the root itself, longer\n"),
};

export function makeSmallRoot(root: string, day: "monday" | "wednesday"): void {
  makeTree(root, day === "monday" ? monday : wednesday);
}

#!/usr/bin/env python3
"""Snapshots in which one inode has all the names, on a filesystem that sets no limit (xfs).

    many-names.py ROOT file|empty|symlink|fifo SNAPSHOTS NAMES_IN_EACH
"""

import os
import sys


def make(root, kind, snapshots, names):
    os.makedirs(root)
    first = os.path.join(root, "first")
    if kind == "symlink":
        os.symlink("somewhere", first)
    elif kind == "fifo":
        os.mkfifo(first, 0o640)
    else:
        with open(first, "wb") as opened:
            opened.write(b"" if kind == "empty" else b"one inode, very many names\n")
    os.utime(first, ns=(0, 1_600_000_000_123_456_789), follow_symlinks=False)
    one = os.open(root, os.O_RDONLY)
    for number in range(snapshots):
        folder = os.path.join(root, "daily.%d" % number)
        os.mkdir(folder)
        opened = os.open(folder, os.O_RDONLY)
        for name in range(names):
            os.link("first", str(name), src_dir_fd=one, dst_dir_fd=opened, follow_symlinks=False)
        os.close(opened)
        os.utime(folder, ns=(0, (1_700_000_000 - number * 86_400) * 10**9))
    os.unlink(first)


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

"""What `dedupe stats` must say, from lstat alone.

usage: stats.py ROOT < {"units": [["daily.0", "snapshot"], ...], "chosen": ["daily.1", ...]}

A unit is [path, kind]; of a "loose" one the directory itself and its names that are no directories count. Paths are
latin-1. Prints JSON: a row for each unit, and the whole.
"""

import json
import os
import stat
import sys

STORE = b".dedupe"


def walk(path, loose=False, leave=()):
    """The inode of every name, the directory itself first."""
    yield os.lstat(path)
    for entry in os.scandir(path):
        if entry.name in leave:
            continue
        if entry.is_dir(follow_symlinks=False):
            if not loose:
                yield from walk(entry.path)
        else:
            yield os.lstat(entry.path)


def taken(status):
    return status.st_blocks * 512


class Inode:
    def __init__(self, status):
        self.status = status
        self.names = {}
        self.in_store = 0
        self.in_rest = 0

    def met(self):
        return sum(self.names.values()) + self.in_store + self.in_rest

    def size(self):
        return self.status.st_size if stat.S_ISREG(self.status.st_mode) else 0


def main():
    root = os.fsencode(sys.argv[1])
    asked = json.load(sys.stdin)
    inodes = {}
    rows = {}
    directory_bytes = {}

    def inode_of(status):
        return inodes.setdefault((status.st_dev, status.st_ino), Inode(status))

    for path, kind in asked["units"]:
        row = rows[path] = {"names": 0, "directories": 0, "inodes": 0, "bytes": 0}
        row.update({"aloneBytes": 0, "aloneInodes": 0, "plainBytes": 0})
        directory_bytes[path] = 0
        for status in walk(os.path.join(root, path.encode("latin-1")), kind == "loose"):
            is_directory = stat.S_ISDIR(status.st_mode)
            # The root itself is no name.
            is_name = not is_directory or path != ""
            row["names"] += is_name
            if is_directory:
                row["directories"] += is_name
                directory_bytes[path] += taken(status)
            else:
                names = inode_of(status).names
                names[path] = names.get(path, 0) + 1

    store = os.path.join(root, STORE)
    store_bytes = 0
    objects = 0
    if os.path.isdir(store):
        for folder in (b"objects", b"groups"):
            for status in walk(os.path.join(store, folder)):
                if stat.S_ISDIR(status.st_mode):
                    store_bytes += taken(status)
                else:
                    inode_of(status).in_store += 1
                    objects += folder == b"objects" and stat.S_ISREG(status.st_mode)
        for status in walk(store, leave=(b"objects", b"groups")):
            if stat.S_ISDIR(status.st_mode):
                store_bytes += taken(status)
            else:
                inode_of(status).in_rest += 1

    whole = {key: 0 for key in ("inodes", "bytes", "contentBytes", "plainBytes", "unnamedObjects", "unnamedBytes")}
    freed = {"inodes": 0, "bytes": 0}
    elsewhere = 0
    most_links = 0
    alone = []
    for key, inode in inodes.items():
        taken_bytes = taken(inode.status)
        is_whole = inode.met() == inode.status.st_nlink
        if not inode.names:
            if inode.in_store and not inode.in_rest and is_whole:
                whole["unnamedObjects"] += 1
                whole["unnamedBytes"] += taken_bytes
            elif not inode.in_store or inode.in_rest:
                store_bytes += taken_bytes
            else:
                elsewhere += inode.met() < inode.status.st_nlink
            continue
        whole["inodes"] += 1
        whole["bytes"] += taken_bytes
        whole["contentBytes"] += inode.size()
        whole["plainBytes"] += inode.size() * sum(inode.names.values())
        most_links = max(most_links, inode.status.st_nlink)
        elsewhere += inode.met() < inode.status.st_nlink
        for path, count in inode.names.items():
            rows[path]["inodes"] += 1
            rows[path]["bytes"] += taken_bytes
            rows[path]["plainBytes"] += inode.size() * count
        if not is_whole or inode.in_rest:
            continue
        if len(inode.names) == 1:
            (path,) = inode.names
            rows[path]["aloneInodes"] += 1
            rows[path]["aloneBytes"] += taken_bytes
            if stat.S_ISREG(inode.status.st_mode) and taken_bytes:
                alone.append((taken_bytes, inode.size()))
        if set(inode.names) <= set(asked["chosen"]):
            freed["inodes"] += 1
            freed["bytes"] += taken_bytes

    for path, row in rows.items():
        row["bytes"] += directory_bytes[path]
        row["aloneBytes"] += directory_bytes[path]
        row["sharedBytes"] = row["bytes"] - row["aloneBytes"]
        whole["bytes"] += directory_bytes[path]
        freed["bytes"] += directory_bytes[path] if path in asked["chosen"] else 0
    whole["names"] = sum(row["names"] for row in rows.values())
    whole["directories"] = sum(row["directories"] for row in rows.values())
    whole["aloneBytes"] = sum(row["aloneBytes"] for row in rows.values())
    whole.update({"storeBytes": store_bytes, "objects": objects, "elsewhereInodes": elsewhere, "mostLinks": most_links})
    largest = sorted(alone, reverse=True)[:10]
    json.dump({"rows": rows, "whole": whole, "freed": freed, "largest": [size for size, _ in largest]}, sys.stdout)


main()

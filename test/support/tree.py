#!/usr/bin/env python3
"""Makes trees from descriptions and describes trees: what Node's fs cannot, all of a tree in one call.

    tree.py make DIR < entries.json         tree.py read DIR > entries.json

An entry is {"path", "type", ...}; bytes that are no UTF-8 travel as lone surrogates (Python's surrogateescape).
"""

import json
import os
import stat
import sys

KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "character", stat.S_IFBLK: "block",
}


def decoded(text):
    return text.encode("utf-8", "surrogateescape")


def encoded(value):
    return value.decode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------------------ making


def make(root, entries):
    os.umask(0)
    os.makedirs(root, exist_ok=True)
    for entry in entries:
        path = full(root, entry)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        create(root, path, entry)
    for entry in entries:
        if entry["type"] != "link":
            dress(full(root, entry), entry)
    # Last and deepest first: each name made in a directory has changed its times, and modes may lock it.
    folders = [entry for entry in entries if entry["type"] == "directory"]
    for entry in sorted(folders, key=lambda each: -full(root, each).count(b"/")):
        path = full(root, entry)
        if "mode" in entry:
            os.chmod(path, entry["mode"])
        stamp(path, entry)


def full(root, entry):
    path = decoded(entry["path"])
    return root if path in (b"", b".") else root + b"/" + path


def create(root, path, entry):
    kind = entry["type"]
    if kind == "directory":
        os.makedirs(path, 0o755, exist_ok=True)
    elif kind == "link":
        os.link(root + b"/" + decoded(entry["to"]), path, follow_symlinks=False)
    elif kind == "symlink":
        os.symlink(decoded(entry["target"]), path)
    elif kind == "fifo":
        os.mkfifo(path, 0o644)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o644)
    elif kind in ("character", "block"):
        form = stat.S_IFCHR if kind == "character" else stat.S_IFBLK
        os.mknod(path, form | 0o644, os.makedev(entry["major"], entry["minor"]))
    else:
        fill(path, entry)


def fill(path, entry):
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    for offset, piece in entry["data"]:
        content = decoded(piece)
        while content:
            written = os.pwrite(descriptor, content, offset)
            content, offset = content[written:], offset + written
    os.truncate(descriptor, entry["size"])
    os.close(descriptor)


def dress(path, entry):
    """Owner, mode, xattrs, times: in this order, because the first two take away what comes later."""
    if "uid" in entry or "gid" in entry:
        os.chown(path, entry.get("uid", -1), entry.get("gid", -1), follow_symlinks=False)
    if "mode" in entry and entry["type"] not in ("symlink", "directory"):
        os.chmod(path, entry["mode"])
    for name, value in entry.get("xattrs", {}).items():
        os.setxattr(path, decoded(name), decoded(value), follow_symlinks=False)
    if entry["type"] != "directory":
        stamp(path, entry)


def stamp(path, entry):
    if "mtimeNs" in entry:
        ns = int(entry["mtimeNs"])
        os.utime(path, ns=(ns, ns), follow_symlinks=False)


# ----------------------------------------------------------------------------------------------- reading


def read(root):
    first = {}
    entries = [described(root, b".", os.lstat(root))]
    walk(root, b"", first, entries)
    return entries


def walk(root, prefix, first, entries):
    folder = os.path.join(root, prefix) if prefix else root
    for name in sorted(os.listdir(folder)):
        path = prefix + b"/" + name if prefix else name
        found = os.lstat(root + b"/" + path)
        if not prefix and (name == b".dedupe" or (name == b"lost+found" and not os.listdir(root + b"/" + path))):
            continue
        key = (found.st_dev, found.st_ino)
        if stat.S_ISDIR(found.st_mode):
            entries.append(described(root, path, found))
            walk(root, path, first, entries)
        elif key in first:
            entries.append({"path": encoded(path), "type": "link", "to": encoded(first[key])})
        else:
            first[key] = path
            entries.append(described(root, path, found))


def described(root, path, found):
    where = root if path == b"." else root + b"/" + path
    kind = KINDS[stat.S_IFMT(found.st_mode)]
    entry = {
        "path": encoded(path), "type": kind, "mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid,
        "gid": found.st_gid, "mtimeNs": str(found.st_mtime_ns),
    }
    names = [os.fsencode(name) for name in os.listxattr(where, follow_symlinks=False)]
    # xfs shows an ACL a second time under the name it has on disk.
    names = [name for name in names if not name.startswith(b"trusted.SGI_ACL_")]
    values = {name: os.getxattr(where, name, follow_symlinks=False) for name in names}
    if values:
        entry["xattrs"] = {encoded(name): encoded(values[name]) for name in sorted(values)}
    if kind == "file":
        entry.update(size=found.st_size, data=data_of(where, found.st_size))
    elif kind == "symlink":
        entry["target"] = encoded(os.readlink(where))
    elif kind in ("character", "block"):
        entry.update(major=os.major(found.st_rdev), minor=os.minor(found.st_rdev))
    return entry


def data_of(path, size):
    """Each range that holds data; a file without holes is one range."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME)
    pieces, offset = [], 0
    try:
        while offset < size:
            try:
                start = os.lseek(descriptor, offset, os.SEEK_DATA)
            except OSError:
                break
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
            pieces.append([start, encoded(os.pread(descriptor, end - start, start))])
            offset = end
    finally:
        os.close(descriptor)
    return pieces


if __name__ == "__main__":
    where = os.fsencode(sys.argv[2])
    if sys.argv[1] == "make":
        make(where, json.load(sys.stdin))
    else:
        json.dump(read(where), sys.stdout)

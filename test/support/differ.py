#!/usr/bin/env python3
"""Makes one thing of a tree different, and leaves everything else as it was: times of files and directories too.

    differ.py ROOT all         carries out each of KINDS below in a folder of its own: ROOT/0, ROOT/1, …
    differ.py ROOT decorate    gives the tree of differences.ts what its literal cannot say
    differ.py kinds            prints the kinds as JSON
"""

import json
import os
import stat
import struct
import sys

ROOT = b""


def at(name):
    return os.path.join(ROOT, os.fsencode(name) if isinstance(name, str) else name)


def moment(path):
    return os.lstat(path).st_mtime_ns


def stamp(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


class Kept:
    """Puts the times of the given paths and of their directories back."""

    def __init__(self, *names):
        paths = [at(name) for name in names]
        self.times = {}
        for path in [*paths, *(os.path.dirname(path) for path in paths)]:
            if os.path.lexists(path):
                self.times[path] = moment(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path, ns in self.times.items():
            if os.path.lexists(path):
                stamp(path, ns)


def patch(name, offset, content):
    with Kept(name), open(at(name), "r+b") as opened:
        opened.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def resize(name, change):
    with Kept(name):
        os.truncate(at(name), max(0, os.stat(at(name)).st_size + change))


def unlink(name):
    with Kept(name):
        os.unlink(at(name))


def dress(path, like):
    """Owner, mode, xattrs and times of another inode of the same kind."""
    found = os.lstat(like)
    os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(like, follow_symlinks=False):
        os.setxattr(path, name, os.getxattr(like, name, follow_symlinks=False), follow_symlinks=False)
    stamp(path, found.st_mtime_ns)


def replace(name, make):
    """Something else of the same attributes stands under the name."""
    with Kept(name):
        aside = at(name) + b".aside"
        os.rename(at(name), aside)
        make(at(name))
        if stat.S_IFMT(os.lstat(aside).st_mode) == stat.S_IFMT(os.lstat(at(name)).st_mode):
            dress(at(name), aside)
        os.unlink(aside)


def write(content):
    def make(path):
        with open(path, "wb") as opened:
            opened.write(content)

    return make


def own_copy(name):
    def make(path):
        with open(path + b".aside", "rb") as source, open(path, "wb") as opened:
            opened.write(source.read())

    replace(name, make)


def own_node(name):
    found = os.lstat(at(name))
    replace(name, lambda path: os.mknod(path, found.st_mode, found.st_rdev))


def node(name, kind, major, minor):
    replace(name, lambda path: os.mknod(path, kind | 0o600, os.makedev(major, minor)))
    stamp(at(name), moment(at(name)))


def own_symlink(name):
    target = os.readlink(at(name))
    replace(name, lambda path: os.symlink(target, path))


def point(name, target):
    replace(name, lambda path: os.symlink(target, path))


def link(name, to):
    with Kept(name):
        os.unlink(at(name))
        os.link(at(to), at(name), follow_symlinks=False)


def swap(one, other):
    with Kept(one, other):
        aside = at(one) + b".aside"
        os.rename(at(one), aside)
        os.rename(at(other), at(one))
        os.rename(aside, at(other))


def swap_contents(one, other):
    contents = []
    for name in (one, other):
        with open(at(name), "rb") as opened:
            contents.append(opened.read())
    patch(one, 0, contents[1])
    patch(other, 0, contents[0])


def add(name, make):
    with Kept(name):
        make(at(name))


def move(name, to):
    with Kept(name, to):
        os.rename(at(name), at(to))


def remove_directory(name):
    with Kept(name):
        for folder, folders, files in os.walk(at(name), topdown=False):
            for each in files:
                os.unlink(os.path.join(folder, each))
            for each in folders:
                path = os.path.join(folder, each)
                os.unlink(path) if os.path.islink(path) else os.rmdir(path)
        os.rmdir(at(name))


def directory_to_file(name):
    ns = moment(at(name))
    with Kept(name):
        remove_directory(name)
        write(b"a file now")(at(name))
    stamp(at(name), ns)


def later(name, ns):
    stamp(at(name), moment(at(name)) + ns)


def mode(name, bits):
    os.chmod(at(name), stat.S_IMODE(os.lstat(at(name)).st_mode) ^ bits)


def owner(name, uid, gid):
    """chown clears setuid and capabilities: only what has none is given away here."""
    os.chown(at(name), uid, gid, follow_symlinks=False)


def xattr(name, attribute, value):
    os.setxattr(at(name), attribute, value, follow_symlinks=False)


def bare(name, attribute):
    os.removexattr(at(name), attribute, follow_symlinks=False)


def acl(user):
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, user), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACCESS, DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"
CAPABILITY = struct.pack("<IIIII", (2 << 24) | 1, (1 << 13), 0, 0, 0)


def decorate():
    """What the tree's literal cannot say: ACLs, a capability, an xattr of a symlink."""
    with Kept("daily.0/acl", "daily.0/capable", "daily.0/folder", "daily.0/link"):
        xattr("daily.0/acl", ACCESS, acl(1000))
        xattr("daily.0/folder", DEFAULT, acl(1000))
        xattr("daily.0/capable", b"security.capability", CAPABILITY)
        xattr("daily.0/link", b"trusted.link", b"v")


ZERO_BLOCK = bytes(4096)

KINDS = {
    "a byte of a small file": lambda: patch("daily.0/plain", 0, b"X"),
    "the last byte of a large file": lambda: patch("daily.0/large", -1, b"X"),
    "a byte in the middle of a large file": lambda: patch("daily.0/large", 1_200_000, b"X"),
    "a bit of a file in the older snapshot": lambda: patch("daily.1/old", 0, b"N"),
    "a byte of a linked file": lambda: patch("daily.0/shared", 0, b"X"),
    "zeros in place of data": lambda: patch("daily.0/block", 0, ZERO_BLOCK),
    "data in place of zeros": lambda: patch("daily.0/zeros", 0, b"X"),
    "a byte appended": lambda: resize("daily.0/plain", 1),
    "a byte cut off": lambda: resize("daily.0/plain", -1),
    "a file cut to nothing": lambda: resize("daily.0/plain", -10**9),
    "an empty file written to": lambda: patch("daily.0/empty", 0, b"X"),
    "the last block of a large file cut off": lambda: resize("daily.0/large", -4096),
    "contents of two files exchanged": lambda: swap_contents("daily.0/one", "daily.0/two"),
    "names of two files exchanged": lambda: swap("daily.0/one", "daily.0/two"),
    "a file missing": lambda: unlink("daily.0/plain"),
    "a name of a linked file missing": lambda: unlink("daily.1/shared"),
    "a symlink missing": lambda: unlink("daily.0/link"),
    "a fifo missing": lambda: unlink("daily.0/pipe"),
    "an empty file missing": lambda: unlink("daily.0/empty"),
    "a name of bytes missing": lambda: unlink(b"daily.0/\xff\xfe"),
    "a folder missing, with all in it": lambda: remove_directory("daily.0/folder"),
    "an empty folder missing": lambda: remove_directory("daily.0/hollow"),
    "a snapshot missing": lambda: remove_directory("daily.1"),
    "a file too many": lambda: add("daily.0/more", write(b"more")),
    "an empty file too many": lambda: add("daily.0/folder/more", write(b"")),
    "a folder too many, with a file": lambda: (add("daily.0/more", os.mkdir), add("daily.0/more/x", write(b"x"))),
    "a name too many of a file": lambda: add("daily.0/more", lambda path: os.link(at("daily.0/plain"), path)),
    "a name that differs in case": lambda: move("daily.0/plain", "daily.0/Plain"),
    "a name with a newline more": lambda: move("daily.0/plain", "daily.0/plain\n"),
    "a file in another folder": lambda: move("daily.0/plain", "daily.0/folder/plain"),
    "a file that became a symlink": lambda: replace("daily.0/plain", lambda path: os.symlink(b"x", path)),
    "a file that became a folder": lambda: replace("daily.0/plain", os.mkdir),
    "a folder that became a file": lambda: directory_to_file("daily.0/folder"),
    "a symlink that became a file": lambda: replace("daily.0/link", write(b"plain")),
    "a fifo that became a socket": lambda: replace("daily.0/pipe", lambda path: os.mknod(path, stat.S_IFSOCK)),
    "a block device that became a character device": lambda: replace(
        "daily.0/disk", lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(7, 200))
    ),
    "another device number": lambda: node("daily.0/disk", stat.S_IFBLK, 7, 201),
    "another major number": lambda: node("daily.0/null", stat.S_IFCHR, 5, 3),
    "another target of a symlink": lambda: point("daily.0/link", b"plaim"),
    "a longer target of a symlink": lambda: point("daily.0/link", b"plain/"),
    "a permission bit": lambda: mode("daily.0/plain", 0o001),
    "setuid lost": lambda: mode("daily.0/suid", 0o4000),
    "setgid of a folder": lambda: mode("daily.0/folder", 0o2000),
    "sticky": lambda: mode("daily.0/hollow", 0o1000),
    "the mode of a fifo": lambda: mode("daily.0/pipe", 0o020),
    "the mode of the root": lambda: mode("", 0o001),
    "the owner of a file": lambda: owner("daily.0/plain", 77, -1),
    "the group of a file": lambda: owner("daily.0/plain", -1, 77),
    "the owner of a folder": lambda: owner("daily.0/hollow", 77, -1),
    "the group of a symlink": lambda: owner("daily.0/link", -1, 77),
    "the owner of a device": lambda: owner("daily.0/null", 77, -1),
    "a nanosecond": lambda: later("daily.0/plain", 1),
    "a second less": lambda: later("daily.0/plain", -(10**9)),
    "a nanosecond of a folder": lambda: later("daily.0/folder", 1),
    "the time of a snapshot": lambda: later("daily.1", 10**9),
    "the time of a symlink": lambda: later("daily.0/link", 1),
    "the time of a fifo": lambda: later("daily.0/pipe", 10**9),
    "the time of an empty file": lambda: later("daily.0/empty", -1),
    "the time of the root": lambda: later("", 10**9),
    "another value of an xattr": lambda: xattr("daily.0/marked", b"user.colour", b"blue"),
    "an xattr missing": lambda: bare("daily.0/marked", b"user.colour"),
    "an xattr too many": lambda: xattr("daily.0/plain", b"user.new", b""),
    "an xattr of a folder": lambda: xattr("daily.0/hollow", b"user.folder", b"1"),
    "a trusted xattr of a symlink": lambda: xattr("daily.0/link", b"trusted.link", b"w"),
    "an ACL": lambda: xattr("daily.0/acl", ACCESS, acl(1001)),
    "an ACL missing": lambda: (bare("daily.0/acl", ACCESS), os.chmod(at("daily.0/acl"), 0o640)),
    "the default ACL of a folder missing": lambda: bare("daily.0/folder", DEFAULT),
    "a capability missing": lambda: bare("daily.0/capable", b"security.capability"),
    "a hole filled with zeros": lambda: patch("daily.0/sparse", 0, bytes(1 << 20)),
    "a block of a hole filled with zeros": lambda: patch("daily.0/sparse", 8192, ZERO_BLOCK),
    "a link broken": lambda: own_copy("daily.1/shared"),
    "a link of empty files broken": lambda: own_copy("daily.1/nothing"),
    "a link of symlinks broken": lambda: own_symlink("daily.1/way"),
    "a link of fifos broken": lambda: own_node("daily.1/tube"),
    "two empty files linked": lambda: link("daily.0/empty too", "daily.0/empty"),
    "two symlinks linked": lambda: link("daily.0/link too", "daily.0/link bare"),
    "a name that is another file": lambda: link("daily.1/shared", "daily.0/one"),
}


def main():
    global ROOT
    if sys.argv[1] == "kinds":
        json.dump(list(KINDS), sys.stdout)
        return
    ROOT = os.fsencode(sys.argv[1])
    os.umask(0o022)
    if sys.argv[2] == "decorate":
        decorate()
        return
    top = ROOT
    for number, change in enumerate(KINDS.values()):
        ROOT = os.path.join(top, b"%d" % number)
        change()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Carries out random edits on a tree of snapshots, many in one call.

    edits.py apply ROOT < steps.json

A step is {"do": NAME, "at": N, "to": N, "name": N, "value": N}: `at` picks a name and `to` a directory among those
there are at this moment (in byte order, counted round), `name` and `value` pick from the pools below. A step that is
impossible is passed over, so that every list of steps means something and shrinks well.
"""

import errno
import json
import os
import shutil
import stat
import sys

# Names that look like snapshots make containers of the directories they are in, wherever they appear.
NAMES = [b"a", b"b", b"c", b"e\xff", b"daily.0", b"daily.1", b"d.2", b"2024-05-31", b"f \n"]
CONTENTS = [b"", b"x", b"y", b"", b"same content", b"z" * 4096, b"long" * 3000, b"large" * 300_000, None]
TIMES = [0, 1, -1, 10**9, 1_700_000_000 * 10**9 + 123_456_789, 1_700_000_000 * 10**9, -5 * 10**9 - 7, 2**32 * 10**9 + 5]
MODES = [0o644, 0o600, 0o4755, 0o2711, 0o1777, 0o000, 0o444]
OWNERS = [(0, 0), (1000, 0), (0, 1000), (65534, 65534)]
XATTRS = [(b"user.a", b"1"), (b"user.a", b"2"), (b"user.b", b""), (b"trusted.c", b"\0v"), (b"security.d", b"s")]
TARGETS = [b"a", b"../b", b"/nowhere/\xfe", b"t" * 300]

fresh = 0


def pick(pool, number):
    return pool[number % len(pool)]


def walk(root):
    """All names below the root, parents first, in byte order."""
    found = []
    stack = [root]
    while stack:
        folder = stack.pop()
        for entry in sorted(os.scandir(folder), key=lambda each: each.name, reverse=True):
            found.append(entry.path)
            if entry.is_dir(follow_symlinks=False):
                stack.append(entry.path)
    return sorted(found)


def is_directory(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


def remove(path):
    if is_directory(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def clear(path):
    """Makes room: what is in the way goes, unless the new thing is to lie below it."""
    if os.path.lexists(path):
        remove(path)


def dress(path, value):
    """A moment and a mode from few, so that equal files come about."""
    os.chmod(path, pick(MODES[:2], value // 3))
    stamp(path, pick(TIMES[3:5], value // 7))


def stamp(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


def stamp_anew(path):
    """A time that no inode had before: without it nobody could see that content of equal length had changed."""
    global fresh
    fresh += 1
    stamp(path, (os.lstat(path).st_ctime_ns // 1000) * 1000 + fresh % 1000)


def write(path, value):
    content = pick(CONTENTS, value)
    with open(path, "wb") as opened:
        if content is None:
            opened.write(b"head")
            os.ftruncate(opened.fileno(), 1 << 16)
        else:
            opened.write(content)


def place(tree, step):
    return os.path.join(pick(tree.folders, step["to"]), pick(NAMES, step["name"]))


class Tree:
    def __init__(self, root):
        self.root = root
        self.names = walk(root)
        self.folders = [root, *(name for name in self.names if is_directory(name))]
        self.others = [name for name in self.names if not is_directory(name)]
        self.files = [name for name in self.others if stat.S_ISREG(os.lstat(name).st_mode)]


def do_file(tree, step):
    path = place(tree, step)
    clear(path)
    write(path, step["value"])
    dress(path, step["value"])


def do_directory(tree, step):
    path = place(tree, step)
    clear(path)
    os.mkdir(path)


def do_symlink(tree, step):
    path = place(tree, step)
    clear(path)
    os.symlink(pick(TARGETS, step["value"]), path)
    stamp(path, pick(TIMES, step["at"]))


def do_special(tree, step):
    path = place(tree, step)
    clear(path)
    kind = pick([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK], step["value"])
    os.mknod(path, kind | 0o644, os.makedev(1, 3) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)
    dress(path, step["value"])


def do_link(tree, step):
    source, path = pick(tree.others, step["at"]), place(tree, step)
    if source != path:
        clear(path)
        os.link(source, path, follow_symlinks=False)


def do_copy(tree, step):
    """An inode of its own, equal in everything."""
    source, path = pick(tree.others, step["at"]), place(tree, step)
    if source != path:
        clear(path)
        copy(source, path)


def copy(source, path):
    found = os.lstat(source)
    if stat.S_ISREG(found.st_mode):
        with open(source, "rb") as opened, open(path, "wb") as made:
            content = opened.read()
            data = content.rstrip(b"\0")
            made.write(data)
            made.truncate(len(content))
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), path)
    else:
        os.mknod(path, found.st_mode, found.st_rdev)
    os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(path, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(path, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    stamp(path, found.st_mtime_ns)


def do_unshare(tree, step):
    """The name gets an inode of its own, equal in everything to the one it shared."""
    path = pick(tree.others, step["at"])
    aside = os.path.join(tree.root, b".aside")
    copy(path, aside)
    os.rename(aside, path)


def do_write(tree, step):
    path = pick(tree.files, step["at"])
    write(path, step["value"])
    stamp_anew(path)


def do_append(tree, step):
    path = pick(tree.files, step["at"])
    with open(path, "ab") as opened:
        opened.write(pick(CONTENTS[1:3], step["value"]))
    stamp_anew(path)


def do_touch(tree, step):
    stamp(pick(tree.names, step["at"]), pick(TIMES, step["value"]))


def do_chmod(tree, step):
    path = pick(tree.names, step["at"])
    if not os.path.islink(path):
        os.chmod(path, pick(MODES, step["value"]))


def do_chown(tree, step):
    os.chown(pick(tree.names, step["at"]), *pick(OWNERS, step["value"]), follow_symlinks=False)


def do_xattr(tree, step):
    path, (name, value) = pick(tree.names, step["at"]), pick(XATTRS, step["value"])
    os.setxattr(path, name, value, follow_symlinks=False)


def do_bare(tree, step):
    path = pick(tree.names, step["at"])
    for name in os.listxattr(path, follow_symlinks=False):
        os.removexattr(path, name, follow_symlinks=False)


def do_rename(tree, step):
    source, path = pick(tree.names, step["at"]), place(tree, step)
    if path != source and not path.startswith(source + b"/") and not source.startswith(path + b"/"):
        clear(path)
        os.rename(source, path)


def do_delete(tree, step):
    remove(pick(tree.names, step["at"]))


def do_snapshot(tree, step):
    """As rsnapshot: every snapshot moves on by one, and the newest is linked (`cp -al`) or the newest becomes a copy."""
    numbered = {}
    for name in os.listdir(tree.root):
        head, _, number = name.rpartition(b".")
        if head == b"daily" and number.isdigit() and is_directory(os.path.join(tree.root, name)):
            numbered[int(number)] = os.path.join(tree.root, name)
    for number in sorted(numbered, reverse=True):
        moved = os.path.join(tree.root, b"daily.%d" % (number + 1))
        clear(moved)
        os.rename(numbered[number], moved)
    newest, before = os.path.join(tree.root, b"daily.0"), os.path.join(tree.root, b"daily.1")
    clear(newest)
    if os.path.isdir(before) and not os.path.islink(before):
        mirror(before, newest, pick([os.link, os.link, copy], step["value"]))
    else:
        os.mkdir(newest)


def mirror(source, path, take):
    os.mkdir(path)
    for entry in os.scandir(source):
        inner = os.path.join(path, entry.name)
        if entry.is_dir(follow_symlinks=False):
            mirror(entry.path, inner, take)
        elif take is copy:
            copy(entry.path, inner)
        else:
            os.link(entry.path, inner, follow_symlinks=False)
    found = os.stat(source)
    os.chmod(path, stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))


IMPOSSIBLE = {errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT}


def apply(root):
    os.umask(0o022)
    os.makedirs(root, exist_ok=True)
    for step in json.load(sys.stdin):
        tree = Tree(root)
        try:
            globals()["do_" + step["do"]](tree, step)
        except ZeroDivisionError:
            continue  # there is nothing to pick from yet
        except OSError as error:
            if error.errno not in IMPOSSIBLE:
                raise


if __name__ == "__main__":
    apply(os.fsencode(sys.argv[2]))

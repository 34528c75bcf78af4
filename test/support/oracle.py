#!/usr/bin/env python3
"""An independent reader and comparer of directory trees.

It shares nothing with the program it judges: another language, other system calls' wrappers, other data
structures. Names are bytes, every call is relative to a directory descriptor (so paths have no limit), no
symlink is followed, every inode is read once. Python's standard library only.

    oracle.py manifest ROOT                 one JSON object a line: every name with all that is known of it
    oracle.py compare A B [options]         one JSON object: what differs, by class
"""

import argparse
import base64
import errno
import hashlib
import json
import os
import stat
import sys

BLOCK = 4096
CHUNK = 1 << 20
# Above this size a file is digested by its non-zero chunks, so that 16 TiB of hole cost nothing.
PLAIN_DIGEST_LIMIT = 64 << 20
ZEROS = bytes(CHUNK)
# Descriptors of ancestors kept open; further up, a directory is found again through "..".
OPEN_ANCESTORS = 200
# xfs shows a POSIX ACL a second time under the name it has on disk.
SECOND_FACES = {b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"}
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
}


class Inode:
    """Everything an inode is; names that share one share this object."""

    __slots__ = (
        "number", "device", "type", "mode", "uid", "gid", "mtime_ns", "atime_ns", "ctime_ns", "size", "rdev",
        "nlink", "blocks", "target", "xattrs", "digest", "extents", "holes", "errors", "names",
    )

    def __init__(self, found):
        self.number = found.st_ino
        self.device = found.st_dev
        self.type = TYPES[stat.S_IFMT(found.st_mode)]
        self.mode = stat.S_IMODE(found.st_mode)
        self.uid = found.st_uid
        self.gid = found.st_gid
        self.mtime_ns = found.st_mtime_ns
        self.atime_ns = found.st_atime_ns
        self.ctime_ns = found.st_ctime_ns
        self.size = found.st_size
        self.rdev = found.st_rdev
        self.nlink = found.st_nlink
        self.blocks = found.st_blocks
        self.target = None
        self.xattrs = ()
        self.digest = None
        self.extents = ()
        self.holes = ()
        self.errors = ()
        self.names = 0


class Node:
    """One name. The path is a chain of parents: full paths of a deep tree would not fit in memory."""

    __slots__ = ("parent", "name", "inode", "children")

    def __init__(self, parent, name, inode):
        self.parent = parent
        self.name = name
        self.inode = inode
        self.children = None

    def path(self):
        parts = []
        node = self
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return b"/".join(reversed(parts)) if parts else b"."


# ---------------------------------------------------------------------------------------------- reading


class Reader:
    """Reads one tree, but for the excluded top-level names."""

    def __init__(self, root, excluded=()):
        self.root = os.fsencode(root)
        self.excluded = set(excluded)
        self.inodes = {}
        self.names = 0

    def read(self):
        descriptor = open_directory(self.root, None)
        try:
            inode = Inode(os.fstat(descriptor))
            top = Node(None, b"", inode)
            self.names = 1
            read_xattrs(inode, descriptor)
            stack = [Frame(top, descriptor)]
            descriptor = None
            self.list(stack)
            while stack:
                self.step(stack)
            return top
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def step(self, stack):
        frame = stack[-1]
        if not frame.pending:
            stack.pop()
            if stack:
                reopen_parent(stack[-1], frame)
            frame.close()
            return
        node = frame.pending.pop()
        try:
            descriptor = open_directory(node.name, frame.descriptor)
        except OSError as error:
            fail(node.inode, "open", error)
            node.children = {}
            return
        read_xattrs(node.inode, descriptor)
        stack.append(Frame(node, descriptor))
        if len(stack) > OPEN_ANCESTORS:
            stack[-1 - OPEN_ANCESTORS].close()
        self.list(stack)

    def list(self, stack):
        frame = stack[-1]
        node = frame.node
        node.children = {}
        try:
            names = [os.fsencode(name) for name in os.listdir(frame.descriptor)]
        except OSError as error:
            fail(node.inode, "readdir", error)
            return
        top = len(stack) == 1
        for name in sorted(names):
            if top and self.leaves_out(frame.descriptor, name):
                continue
            child = self.entry(node, name, frame.descriptor)
            if child is None:
                continue
            node.children[name] = child
            if child.inode.type == "directory":
                frame.pending.append(child)

    def leaves_out(self, descriptor, name):
        if name in self.excluded:
            return True
        if name != b"lost+found":
            return False
        try:
            inner = open_directory(name, descriptor)
        except OSError:
            return False
        try:
            return not os.listdir(inner)
        finally:
            os.close(inner)

    def entry(self, parent, name, descriptor):
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        self.names += 1
        key = (found.st_dev, found.st_ino)
        inode = None if stat.S_ISDIR(found.st_mode) else self.inodes.get(key)
        if inode is None:
            inode = Inode(found)
            if inode.type != "directory":
                self.inodes[key] = inode
                self.read_inode(inode, name, descriptor)
        inode.names += 1
        return Node(parent, name, inode)

    def read_inode(self, inode, name, descriptor):
        if inode.type == "file":
            read_file(inode, name, descriptor)
            return
        if inode.type == "symlink":
            try:
                inode.target = os.readlink(name, dir_fd=descriptor)
            except OSError as error:
                fail(inode, "readlink", error)
        read_xattrs(inode, b"/proc/self/fd/%d/%s" % (descriptor, name), follow_symlinks=False)


class Frame:
    """A directory being walked: its descriptor (may be closed meanwhile) and the subdirectories to come."""

    __slots__ = ("node", "descriptor", "pending", "identity")

    def __init__(self, node, descriptor):
        found = os.fstat(descriptor)
        self.node = node
        self.descriptor = descriptor
        self.pending = []
        self.identity = (found.st_dev, found.st_ino)

    def close(self):
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def reopen_parent(parent, child):
    if parent.descriptor is not None:
        return
    parent.descriptor = open_directory(b"..", child.descriptor)
    found = os.fstat(parent.descriptor)
    if (found.st_dev, found.st_ino) != parent.identity:
        raise SystemExit("oracle: a directory was moved while its tree was read: %r" % child.node.path())


def open_directory(name, descriptor):
    follow = 0 if descriptor is None else os.O_NOFOLLOW
    return open_quietly(name, os.O_RDONLY | os.O_DIRECTORY | follow, descriptor)


def open_quietly(name, flags, descriptor):
    """Opens without touching the access time where that is allowed."""
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=descriptor)
    except PermissionError:
        return os.open(name, flags, dir_fd=descriptor)


def read_file(inode, name, descriptor):
    try:
        opened = open_quietly(name, os.O_RDONLY | os.O_NOFOLLOW, descriptor)
    except OSError as error:
        fail(inode, "open", error)
        return
    try:
        read_xattrs(inode, opened)
        read_extents(inode, opened)
        try:
            inode.digest = digest_of(opened, inode.size, inode.extents)
        except OSError as error:
            fail(inode, "read", error)
    finally:
        os.close(opened)


def read_xattrs(inode, where, **how):
    try:
        names = os.listxattr(where, **how)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            fail(inode, "listxattr", error)
        return
    found = []
    for name in names:
        encoded = os.fsencode(name)
        if encoded in SECOND_FACES:
            continue
        try:
            found.append((encoded, os.getxattr(where, encoded, **how)))
        except OSError as error:
            fail(inode, "getxattr", error)
    inode.xattrs = tuple(sorted(found))


def read_extents(inode, descriptor):
    """Where the file holds data, and which aligned blocks lie wholly in holes (a short last one is none)."""
    extents = []
    offset = 0
    size = inode.size
    while offset < size:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            if error.errno == errno.EINVAL:
                extents = [(0, size)]
                break
            raise
        if start >= size:
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        extents.append((start, end))
        offset = end
    os.lseek(descriptor, 0, os.SEEK_SET)
    inode.extents = tuple(extents)
    inode.holes = tuple(aligned_holes(extents, size))


def aligned_holes(extents, size):
    """Half-open ranges of block numbers."""
    before = 0
    for start, end in [*extents, (size, size)]:
        first = -(-before // BLOCK)
        after = start // BLOCK
        if after > first:
            yield (first, after)
        before = end


def digest_of(descriptor, size, extents):
    if size <= PLAIN_DIGEST_LIMIT:
        return "sha256:" + plain_digest(descriptor)
    return "sha256-of-nonzero-chunks:" + sparse_digest(descriptor, extents)


def plain_digest(descriptor):
    summer = hashlib.sha256()
    while True:
        piece = os.read(descriptor, CHUNK)
        if not piece:
            return summer.hexdigest()
        summer.update(piece)


def sparse_digest(descriptor, extents):
    """A function of the bytes alone, not of the holes: chunks of zeros are passed over either way."""
    summer = hashlib.sha256()
    last = -1
    for start, end in extents:
        for chunk in range(max(start // CHUNK, last + 1), -(-end // CHUNK)):
            last = chunk
            piece = pread_fully(descriptor, CHUNK, chunk * CHUNK)
            if piece != ZEROS[: len(piece)]:
                summer.update(b"%d:%d:" % (chunk, len(piece)))
                summer.update(piece)
    return summer.hexdigest()


def pread_fully(descriptor, length, offset):
    parts = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def fail(inode, call, error):
    inode.errors = (*inode.errors, "%s: %s" % (call, errno.errorcode.get(error.errno, str(error))))


# -------------------------------------------------------------------------------------------- comparing

CLASSES = (
    "missing", "extra", "type", "mode", "owner", "mtime", "xattr", "content", "size", "rdev", "symlink-target",
    "hole", "group-split", "group-merged", "unreadable",
)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.ignored = set(options.ignore)
        self.ignored_xattrs = tuple(os.fsencode(each[6:]) for each in options.ignore if each.startswith("xattr:"))
        self.differences = []
        self.counts = {}
        self.pairs = {}  # inode of A -> {inode of B -> a name of both}
        self.checked = set()

    def report(self, difference_class, node, **detail):
        if difference_class in self.ignored:
            return
        self.counts[difference_class] = self.counts.get(difference_class, 0) + 1
        if len(self.differences) < self.options.limit:
            self.differences.append({"class": difference_class, **described(node), **detail})

    def trees(self, top_a, top_b):
        stack = [(top_a, top_b)]
        while stack:
            a, b = stack.pop()
            self.node(a, b)
            if a.inode.type != "directory" or b.inode.type != "directory":
                self.only(a.children, "missing")
                self.only(b.children, "extra")
                continue
            both = []
            for name, child in a.children.items():
                other = b.children.get(name)
                if other is None:
                    self.subtree(child, "missing")
                else:
                    both.append((child, other))
            stack.extend(reversed(both))
            for name, child in b.children.items():
                if name not in a.children:
                    self.subtree(child, "extra")
        self.groups()

    def only(self, children, difference_class):
        for child in (children or {}).values():
            self.subtree(child, difference_class)

    def subtree(self, node, difference_class):
        stack = [node]
        while stack:
            each = stack.pop()
            self.report(difference_class, each, type=each.inode.type)
            stack.extend((each.children or {}).values())

    def node(self, a, b):
        if a.inode.type != "directory":
            self.pairs.setdefault(a.inode, {}).setdefault(b.inode, (a, b))
        # Names that share inodes on both sides share every finding: report it once, at the first name.
        key = (id(a.inode), id(b.inode))
        if key in self.checked:
            return
        self.checked.add(key)
        for difference_class, detail in self.inode_differences(a.inode, b.inode):
            self.report(difference_class, a, **detail)

    def inode_differences(self, a, b):
        for side, inode in (("a", a), ("b", b)):
            if inode.errors:
                yield "unreadable", {"side": side, "errors": list(inode.errors)}
        if a.type != b.type:
            yield "type", {"a": a.type, "b": b.type}
            return
        # A symlink's mode is a constant of the filesystem, not something one can set.
        if a.mode != b.mode and a.type != "symlink":
            yield "mode", {"a": "%04o" % a.mode, "b": "%04o" % b.mode}
        if (a.uid, a.gid) != (b.uid, b.gid):
            yield "owner", {"a": [a.uid, a.gid], "b": [b.uid, b.gid]}
        if b.mtime_ns not in (a.mtime_ns, self.held_time(a.mtime_ns)):
            yield "mtime", {"a": str(a.mtime_ns), "b": str(b.mtime_ns)}
        yield from self.xattr_differences(a, b)
        if a.type == "file":
            yield from self.content_differences(a, b)
        if a.type in ("character", "block") and a.rdev != b.rdev:
            yield "rdev", {"a": device_number(a.rdev), "b": device_number(b.rdev)}
        if a.target != b.target:
            yield "symlink-target", {"a": printable(a.target or b""), "b": printable(b.target or b"")}

    def xattr_differences(self, a, b):
        ours, theirs = dict(self.compared_xattrs(a)), dict(self.compared_xattrs(b))
        if ours == theirs:
            return
        names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        yield "xattr", {"xattrs": [printable(name) for name in names], "a": shown(ours, names), "b": shown(theirs, names)}

    def compared_xattrs(self, inode):
        if not self.ignored_xattrs:
            return inode.xattrs
        return tuple(each for each in inode.xattrs if not each[0].startswith(self.ignored_xattrs))

    def content_differences(self, a, b):
        if a.size != b.size:
            yield "size", {"a": a.size, "b": b.size}
        if a.digest != b.digest:
            yield "content", {"a": a.digest, "b": b.digest}
        if a.size == b.size and not self.options.no_holes:
            lost = blocks_not_in(a.holes, b.holes)
            if lost:
                yield "hole", {"blocks": lost, "a": len(a.extents), "b": len(b.extents)}

    def held_time(self, ns):
        """A time as the target's filesystem holds it: clamped, then rounded down (timestamp_truncate)."""
        if self.options.time_range is not None:
            low, high = self.options.time_range
            if ns // 10**9 <= low:
                return low * 10**9
            if ns // 10**9 >= high:
                return high * 10**9
        granularity = self.options.time_granularity
        return ns // granularity * granularity

    def groups(self):
        back = {}
        for a, partners in self.pairs.items():
            if len(partners) > 1 and a.names <= self.options.split_ok_above:
                first = next(iter(partners.values()))[0]
                also = [printable(other.path()) for _, other in list(partners.values())[:10]]
                self.report("group-split", first, names=a.names, inodes=len(partners), at=also)
            for b, (node_a, _) in partners.items():
                back.setdefault(b, {}).setdefault(a, node_a)
        for sources in back.values():
            if len(sources) > 1 and not (self.options.merged_ok and self.may_merge(list(sources))):
                nodes = list(sources.values())
                at = [printable(node.path()) for node in nodes[:10]]
                self.report("group-merged", nodes[0], inodes=len(sources), at=at)

    def may_merge(self, inodes):
        first = inodes[0]
        if first.type != "file" or first.size == 0:
            return False
        return len({self.identity(inode) for inode in inodes}) == 1

    def identity(self, inode):
        parts = [inode.type, inode.size, inode.digest]
        if "mode" not in self.ignored:
            parts.append(inode.mode)
        if "owner" not in self.ignored:
            parts.append((inode.uid, inode.gid))
        if "mtime" not in self.ignored:
            parts.append(self.held_time(inode.mtime_ns))
        if "xattr" not in self.ignored:
            parts.append(self.compared_xattrs(inode))
        return tuple(parts)


def blocks_not_in(wanted, present):
    """How many blocks of the ranges `wanted` lie outside the ranges `present` (both ascending)."""
    lost = 0
    index = 0
    for start, end in wanted:
        covered = 0
        while index < len(present) and present[index][1] <= start:
            index += 1
        at = index
        while at < len(present) and present[at][0] < end:
            covered += min(end, present[at][1]) - max(start, present[at][0])
            at += 1
        lost += end - start - covered
    return lost


# ---------------------------------------------------------------------------------------------- showing


def described(node):
    path = node.path()
    return {"path": printable(path), "pathBase64": base64.b64encode(path).decode()}


def printable(name):
    return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else "\\x%02x" % byte for byte in name)


def shown(values, names):
    return [None if name not in values else printable(values[name][:80]) for name in names]


def device_number(rdev):
    return "%d:%d" % (os.major(rdev), os.minor(rdev))


def manifest_line(node):
    inode = node.inode
    line = {
        **described(node),
        "type": inode.type, "mode": inode.mode, "uid": inode.uid, "gid": inode.gid,
        "mtimeNs": str(inode.mtime_ns), "atimeNs": str(inode.atime_ns), "ctimeNs": str(inode.ctime_ns),
        "size": inode.size, "device": str(inode.device), "inode": str(inode.number), "nlink": inode.nlink,
        "blocks": inode.blocks,
    }
    if inode.xattrs:
        line["xattrs"] = {printable(name): base64.b64encode(value).decode() for name, value in inode.xattrs}
    if inode.type == "file":
        line.update(digest=inode.digest, extents=inode.extents, holes=inode.holes)
    if inode.target is not None:
        line["target"] = base64.b64encode(inode.target).decode()
    if inode.type in ("character", "block"):
        line["rdev"] = device_number(inode.rdev)
    if inode.errors:
        line["errors"] = inode.errors
    return line


# ------------------------------------------------------------------------------------------ command line


def manifest(options):
    reader = Reader(options.root, excluded_names(options))
    stack = [reader.read()]
    write = sys.stdout.write
    while stack:
        node = stack.pop()
        write(json.dumps(manifest_line(node)) + "\n")
        stack.extend(reversed((node.children or {}).values()))


def compare(options):
    readers = [Reader(root, excluded_names(options)) for root in (options.a, options.b)]
    tops = [reader.read() for reader in readers]
    comparison = Comparison(options)
    comparison.trees(*tops)
    summary = {
        "names": {"a": readers[0].names, "b": readers[1].names},
        "inodes": {"a": len(readers[0].inodes), "b": len(readers[1].inodes)},
        "counts": comparison.counts,
        "differences": comparison.differences,
    }
    json.dump(summary, sys.stdout)
    sys.stdout.write("\n")
    return 1 if comparison.counts else 0


def excluded_names(options):
    defaults = [] if options.no_default_excludes else [b".dedupe"]
    return [*defaults, *(os.fsencode(name) for name in options.exclude_top)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("manifest")
    one.add_argument("root")
    two = commands.add_parser("compare")
    two.add_argument("a")
    two.add_argument("b")
    for each in (one, two):
        each.add_argument("--exclude-top", nargs="+", default=[], action="extend", metavar="NAME")
        each.add_argument("--no-default-excludes", action="store_true", help="look at a top-level .dedupe too")
    two.add_argument("--merged-ok", action="store_true", help="identical, non-empty files of A may share an inode in B")
    two.add_argument("--split-ok-above", type=int, default=sys.maxsize, metavar="N", help="a group of more than N names may be split")
    two.add_argument("--time-granularity", type=int, default=1, metavar="NS")
    two.add_argument("--time-range", type=int, nargs=2, metavar=("MIN", "MAX"), help="seconds; times outside are clamped")
    two.add_argument("--ignore", type=lambda text: text.split(","), default=[], metavar="CLASS,...", help="classes of differences, or xattr:PREFIX")
    two.add_argument("--no-holes", action="store_true", help="do not compare holes")
    two.add_argument("--limit", type=int, default=1000, metavar="N", help="list at most N differences (all are counted)")
    options = parser.parse_args()
    for name in getattr(options, "ignore", []):
        if name not in CLASSES and not name.startswith("xattr:"):
            parser.error("no class of differences: %s (there are %s)" % (name, ", ".join(CLASSES)))
    return options


if __name__ == "__main__":
    arguments = parse_arguments()
    sys.exit(manifest(arguments) if arguments.command == "manifest" else compare(arguments))

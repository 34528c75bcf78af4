#!/usr/bin/env python3
"""Builds the hostile tree: two snapshots of everything that Linux lets a tree hold.

    hostile.py build ROOT [--without SECTION ...] [--entries N]     prints a JSON report
    hostile.py clean ROOT                                           takes the immutable flags away

What the filesystem under ROOT cannot hold is left out and listed under "unsupported". Python's standard
library only; needs root.
"""

import argparse
import array
import errno
import fcntl
import hashlib
import json
import os
import stat
import struct
import sys

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x10
HIGHEST_ID = 2**32 - 2
OWNERS = (0, 1000, 65534, HIGHEST_ID)
SECOND = 10**9
# ext4 with 256-byte inodes holds -2^31 to 2^34 - 2^31 - 1 seconds, xfs and btrfs more.
LAST_SECOND = 15032385535
unsupported = []


def attempt(what, action, *arguments, **named):
    """Some filesystems cannot hold some things; the report says which were left out here."""
    try:
        action(*arguments, **named)
        return True
    except OSError as error:
        unsupported.append("%s: %s" % (what, errno.errorcode.get(error.errno, error)))
        return False


# ------------------------------------------------------------------------------------------- small tools


def join(*parts):
    return b"/".join(part if isinstance(part, bytes) else part.encode() for part in parts)


def write(path, content=b""):
    with open(path, "wb") as opened:
        opened.write(content)
    return path


def directory(*parts):
    path = join(*parts)
    os.makedirs(path, exist_ok=True)
    return path


def shown(name):
    return "".join(chr(byte) if 32 <= byte < 127 else "\\x%02x" % byte for byte in name[:60])


def bytes_of(seed, length):
    """Incompressible and without repeats, the same every time."""
    parts = []
    for number in range(-(-length // 64)):
        parts.append(hashlib.sha512(b"%s:%d" % (seed, number)).digest())
    return b"".join(parts)[:length]


def each_type(folder, suffix=b""):
    """One of every kind of non-directory; yields (kind, path)."""
    yield "file", write(join(folder, b"file" + suffix), b"content of file" + suffix)
    yield "empty", write(join(folder, b"empty" + suffix))
    path = join(folder, b"symlink" + suffix)
    os.symlink(b"nowhere" + suffix, path)
    yield "symlink", path
    path = join(folder, b"fifo" + suffix)
    os.mkfifo(path, 0o640)
    yield "fifo", path
    for kind, mode, device in (
        ("socket", stat.S_IFSOCK, 0),
        ("character", stat.S_IFCHR, os.makedev(1, 3)),
        ("block", stat.S_IFBLK, os.makedev(7, 200)),
    ):
        path = join(folder, kind.encode() + suffix)
        os.mknod(path, mode | 0o640, device)
        yield kind, path


# ---------------------------------------------------------------------------------------------- sections


def names(top, _options):
    folder = directory(top, "names")
    for byte in range(1, 256):
        if byte != ord("/"):
            write(join(folder, b"byte-" + bytes([byte])), b"%d" % byte)
    single = directory(folder, "single")
    for byte in range(1, 256):
        if byte not in b"/.":
            write(join(single, bytes([byte])), b"one %d" % byte)
    everything = bytes(byte for byte in range(1, 256) if byte != ord("/"))
    special = [
        everything, b"x" * 255, b"\xff" * 255, "é".encode() * 127, b"\n", b"a\nb", b"\n\n", b"\r", b"\t", b" ",
        b" leading", b"trailing ", b"-rf", b"--help", b"-", b"--", b"...", b"....", b"..x", b".hidden", b"'", b'"',
        b"`", b"$(touch pwned)", b"${HOME}", b"a;b", b"a|b", b"a&b", b"*", b"?", b"[a-z]", b"**", b"!x", b"#x#", b"x~",
        b"\\", b"\\n", b"\\x41", b"%s%n", b"a b", b"~root", b"\x1b[31mred\x1b[0m", b"\x1b]0;title\x07", b"\x7f",
        b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xef\xbb\xbfbom", "\u202egnp.exe".encode(),
        "é".encode(), "e\u0301".encode(), "ß".encode(), "ẞ".encode(), "日本語".encode(), "🙂".encode(),
        b"case", b"CASE", b"Case", b"CON", b"nul.txt", b"a:b", b"a\\b", b".file.Xa3kQ9", b"..file.Xa3kQ9", b".~tmp~",
        b".nfs0000000000000001", b".fuse_hidden0000000100000001", b"core.123", b"tmp", b"staging", b"objects", b"index",
        b"lock", b"format.json", b"daily.0", b"lost+found", b".dedupe.tmp", b".dedupe-tmp-1", b"+ include", b"- exclude",
        b"a" * 64, b"0123456789abcdef" * 4 + b".0123456789abcdef", b"0123456789abcdef" * 4 + b".0123456789abcdef.1",
    ]
    for name in special:
        attempt("name " + shown(name), write, join(folder, name), b"named " + name)
    folders = directory(folder, "folders")
    for number, name in enumerate(special):
        inner = join(folders, name)
        if attempt("folder " + shown(name), os.mkdir, inner):
            write(join(inner, name), b"inside %d" % number)
            os.symlink(name, join(inner, b"l"))


def times(top, _options):
    folder = directory(top, "times")
    moments = {
        "zero": 0, "one-ns": 1, "first-ns-before-1970": -1, "half-before-1970": -SECOND // 2, "one-second": SECOND,
        "minus-one-second": -SECOND, "1950": -631152000 * SECOND, "1950-ns": -631152000 * SECOND + 123456789,
        "1901-last": -(2**31) * SECOND + SECOND + 5, "2001": 10**18, "ns": 1600000000 * SECOND + 123456789,
        "ns-1": 1600000000 * SECOND + 1, "ns-999999999": 1600000000 * SECOND + 999999999,
        "2038-before": (2**31 - 1) * SECOND + 7, "2038-after": 2**31 * SECOND + 123456789,
        "2106-before": (2**32 - 1) * SECOND + 1, "2106-after": 2**32 * SECOND + 987654321,
        "2200": 7258118400 * SECOND + 1, "2446": (LAST_SECOND - 1) * SECOND + 999999999,
    }
    for name, ns in moments.items():
        inner = directory(folder, "of-" + name)
        for _kind, path in each_type(inner, b"-" + name.encode()):
            attempt("time " + name, os.utime, path, ns=(ns, ns), follow_symlinks=False)
        empty = directory(folder, "dir-" + name)
        attempt("time " + name, os.utime, empty, ns=(ns, ns))


def modes(top, _options):
    folder = directory(top, "modes")
    wanted = {0, 0o7777, 0o777, 0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o6711, 0o4000, 0o2000, 0o1000, 0o2644}
    wanted |= {1 << bit for bit in range(12)} | {0o7777 ^ (1 << bit) for bit in range(12)}
    for mode in sorted(wanted):
        path = write(join(folder, "file-%04o" % mode), b"mode %o" % mode)
        os.chmod(path, mode)
        inner = directory(folder, "dir-%04o" % mode)
        write(join(inner, b"inside"), b"inside mode %o" % mode)
        os.chmod(inner, mode)
        fifo = join(folder, "fifo-%04o" % mode)
        os.mkfifo(fifo)
        os.chmod(fifo, mode)


def owners(top, _options):
    folder = directory(top, "owners")
    for uid in OWNERS:
        for gid in OWNERS:
            tag = b"-%d-%d" % (uid, gid)
            for kind, path in each_type(folder, tag):
                os.chown(path, uid, gid, follow_symlinks=False)
                if kind == "file":
                    # The kernel clears these bits when the owner changes.
                    os.chmod(path, 0o6755)
            inner = directory(folder, b"dir" + tag)
            os.chown(inner, uid, gid)
            # A new entry takes its group from a setgid directory.
            os.chmod(inner, 0o2775)
            child = write(join(inner, b"child"), b"child" + tag)
            os.chown(child, gid, uid)


def capability(version, rootid=None):
    """struct vfs_cap_data: cap_net_raw and cap_net_bind_service permitted and effective, as setcap writes it."""
    body = struct.pack("<IIIII", (version << 24) | 1, (1 << 13) | (1 << 10), 0, 0, 0)
    return body if rootid is None else body + struct.pack("<I", rootid)


def xattrs(top, _options):
    folder = directory(top, "xattrs")
    sets = {
        "one": {b"user.one": b"value"},
        "empty-value": {b"user.empty": b""},
        "binary-value": {b"user.binary": bytes(range(256))},
        "zeros": {b"user.zeros": bytes(100)},
        "binary-name": {b"user.\xff\xfe\x01\n": b"binary name", b"user. ": b"blank", b"user.\xc3\xa9": b"utf-8"},
        "long-name": {b"user." + b"n" * 250: b"a name of 255 bytes"},
        "large-value": {b"user.large": bytes_of(b"large", 3800)},
        "many": {b"user.many-%02d" % number: bytes_of(b"many", number) for number in range(60)},
        "dotted": {b"user.a.b.c": b"1", b"user.user.": b"2", b"user.rsync.%stat": b"3", b"user.DOSATTRIB": b"4"},
        "trusted": {b"trusted.one": b"for root alone", b"trusted.overlay.opaque": b"y"},
        "security": {b"security.dedupe": b"\x00\x01", b"security.ima": b"\x04\x04"},
        "mixed": {b"user.mixed": b"u", b"trusted.mixed": b"t", b"security.mixed": b"s"},
    }
    for name, wanted in sets.items():
        path = write(join(folder, "file-" + name), b"xattrs " + name.encode())
        inner = directory(folder, "dir-" + name)
        for attribute, value in wanted.items():
            for where in (path, inner):
                attempt("xattr " + shown(attribute), os.setxattr, where, attribute, value)
    read_only = write(join(folder, b"read-only"), b"read only with an xattr")
    attempt("xattr user.ro", os.setxattr, read_only, b"user.ro", b"1")
    os.chmod(read_only, 0o444)
    bare = write(join(folder, b"empty-file"))
    attempt("xattr of an empty file", os.setxattr, bare, b"user.of-empty", b"1")
    for name, value in (("v2", capability(2)), ("v3", capability(3, 1000))):
        path = write(join(folder, "capability-" + name), b"#!capability " + name.encode())
        # A change of owner drops capabilities: a copier has to set them after it.
        os.chown(path, 1000, 1000)
        os.chmod(path, 0o755)
        attempt("capability " + name, os.setxattr, path, b"security.capability", value)
    for kind, path in each_type(folder, b"-special"):
        attempt("trusted xattr of a " + kind, os.setxattr, path, b"trusted.of", kind.encode(), follow_symlinks=False)


USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, who) for tag, bits, who in entries)


def minimal_acl(*between, mask=7):
    ends = [(USER_OBJ, 6, NOBODY), (GROUP_OBJ, 4, NOBODY), (MASK, mask, NOBODY), (OTHER, 0, NOBODY)]
    order = (USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER)
    return acl(*sorted([*ends, *between], key=lambda entry: (order.index(entry[0]), entry[2])))


def acls(top, _options):
    folder = directory(top, "acls")
    access, default = b"system.posix_acl_access", b"system.posix_acl_default"
    values = {
        "user": minimal_acl((USER, 6, 1000)),
        "group": minimal_acl((GROUP, 5, 65534)),
        "narrow-mask": minimal_acl((USER, 7, 1000), (GROUP, 7, 1000), mask=0),
        "highest-id": minimal_acl((USER, 4, HIGHEST_ID), (GROUP, 2, HIGHEST_ID)),
        "many": minimal_acl(*((USER, number % 8, 2000 + number) for number in range(30))),
    }
    for name, value in values.items():
        path = write(join(folder, "file-" + name), b"acl " + name.encode())
        attempt("ACL " + name, os.setxattr, path, access, value)
        inner = directory(folder, "dir-" + name)
        # Made before the default ACL: it has none, and a copier must not let it inherit one.
        plain = write(join(inner, b"plain"), b"plain " + name.encode())
        os.chmod(plain, 0o666)
        os.mkdir(join(inner, b"plain-dir"), 0o777)
        os.chmod(join(inner, b"plain-dir"), 0o777)
        attempt("ACL " + name, os.setxattr, inner, access, value)
        attempt("default ACL " + name, os.setxattr, inner, default, value)
        write(join(inner, b"inherits"), b"inherits " + name.encode())
        os.mkdir(join(inner, b"inherits-dir"))
    only = directory(folder, "default-only")
    os.mkfifo(join(only, b"plain-fifo"), 0o600)
    os.chmod(join(only, b"plain-fifo"), 0o622)
    attempt("default ACL", os.setxattr, only, default, values["user"])
    os.symlink(b"x", join(only, b"symlink"))
    for kind, path in each_type(folder, b"-acl"):
        if kind != "symlink":
            attempt("ACL of a " + kind, os.setxattr, path, access, values["user"])


def sparse(top, _options):
    # No preallocated blocks: whether SEEK_DATA calls them data depends on what is in the page cache.
    folder = directory(top, "sparse")
    block, mib = 4096, 1 << 20
    data = lambda length: bytes_of(b"sparse", length)
    shapes = {
        "all-hole": (mib, []),
        "all-hole-1-byte": (1, []),
        "all-hole-4095": (4095, []),
        "all-hole-4097": (4097, []),
        "hole-at-start": (mib, [(mib - 3 * block, data(3 * block))]),
        "hole-at-end": (mib, [(0, data(3 * block))]),
        "hole-in-middle": (mib, [(0, data(2 * block)), (mib - 2 * block, data(2 * block))]),
        "hole-at-unaligned-end": (mib + 77, [(0, data(block))]),
        "many-small": (512 * block, [(index * 2 * block, data(block)) for index in range(256)]),
        "unaligned": (20 * block + 5, [(5000, data(100)), (10 * block - 1, data(2)), (15 * block + 1, data(block))]),
        "one-byte-at-end": (mib, [(mib - 1, b"x")]),
        "large-hole-in-middle": (24 * mib, [(0, data(5 * mib)), (19 * mib, data(5 * mib))]),
        "over-4-gib": (5 * 2**30 + 123, [(0, data(block)), (2**32 - 10, data(20)), (5 * 2**30, data(123))]),
        "zeros-as-data": (64 * block, [(0, bytes(64 * block))]),
        "zeros-then-data": (64 * block, [(0, bytes(32 * block)), (48 * block, data(16 * block))]),
    }
    for name, (size, pieces) in shapes.items():
        path = join(folder, name.encode())
        with open(path, "wb") as opened:
            for offset, piece in pieces:
                os.pwrite(opened.fileno(), piece, offset)
            attempt("sparse " + name, os.truncate, opened.fileno(), size)


def sizes(top, _options):
    folder = directory(top, "sizes")
    for power in (0, 12, 13, 14, 15, 16, 17, 18, 20, 22):
        for off in (-1, 0, 1):
            size = (1 << power) + off
            write(join(folder, "size-%d" % size), bytes_of(b"size", size))
    write(join(folder, b"eight-mib"), bytes_of(b"eight", 8 << 20))


def specials(top, _options):
    folder = directory(top, "specials")
    os.mkfifo(join(folder, b"fifo"), 0o600)
    os.mknod(join(folder, b"socket"), stat.S_IFSOCK | 0o755)
    # xfs holds majors up to 511 and minors up to 2^18 - 1.
    for major, minor in ((0, 0), (1, 3), (5, 1), (255, 255), (259, 300), (511, 262143), (4095, 1048575)):
        for kind, letter in ((stat.S_IFCHR, "c"), (stat.S_IFBLK, "b")):
            name = "%s-%d-%d" % (letter, major, minor)
            attempt("device " + name, os.mknod, join(folder, name), kind | 0o660, os.makedev(major, minor))


def symlinks(top, _options):
    folder = directory(top, "symlinks")
    targets = {
        "dangling": b"no/such/thing", "absolute": b"/etc/passwd", "absolute-dangling": b"/nonexistent/\xff", "dot": b".",
        "dotdot": b"../../..", "self": b"self", "root": b"/", "directory": b"../names", "file": b"../modes/file-0644",
        "newline": b"a\nb", "non-utf8": b"\xff\xfe\x80/\xc3", "slashes": b"//a//b//", "trailing": b"names/", "short": b"x",
        "59": b"f" * 59, "60": b"s" * 60, "1023": b"t" * 1023,
        # xfs ends at 1,024 bytes, ext4 at its block size.
        "4095": (b"d" * 254 + b"/") * 16 + b"e" * 15,
    }
    for name, target in targets.items():
        path = join(folder, name.encode())
        if not attempt("symlink " + name, os.symlink, target, path):
            continue
        os.utime(path, ns=(0, 1234567890 * SECOND + len(target)), follow_symlinks=False)
    own = join(folder, b"owned")
    os.symlink(b"owned by others", own)
    os.chown(own, 65534, 1000, follow_symlinks=False)
    os.utime(own, ns=(5, 2**32 * SECOND + 5), follow_symlinks=False)
    marked = join(folder, b"with-xattr")
    os.symlink(b"with a trusted xattr", marked)
    attempt("trusted xattr of a symlink", os.setxattr, marked, b"trusted.link", b"\x00v", follow_symlinks=False)
    attempt("security xattr of a symlink", os.setxattr, marked, b"security.link", b"s", follow_symlinks=False)


def links(top, _options):
    folder = directory(top, "links")
    elsewhere = directory(folder, "elsewhere", "deeper")
    for kind, path in each_type(folder):
        for number in range(3):
            os.link(path, join(elsewhere, b"%s-%d" % (os.path.basename(path), number)), follow_symlinks=False)
        os.link(path, path + b"-beside", follow_symlinks=False)
    sole = directory(folder, "all-one-inode")
    first = write(join(sole, b"0"), b"one inode, a hundred names")
    for number in range(1, 100):
        os.link(first, join(sole, b"%d" % number))


def merging(top, _options):
    """Pairs that differ in nothing, and pairs that differ in just one thing."""
    folder = directory(top, "merging")
    moment = 1500000000 * SECOND + 5

    def twin(name, content=b"the same content", ns=moment):
        path = write(join(folder, name.encode()), content)
        os.chmod(path, 0o644)
        os.utime(path, ns=(ns, ns))
        return path

    for number in range(3):
        twin("same-%d" % number)
        os.utime(write(join(folder, b"empty-%d" % number)), ns=(moment, moment))
    twin("one-ns-later", ns=moment + 1)
    twin("one-second-later", ns=moment + SECOND)
    os.chmod(twin("other-mode"), 0o600)
    os.chown(twin("other-owner"), 1000, 0)
    os.chown(twin("other-group"), 0, 1000)
    attempt("xattr", os.setxattr, twin("other-xattr"), b"user.differs", b"")
    attempt("ACL", os.setxattr, twin("other-acl"), b"system.posix_acl_access", minimal_acl((USER, 4, 1000)))
    twin("other-content", content=b"the same contenT")
    twin("longer", content=b"the same content\x00")
    for number in range(2):
        twin("large-%d" % number, content=bytes_of(b"large twin", 3 << 20))
        path = twin("sparse-%d" % number, content=b"")
        with open(path, "r+b") as opened:
            os.pwrite(opened.fileno(), bytes(1 << 16) if number else b"", 0)
            os.truncate(opened.fileno(), 1 << 16)
        os.utime(path, ns=(moment, moment))


def directories(top, options):
    folder = directory(top, "directories")
    for name, mode in (("locked", 0), ("read-only", 0o555), ("write-only", 0o333), ("sticky", 0o1777), ("setgid", 0o2770)):
        inner = directory(folder, name)
        write(join(inner, b"inside"), b"inside " + name.encode())
        directory(inner, "empty")
        os.chmod(join(inner, b"empty"), mode)
        os.chmod(inner, mode)
    for number in range(5):
        directory(folder, "empty", "level", "%d" % number)
    crowd = directory(folder, "crowd")
    first = None
    for number in range(options.entries):
        path = join(crowd, b"entry-%05d" % number)
        if number % 10 == 0:
            first = write(path, b"crowd %d" % number)
        else:
            os.link(first, path)


def nested_store(top, _options):
    """`.dedupe` is left out at the top of a root only."""
    inner = directory(top, ".dedupe", "objects", "ab")
    write(join(inner, b"cdef.0"), b"looks like an object")
    write(join(top, b".dedupe", b"format.json"), b'{"version":999}\n')
    directory(top, "stores", "home")
    write(join(top, b"stores", b".dedupe"), b"a file named .dedupe")
    os.symlink(b"/", join(top, b"stores", b"home", b".dedupe"))
    os.mkdir(directory(top, "stores", "empty") + b"/lost+found")


SECTIONS = {
    "names": names, "times": times, "modes": modes, "owners": owners, "xattrs": xattrs, "acls": acls, "sparse": sparse,
    "sizes": sizes, "specials": specials, "symlinks": symlinks, "links": links, "merging": merging,
    "directories": directories, "nested-store": nested_store,
}


# ------------------------------------------------------------------------------- the second snapshot, depth


def mirror(source, target):
    """The second snapshot: directories anew, every other name a hard link, as `cp -al` and rsnapshot do."""
    os.mkdir(target)
    for entry in os.scandir(source):
        inner = join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            mirror(entry.path, inner)
        else:
            os.link(entry.path, inner, follow_symlinks=False)
    found = os.stat(source)
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        if not name.startswith("trusted.SGI_ACL"):
            os.setxattr(target, os.fsencode(name), os.getxattr(source, os.fsencode(name)))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def age(newer, older):
    """Days pass: some of the older snapshot's files are not the newer one's."""
    for name in (b"names/byte-a", b"sizes/size-4096", b"merging/large-1", b"modes/file-6711"):
        path = join(older, name)
        if os.path.exists(path):
            os.unlink(path)
            write(path, b"as it was a day before: " + name)
    for name in (b"names/byte-b", b"sizes/size-1", b"specials/fifo"):
        if os.path.exists(join(newer, name)):
            os.unlink(join(newer, name))
    write(join(older, b"gone since"), b"only in the older snapshot")
    write(join(newer, b"new since"), b"only in the newer snapshot")


def chains(newer, older):
    """Paths longer than PATH_MAX: by long names, and by many short ones; both snapshots, linked."""
    for label, name, levels in ((b"long-names", b"n" * 250, 48), (b"many-levels", b"d", 2200)):
        pair = [os.open(directory(top, "deep", label), os.O_RDONLY) for top in (newer, older)]
        for level in range(levels):
            pair = [descend(descriptor, name) for descriptor in pair]
            if level % (levels // 8) == 0 or level == levels - 1:
                leave_files(pair, level)
        for descriptor in pair:
            os.close(descriptor)


def descend(descriptor, name):
    os.mkdir(name, dir_fd=descriptor)
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
    os.close(descriptor)
    return inner


def leave_files(pair, level):
    opened = os.open(b"file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=pair[0])
    os.write(opened, b"level %d" % level)
    attempt("xattr", os.setxattr, opened, b"user.level", b"%d" % level)
    os.fchown(opened, 1000, level)
    os.close(opened)
    os.symlink(b"../file", b"symlink", dir_fd=pair[0])
    os.utime(b"symlink", ns=(1, level * SECOND + 1), dir_fd=pair[0], follow_symlinks=False)
    os.mkfifo(b"fifo", 0o600, dir_fd=pair[0])
    marked = b"/proc/self/fd/%d/symlink" % pair[0]
    attempt("trusted xattr", os.setxattr, marked, b"trusted.level", b"1", follow_symlinks=False)
    for name in (b"file", b"symlink", b"fifo"):
        os.link(name, name, src_dir_fd=pair[0], dst_dir_fd=pair[1], follow_symlinks=False)
        os.link(name, name + b"-again", src_dir_fd=pair[0], dst_dir_fd=pair[1], follow_symlinks=False)


def stamp_directories(top, pinned):
    """Every directory a time of its own, to the nanosecond, after everything in it was made."""
    stack = [(os.open(top, os.O_RDONLY | os.O_DIRECTORY), 0)]
    number = 0
    while stack:
        descriptor, depth = stack.pop()
        number += 1
        ns = (1100000000 + number * 86399) * SECOND + number * 1000003 % SECOND
        os.utime(descriptor, ns=(ns, ns))
        for name in os.listdir(descriptor):
            encoded = os.fsencode(name)
            found = os.stat(encoded, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and not (depth == 1 and encoded in pinned):
                stack.append((os.open(encoded, os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor), depth + 1))
        os.close(descriptor)


def loose(root, newer):
    """What lies beside the snapshots in a real root."""
    write(join(root, b"loose file"), b"beside the snapshots")
    os.symlink(b"daily.0", join(root, b"latest"))
    os.mkfifo(join(root, b"loose fifo"))
    inside = join(newer, b"links", b"file")
    if os.path.exists(inside):
        os.link(inside, join(root, b"loose link"))


def set_immutable(path, wanted):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = array.array("i", [0, 0])
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, flags, True)
        flags[0] = flags[0] | FS_IMMUTABLE_FL if wanted else flags[0] & ~FS_IMMUTABLE_FL
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, flags)
    finally:
        os.close(descriptor)


def immutable_files(root):
    return [join(root, snapshot, b"immutable", name) for snapshot in (b"daily.0", b"daily.1") for name in (b"alone", b"linked")]


def immutable(root):
    for path in immutable_files(root):
        directory(os.path.dirname(path))
    alone, linked, alone_too, linked_too = immutable_files(root)
    write(alone, b"immutable in daily.0")
    write(alone_too, b"immutable in daily.1")
    write(linked, b"immutable in both")
    os.link(linked, linked_too)
    return [alone, alone_too, linked]


# ------------------------------------------------------------------------------------------ command line


def build(options):
    root = os.fsencode(options.root)
    os.umask(0o022)
    os.makedirs(root, exist_ok=True)
    newer, older = join(root, b"daily.0"), join(root, b"daily.1")
    os.mkdir(newer)
    for name, section in SECTIONS.items():
        if name not in options.without:
            section(newer, options)
    mirror(newer, older)
    age(newer, older)
    loose(root, newer)
    if "deep" not in options.without:
        chains(newer, older)
    frozen = immutable(root) if "immutable" not in options.without else []
    if "xattrs" not in options.without:
        attempt("xattr of the root", os.setxattr, root, b"user.root", b"the root has attributes too")
    os.chown(root, 1000, 65534)
    os.chmod(root, 0o2751)
    stamp_directories(root, {b"times"})
    for path in frozen:
        attempt("immutable flag", set_immutable, path, True)
    json.dump({"unsupported": sorted(set(unsupported))}, sys.stdout)


def clean(options):
    for path in immutable_files(os.fsencode(options.root)):
        if os.path.exists(path):
            try:
                set_immutable(path, False)
            except OSError as error:
                if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                    raise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("build", "clean"):
        commands.add_parser(name).add_argument("root")
    builder = commands.choices["build"]
    choices = [*SECTIONS, "deep", "immutable"]
    builder.add_argument("--without", action="append", default=[], choices=choices, metavar="SECTION")
    builder.add_argument("--entries", type=int, default=20000, help="names in the crowded directory")
    options = parser.parse_args()
    {"build": build, "clean": clean}[options.command](options)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Replaces and edits files of a tree until standard input ends; at the end it looks whether each holds what it wrote.

    writer.py ROOT        prints "ready", and at the end "N writes, M lost"
"""

import os
import random
import sys
import threading
import time

root = sys.argv[1]
paths = [
    os.path.join(folder, name)
    for folder, _, names in os.walk(root)
    for name in names
    if "/.dedupe" not in folder and not os.path.islink(os.path.join(folder, name))
]
paths = sorted(paths)[::10]


def content(path):
    with open(path, "rb") as opened:
        return opened.read()


expected = {}
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
writes = 0
while not ended.is_set():
    path = random.choice(paths)
    text = b"written %d\n" % writes
    before = expected.get(path, content(path))
    if writes % 2 == 0 or os.stat(path).st_nlink > 1:
        # What shares its inode must be replaced: an edit would show under its other names too.
        with open(path + ".new", "wb") as opened:
            opened.write(text)
        os.rename(path + ".new", path)
        expected[path] = text
    else:
        with open(path, "ab") as opened:
            if os.fstat(opened.fileno()).st_nlink == 1:
                opened.write(text)
                expected[path] = before + text
    writes += 1
    time.sleep(0.001)
lost = [path for path, text in expected.items() if content(path) != text]
print(f"{writes} writes, {len(lost)} lost {lost[:3]}" if lost else f"{writes} writes, 0 lost")

#!/usr/bin/env python3
"""Reads names of a tree at random until standard input ends; each must give what it gave at first.

    reader.py ROOT        prints "ready", and at the end "N reads, M bad"
"""

import os
import random
import sys
import threading

root = sys.argv[1]
paths = [
    os.path.join(folder, name)
    for folder, folders, names in os.walk(root)
    for name in names
    if "/.dedupe" not in folder and not os.path.islink(os.path.join(folder, name))
]


def content(path):
    with open(path, "rb") as opened:
        return opened.read()


expected = {path: content(path) for path in paths}
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
print("ready", flush=True)
reads = bad = 0
while not ended.is_set():
    path = random.choice(paths)
    reads += 1
    try:
        if content(path) != expected[path]:
            bad += 1
    except OSError:
        bad += 1
print(f"{reads} reads, {bad} bad")

"""Writes a tree of SIZE MiB: files of many sizes, half of their bytes random but always the same."""

import os
import random
import sys

generator = random.Random(5)
left, number = int(sys.argv[1]) << 20, 0
while left > 0:
    size = min(left, generator.choice((300, 5000, 70000, 900000, 6000000)))
    folder = f"tree/{number % 7}/{number % 5}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{number}", "wb") as file:
        file.write((generator.randbytes(size // 2) + b"the same again and again " * (size // 25))[:size])
    left, number = left - size, number + 1

"""Writes a tree of text files to search, from a seed."""
import os
import sys

files, state = int(sys.argv[1]), 3
words = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l", "")]
page = []
for _ in range(60000):
    state = (state * 69069 + 1) & 0xFFFFFFFF
    page.append(words[(state >> 9) % len(words)])
for n in range(files):
    os.makedirs(f"text/{n % 16}", exist_ok=True)
    shift = n * 37 % 40000
    with open(f"text/{n % 16}/page{n}.txt", "w") as out:
        for line in range(shift, shift + 18000, 12):
            out.write(" ".join(page[line:line + 12]) + f" {n}\n")

"""Prints a history of SIZE commits for git fast-import."""

import random
import sys

generator = random.Random(3)
for n in range(1, int(sys.argv[1]) + 1):
    text = "".join(f"line {generator.randrange(10**6)} of {n}\n" for _ in range(60))
    print(f"commit refs/heads/main\nmark :{n}\ncommitter A <a@example.org> {10**9 + n} +0000\ndata <<END\nchange {n}\nEND")
    print(f"M 100644 inline dir{n % 9}/file{n % 83}\ndata <<END\n{text}END\n")

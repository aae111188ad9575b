"""A random 3-SAT formula near the threshold where they are hard, from a seed."""
import sys

variables, seed = (int(word) for word in sys.argv[1].split(":"))
clauses = int(variables * 4.26)
state = seed


def dice(n):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
    return (state >> 33) % n


print("p cnf", variables, clauses)
for _ in range(clauses):
    picked = set()
    while len(picked) < 3:
        picked.add(dice(variables) + 1)
    print(*(v if dice(2) else -v for v in sorted(picked)), 0)

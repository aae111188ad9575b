"""Planets on a symplectic integrator, a sieve kept in a dict, and a log written line by line."""
import sys
from math import sqrt

steps = int(sys.argv[1])
bodies = [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 39.47]]
for i in range(1, 6):
    radius = 0.4 + i * 0.9
    speed = sqrt(39.47 / radius)
    bodies.append([radius, 0.01 * i, 0.02 * i, 0.0, speed, 0.05 * speed, 1e-3 / i])


def advance(dt):
    for i, a in enumerate(bodies):
        for b in bodies[i + 1:]:
            dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
            pull = dt / (dx * dx + dy * dy + dz * dz) ** 1.5
            a[3] -= dx * b[6] * pull
            a[4] -= dy * b[6] * pull
            a[5] -= dz * b[6] * pull
            b[3] += dx * a[6] * pull
            b[4] += dy * a[6] * pull
            b[5] += dz * a[6] * pull
    for a in bodies:
        a[0] += dt * a[3]
        a[1] += dt * a[4]
        a[2] += dt * a[5]


seen = {}
with open("orbit.log", "w") as log:
    for step in range(steps):
        advance(0.0005)
        key = tuple(round(body[0], 2) for body in bodies[:3])
        seen[key] = seen.get(key, 0) + 1
        if step % 500 == 0:
            log.write(f"{step} {bodies[1][0]:.17g} {bodies[5][1]:.17g} {len(seen)}\n")
            print(step, repr(bodies[3][0]), flush=step % 1000 == 0)
print("places", len(seen), "most", max(seen.values()))
sys.exit(23)

"""Heat on a plate, matrix powers and a seeded random walk, with numpy and its linear-algebra threads."""
import sys

import numpy as np

rounds = int(sys.argv[1])
random = np.random.default_rng(20)
plate = random.random((600, 600))
matrix = random.standard_normal((400, 400)) / 20
power = np.eye(400)
for n in range(rounds):
    for _ in range(10):
        inside = plate[1:-1, 1:-1]
        plate[1:-1, 1:-1] = inside + 0.2 * (
            plate[:-2, 1:-1] + plate[2:, 1:-1] + plate[1:-1, :-2] + plate[1:-1, 2:] - 4 * inside)
    power = power @ matrix
    power /= np.abs(power).max()
    walk = np.cumsum(random.standard_normal(200000))
    print(n, plate.sum().hex(), float(power[3, 5]).hex(), float(walk[-1]).hex(), flush=True)
np.save("plate.npy", plate)
np.save("power.npy", power)
np.save("spectrum.npy", np.abs(np.fft.rfft2(plate)))

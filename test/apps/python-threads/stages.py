"""A pipeline of threads joined by queues, workers under a semaphore, and a timer thread: the result is in order all the same."""
import hashlib
import queue
import sys
import threading
import zlib

blocks = int(sys.argv[1])
to_pack, to_sum = queue.Queue(maxsize=8), queue.Queue(maxsize=8)
results, ready = {}, threading.Condition()
slots = threading.BoundedSemaphore(3)
ticks = 0
over = threading.Event()


def tick():
    global ticks
    while not over.wait(timeout=0.05):
        ticks += 1


def make():
    state = 12345
    for n in range(blocks):
        out = bytearray()
        for _ in range(6000):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            out.append(state >> 16 & 0x1F)
        to_pack.put((n, bytes(out)))
    for _ in range(4):
        to_pack.put(None)


def pack():
    while (item := to_pack.get()) is not None:
        with slots:
            to_sum.put((item[0], zlib.compress(item[1] * 8, 9)))
    to_sum.put(None)


def digest():
    left = 4
    while left:
        item = to_sum.get()
        if item is None:
            left -= 1
            continue
        with ready:
            results[item[0]] = hashlib.sha256(item[1]).hexdigest()
            ready.notify_all()


threads = [threading.Thread(target=t) for t in (make, pack, pack, pack, pack, digest)]
clock = threading.Thread(target=tick)
for t in threads + [clock]:
    t.start()
for n in range(blocks):
    with ready:
        while n not in results:
            ready.wait(timeout=0.5)
    print(n, results[n])
for t in threads:
    t.join()
over.set()
clock.join()
print("ticked" if ticks else "never ticked", threading.active_count())

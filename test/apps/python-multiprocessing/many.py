"""Pools made by fork and by spawn, queues, shared memory, a manager: each result is written down in a fixed order."""

import hashlib
import multiprocessing
import sys
from multiprocessing import shared_memory


def digest(seed):
    value = str(seed).encode()
    for _ in range(30000):
        value = hashlib.sha256(value).digest()
    return value.hex()[:16]


def double(source, target):
    for number in iter(source.get, None):
        target.put((number, number * 2, digest(number % 7)))
    target.put(None)


def fill(name, part, parts):
    area = shared_memory.SharedMemory(name=name)
    size = len(area.buf) // parts
    for at in range(part * size, (part + 1) * size):
        area.buf[at] = (at * 31 + part) % 251
    area.close()


def add(counter, lock, shared, times):
    for _ in range(times):
        with lock:
            counter.value += 1
    shared["times"] = shared.get("times", 0) + times


def pool(context, size):
    with context.Pool(3) as workers:
        return list(workers.imap(digest, range(size), chunksize=2)) + workers.map(digest, range(5))


def queues(context, size):
    source, target = context.Queue(), context.Queue()
    worker = context.Process(target=double, args=(source, target))
    worker.start()
    for number in range(size):
        source.put(number)
    source.put(None)
    found = list(iter(target.get, None))
    worker.join()
    return found, worker.exitcode


def shared_area(context):
    area = shared_memory.SharedMemory(create=True, size=400000)
    workers = [context.Process(target=fill, args=(area.name, part, 4)) for part in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = hashlib.sha256(bytes(area.buf[:400000])).hexdigest()
    area.close()
    area.unlink()
    return found


def managed(context):
    with context.Manager() as manager:
        shared, lock, counter = manager.dict(), context.Lock(), context.Value("i", 0)
        workers = [context.Process(target=add, args=(counter, lock, shared, 500)) for _ in range(2)]
        for worker in workers:
            worker.start()
            worker.join()
        return counter.value, dict(shared)


def main():
    size = int(sys.argv[1])
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        print(method, "pool", pool(context, size), flush=True)
        print(method, "queues", queues(context, size), flush=True)
        print(method, "shared memory", shared_area(context), flush=True)
        print(method, "manager", managed(context), flush=True)
    sys.exit(19)


if __name__ == "__main__":
    main()

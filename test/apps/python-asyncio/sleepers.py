"""Many coroutines that mostly sleep, a queue between them, a subthread pool, and a deadline that must not fire early."""
import asyncio
import sys
import time

rounds = int(sys.argv[1])
order = []


async def sleeper(name, pause):
    for n in range(rounds):
        await asyncio.sleep(pause)
        order.append((name, n))


async def slow_square(loop, n):
    return await loop.run_in_executor(None, lambda: (time.sleep(0.01), n * n)[1])


async def main():
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    queue = asyncio.Queue(4)

    async def producer():
        for n in range(rounds * 5):
            await asyncio.sleep(0.02)
            await queue.put(await slow_square(loop, n))
        await queue.put(None)

    async def consumer():
        total = 0
        while (item := await queue.get()) is not None:
            total += item
            print("square", item, total, flush=True)
        return total

    tasks = [sleeper(f"s{i}", 0.1 + i * 0.003) for i in range(40)]
    total, *_ = await asyncio.gather(consumer(), producer(), *tasks)
    try:
        await asyncio.wait_for(asyncio.Event().wait(), timeout=0.4)
    except asyncio.TimeoutError:
        print("deadline after its time" if time.monotonic() - began >= rounds * 0.1 + 0.4 else "deadline too early")
    counts = {name: sum(1 for who, _ in order if who == name) for name, _ in order}
    print(total, sorted(counts.items()))
    print("each in its order", all([n for who, n in order if who == name] == list(range(rounds)) for name in counts))


asyncio.run(main())

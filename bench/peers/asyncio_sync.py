"""asyncio_sync.py -- Python's asyncio: Queue, Lock, Semaphore, Condition."""
import asyncio
import sys
import time


async def timed(*tasks):
    all = [asyncio.ensure_future(t) for t in tasks]
    start = time.process_time_ns()
    results = await asyncio.gather(*all)
    return time.process_time_ns() - start, results


async def produce(queue, n):
    for i in range(n):
        await queue.put(i)


async def consume(queue, n):
    total = 0
    for _ in range(n):
        total += await queue.get()
    return total


async def channel(n, room):
    queue = asyncio.Queue(room)
    ns, results = await timed(produce(queue, n), consume(queue, n))
    assert results[1] == n * (n - 1) // 2, "channel: the sum"
    return ns


async def lock_and_yield(lock, n):
    for _ in range(n):
        async with lock:
            await asyncio.sleep(0)


async def contended(n, tasks):
    lock = asyncio.Lock()
    return (await timed(*[lock_and_yield(lock, n // tasks) for _ in range(tasks)]))[0]


async def hold_often(lock, n):
    for i in range(n):
        async with lock:
            pass
        if i % 100 == 99:
            await asyncio.sleep(0)


async def uncontended(n, lock):
    return (await timed(hold_often(lock, n)))[0]


async def player(changed, turn, who, n):
    async with changed:
        for _ in range(n):
            while turn[0] != who:
                await changed.wait()
            turn[0] = 1 - who
            changed.notify()


async def cond(n):
    changed, turn = asyncio.Condition(), [0]
    return (await timed(*[player(changed, turn, who, n // 2) for who in range(2)]))[0]


BENCHES = {
    "chan64": lambda n: channel(n, 64),
    "chan1": lambda n: channel(n, 1),
    "mutex2": lambda n: contended(n, 2),
    "mutex10": lambda n: contended(n, 10),
    "mutex": lambda n: uncontended(n, asyncio.Lock()),
    "sem": lambda n: uncontended(n, asyncio.Semaphore(2)),
    "cond": cond,
}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in BENCHES:
        sys.exit(2)
    n = int(sys.argv[2])
    print("%.3f" % (asyncio.run(BENCHES[sys.argv[1]](n)) / n))


main()

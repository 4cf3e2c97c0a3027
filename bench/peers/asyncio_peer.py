"""asyncio_peer.py -- Python's asyncio, from which the library takes its toolbox.

For sleeps the loop's clock is replaced by a virtual one that jumps to the next deadline.
"""
import asyncio
import random
import sys
import time


async def yielder(n):
    for _ in range(n):
        await asyncio.sleep(0)


async def switch(n, tasks):
    all = [asyncio.ensure_future(yielder(n // tasks)) for _ in range(tasks)]
    start = time.process_time_ns()
    await asyncio.gather(*all)
    return time.process_time_ns() - start


async def child():
    pass


async def spawn(n, at_once):
    start = time.process_time_ns()
    for _ in range(n // at_once):
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(child())
    return time.process_time_ns() - start


class VirtualTime(asyncio.SelectorEventLoop):
    """Time stands still while anything is ready, then jumps to the earliest deadline."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


async def sleeper(seconds, woken):
    await asyncio.sleep(seconds)
    woken.append(seconds)


async def sleeps(n):
    rng = random.Random(7)
    woken = []
    all = [asyncio.ensure_future(sleeper(rng.random() * 10, woken)) for _ in range(n)]
    start = time.process_time_ns()
    await asyncio.gather(*all)
    ns = time.process_time_ns() - start
    # The loop fires early what is due within its clock's resolution, in the heap's order.
    assert all_sorted(woken), "the order of waking"
    return ns


def all_sorted(times):
    return all(a <= b + 1e-8 for a, b in zip(times, times[1:]))


BENCHES = {
    "switch2": lambda n: switch(n, 2),
    "switch1k": lambda n: switch(n, 1000),
    "spawn": lambda n: spawn(n, 1),
    "spawn_mass": lambda n: spawn(n, n),
    "sleeps": sleeps,
}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in BENCHES:
        sys.exit(2)
    n = int(sys.argv[2])
    loop = VirtualTime() if sys.argv[1] == "sleeps" else asyncio.new_event_loop()
    print("%.3f" % (loop.run_until_complete(BENCHES[sys.argv[1]](n)) / n))


main()

#!/bin/sh
# usage: plot.sh   draws bench/pictures/*.svg from build/bench.json, build/latency.dat, and what
# build/demo.log has of a terminal in which the demo ran: see `make pictures`.
set -e
cd "$(dirname "$0")/.."
out=bench/pictures
mkdir -p "$out"

# A row a bar: its place, nanoseconds, its colour, its name; the titles of the groups in a file of
# their own.
python3 - << 'END'
import json

GROUPS = [
    ("switch1k", "a task switch, 1,000 tasks"), ("call", "a call that does not wait"),
    ("spawn", "spawn a task, wait for it"), ("chan64", "an item through a queue"),
    ("guard", "a deadline beside 100,000 others"), ("mutex", "lock and unlock, uncontended"),
    ("echo100_cpu", "a request echoed over TCP (CPU)")]
PROGRAMS = [
    ("ours-gcc", "coro", 0x2563eb), ("limit-gcc", "by hand", 0x64748b),
    ("cxx20-gcc", "C++20, bare", 0x94a3b8), ("rust", "Rust, bare", 0x94a3b8),
    ("boost-fiber", "Boost.Fiber", 0x94a3b8), ("pthread", "pthread", 0x94a3b8),
    ("libev", "libev", 0x94a3b8), ("libuv", "libuv", 0x94a3b8), ("asio", "Asio", 0x94a3b8),
    ("go", "Go", 0x94a3b8), ("asyncio", "asyncio", 0x94a3b8)]

with open("build/bench.json") as f:
    figures = json.load(f)["ns"]
y = 0
with open("build/bars.dat", "w") as bars, open("build/titles.dat", "w") as titles:
    for bench, title in GROUPS:
        titles.write(f'{y} "{title}"\n')
        for program, name, colour in PROGRAMS:
            if program in figures.get(bench, {}):
                y += 1
                ns = figures[bench][program]
                bars.write(f'{y} {ns} {colour} "{name}" "{ns:,.{1 if ns < 100 else 0}f}"\n')
        y += 2
END
gnuplot -e "out='$out/bars.svg'" bench/bars.gp
[ ! -f build/latency.dat ] || gnuplot -e "out='$out/latency.svg'" bench/latency.gp
[ ! -f build/demo.log ] || python3 tools/terminal.py build/demo.log > "$out/demo.svg"
ls -l "$out"

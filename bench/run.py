#!/usr/bin/env python3
"""run.py -- builds the benchmarks, runs them in alternating rounds, compares them with the bars.

    bench/run.py [--core | --sync | --io] [--rounds N] [--only REGEX] [--quick]
    bench/run.py --latency [--rounds N] [--quick]

Every program is `prog BENCH N` and prints CPU nanoseconds per operation; exit status 2 means that
it does not have that benchmark, 1 that its own check failed. In each round all programs run one
after the other on one CPU, and a ratio is the median of the rounds' ratios: the machine's speed
drifts by more than what is measured, but less within a round. Those of coro_io.h have a server and
a client: see run_io.py.

Exit status: 1 if a bar is missed or a program is wrong, else 0. Figures go to build/bench.json too.
Latency against load has no bar: it goes to build/latency.dat, for the picture.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import run_io

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = "build/bench"
CPU = str(min(1, os.cpu_count() - 1))

# ours and limit exist per compiler; a bar against "limit" compares what the same compiler built.
# boost-direct has no bar: it is to stackful libraries what limit is to this one.
LIMIT, CXX, STACKFUL = ("limit",), ("cxx20-gcc", "cxx20-clang"), ("boost-context", "boost-fiber")

SERVERS = ("libev", "libuv", "libuv-write", "libevent", "asio", "go", "asyncio")

# (benchmark, against, kind, goal, stretch or None). against: programs, each of which counts, or
# another benchmark of ours, or None: the figure itself is judged. "at most": ours <= goal x other;
# "faster": other >= goal x ours.
BARS = [
    *[bar for b in ("switch2", "switch1k") for bar in (
        (b, LIMIT, "at most", 1.7, 1.5),
        (b, CXX, "at most", 1.4, 1.2),
        (b, STACKFUL, "faster", 4, None),
        (b, ("go",), "faster", 20, None),
        (b, ("asyncio",), "faster", 350, None),
        (b + "_armed", b, "at most", 1.05, None))],
    *[bar for b in ("switch100k", "switch1m") for bar in (
        (b, LIMIT, "at most", 1.7, 1.3),
        (b, CXX, "faster", 6, None))],
    ("call", LIMIT, "at most", 1.3, None),
    ("call", ("cxx20-gcc",), "faster", 5, 8),
    ("depth100", "depth1", "at most", 1.15, None),
    ("spawn", LIMIT, "at most", 2.1, 1.6),
    ("spawn", CXX, "faster", 1, None),
    ("spawn", ("go",), "faster", 20, None),
    ("spawn_own", "spawn", "at most", 1, None),
    ("spawn_mass", LIMIT, "at most", 2.1, 1.6),
    ("spawn_own_mass", LIMIT, "at most", 2.1, 1.6),
    ("guard", LIMIT, "at most", 2, None),
    ("guard", ("libev",), "faster", 10, None),
    ("guard", ("libuv",), "faster", 40, None),
    ("sleeps", LIMIT, "at most", 1.5, None),
    ("sleeps", ("libev",), "faster", 2, None),
    ("sleeps", ("libuv",), "faster", 7, None),

    *[bar for b in ("chan64", "chan1") for bar in (
        (b, LIMIT, "at most", 1.6, 1.35),
        (b, CXX, "at most", 1.4, 1.2),
        (b, ("go",), "faster", 12, None),
        (b, ("asyncio",), "faster", 25, None))],
    *[bar for b in ("mutex2", "mutex10") for bar in (
        (b, LIMIT, "at most", 1.6, 1.35),
        (b, ("go",), "faster", 25, None))],
    ("mutex", ("pthread",), "at most", 0.2, None),
    ("select8", "get1", "at most", 3, None),

    *[bar for b in run_io.LOADS for bar in (
        (b, LIMIT, "faster", 0.98, 0.99),
        (b, SERVERS, "faster", 1, None),
        (b + "_cpu", LIMIT, "at most", 1.03, None))],
    ("echo1_calls", None, "at most", 3, None),
    ("echo100_calls", None, "at most", 2.05, None),
    ("spin1", "echo1", "faster", 2.5, None),
    ("http16", ("nginx",), "faster", 4, 7),
    ("late_us", None, "at most", 2000, None),
    ("post_ns", None, "at most", 100, None),
    ("post_wakes", None, "at most", 1.1, None),
    ("idle_bytes", None, "at most", 256, 160),
    ("idle_wakes", None, "at most", 0, None),
]

# Benchmarks of one line share their rounds, so that they can be compared with each other.
SUITES = {"core": [
    {"switch2": 60e6, "switch2_armed": 60e6},
    {"switch1k": 60e6, "switch1k_armed": 60e6},
    {"switch100k": 10e6},
    {"switch1m": 4e6},
    {"call": 30e6},
    {"depth1": 20e6, "depth10": 20e6, "depth100": 20e6},
    {"spawn": 10e6, "spawn_own": 10e6},
    {"spawn_mass": 1e6, "spawn_mass_same": 1e6},
    {"spawn_own_mass": 1e6, "spawn_own_mass_same": 1e6},
    {"guard": 10e6},
    {"sleeps": 1e6},
    {"hold": 2e6},
], "sync": [
    {"chan64": 30e6},
    {"chan1": 20e6},
    {"chan0": 20e6},
    {"mutex2": 20e6},
    {"mutex10": 20e6},
    {"mutex": 40e6},
    {"sem": 40e6},
    {"select8": 20e6, "get1": 20e6},
    {"cond": 20e6},
], "io": []}  # run_io.measure has its own
AS_IS = {"switch1m": 2e6, "switch100k": 1e6}  # no fewer operations: one per task at least
WHOLE = ["spawn_mass", "sleeps"]              # compared as whole programs too

# Slow peers do fewer operations: the share of N, by program, or program and benchmark.
SHARE = {"go": 0.1, "go spawn_mass": 1, "go sleeps": 1, "asyncio": 0.005, "asyncio spawn_mass": 0.1,
         "asyncio sleeps": 0.1, "boost-context": 0.3, "boost-direct": 0.3, "boost-fiber": 0.1,
         "libev guard": 0.1, "libuv guard": 0.05, "rust depth100": 0.02}

C, CXX20 = "-std=gnu11 -O2 -I. -Ibench", "-std=c++20 -O2"
# Of each suite, name: source, command that builds it, libraries.
PROGRAMS = {"core": {
    "ours-gcc": ("bench/ours_core.c", f"gcc {C}", ""),
    "ours-clang": ("bench/ours_core.c", f"clang {C}", ""),
    "limit-gcc": ("bench/limit_core.c", f"gcc {C}", ""),
    "limit-clang": ("bench/limit_core.c", f"clang {C}", ""),
    "cxx20-gcc": ("bench/peers/cxx20.cpp", f"g++ {CXX20}", ""),
    "cxx20-clang": ("bench/peers/cxx20.cpp", f"clang++ {CXX20} -stdlib=libstdc++", ""),
    "rust": ("bench/peers/rust.rs", "rustc -O --edition 2021", ""),
    "go": ("bench/peers/go.go", "go build", ""),
    "asyncio": ("bench/peers/asyncio_peer.py", "", ""),
    "boost-context": ("bench/peers/boost.cpp", f"g++ {CXX20}", "-lboost_context"),
    "boost-direct": ("bench/peers/boost.cpp", f"g++ {CXX20} -DWITH_DIRECT=1", "-lboost_context"),
    "boost-fiber": ("bench/peers/boost.cpp", f"g++ {CXX20} -DWITH_FIBER=1",
                    "-lboost_fiber -lboost_context"),
    "libev": ("bench/peers/libev.c", f"gcc {C}", "-lev"),
    "libuv": ("bench/peers/libuv.c", f"gcc {C}", "-luv"),
}, "sync": {
    "ours-gcc": ("bench/ours_sync.c", f"gcc {C}", ""),
    "ours-clang": ("bench/ours_sync.c", f"clang {C}", ""),
    "limit-gcc": ("bench/limit_sync.c", f"gcc {C}", ""),
    "limit-clang": ("bench/limit_sync.c", f"clang {C}", ""),
    "cxx20-gcc": ("bench/peers/cxx20_sync.cpp", f"g++ {CXX20}", ""),
    "cxx20-clang": ("bench/peers/cxx20_sync.cpp", f"clang++ {CXX20} -stdlib=libstdc++", ""),
    "go": ("bench/peers/go_sync.go", "go build", ""),
    "asyncio": ("bench/peers/asyncio_sync.py", "", ""),
    "pthread": ("bench/peers/pthread_sync.c", f"gcc {C}", "-pthread"),
}, "io": {
    "ours-gcc": ("bench/ours_io.c", f"gcc {C}", "-pthread"),
    "limit-gcc": ("bench/limit_io.c", f"gcc {C}", ""),
    "libev": ("bench/peers/libev_io.c", f"gcc {C}", "-lev"),
    "libuv": ("bench/peers/libuv_io.c", f"gcc {C}", "-luv"),
    "libuv-write": ("bench/peers/libuv_io.c", f"gcc {C} -DWITH_WRITE=1", "-luv"),
    "libevent": ("bench/peers/libevent_io.c", f"gcc {C}", "-levent_core"),
    "asio": ("bench/peers/asio_io.cpp", f"g++ {CXX20}", "-pthread"),
    "go": ("bench/peers/go_io.go", "go build", ""),
    "asyncio": ("bench/peers/asyncio_io.py", "", ""),
    "client": ("bench/client_io.c", f"gcc {C}", ""),
}}


def build(suite, name):
    """Builds a program; returns the command that runs it, or None with the reason printed."""
    source, command, libraries = PROGRAMS[suite][name]
    headers = {"core": ["coro.h"], "sync": ["coro.h", "coro_sync.h"],
               "io": ["coro.h", "coro_io.h"]}[suite]
    for file in [source, *headers] if name.startswith("ours") else [source]:
        if not os.path.exists(file):
            print(f"skipped: {name}: no {file}")
            return None
    if not command:
        return [sys.executable, source]
    if not shutil.which(command.split()[0]):
        print(f"skipped: no {command.split()[0]}")
        return None
    out = f"{OUT}/{suite}/{name}"
    os.makedirs(os.path.dirname(out), exist_ok=True)
    # go wants its options before its source, the others their libraries behind it.
    result = subprocess.run([*command.split(), "-o", out, source, *libraries.split()],
                            capture_output=True, text=True)
    if result.returncode:
        print(f"skipped: {name} does not build:\n{result.stderr[:2000]}")
        if name.startswith(("ours", "limit", "client")):
            sys.exit(1)
        return None
    return [out]


def run_once(name, command, bench, n):
    """The figure of one run; None if the program does not have the benchmark."""
    n = int(n * SHARE.get(f"{name} {bench}", SHARE.get(name, 1)))
    result = subprocess.run(["taskset", "-c", CPU, *command, bench, str(n)], capture_output=True,
                            text=True, timeout=300)
    if result.returncode == 2:
        return None
    if result.returncode:
        print(f"wrong: {name} {bench} {n}: {result.stderr.strip()}")
        sys.exit(1)
    return float(result.stdout)


def measure(programs, benches, rounds):  # {benchmark: {program: [its figure in each round]}}
    samples = {bench: {name: [] for name in programs} for bench in benches}
    for _ in range(rounds):
        for name, command in programs.items():
            for bench in [b for b in benches if name in samples[b]]:
                ns = run_once(name, command, bench, benches[bench])
                if ns is None:
                    del samples[bench][name]
                else:
                    samples[bench][name].append(ns)
    return samples


def judge(bar, samples):
    """The ratios of a bar to each that it names, and whether all of them reach it."""
    bench, against, kind, goal, stretch = bar
    ratios = {}
    for ours in ("ours-gcc", "ours-clang"):
        mine = samples.get(bench, {}).get(ours)
        if mine and against is None:
            ratios[ours[5:]] = statistics.median(mine)
            continue
        for other in [against] if isinstance(against, str) else against or ():
            if isinstance(against, str):
                theirs = samples.get(other, {}).get(ours)
            else:
                program = other + ours[4:] if other == "limit" else other
                theirs = samples.get(bench, {}).get(program)
            if mine and theirs:
                pairs = zip(mine, theirs) if kind == "at most" else zip(theirs, mine)
                ratio = statistics.median(a / b for a, b in pairs)
                ratios[f"{ours[5:]}/{other}"] = round(ratio, 3)
    def reaches(x):
        return all(r <= x if kind == "at most" else r >= x for r in ratios.values())

    verdict = "-" if not ratios else "ok" if reaches(goal) else "short"
    if verdict == "ok" and stretch and reaches(stretch):
        verdict = "ok, stretch"
    return {"bench": bench, "against": against, "kind": kind, "goal": goal, "stretch": stretch,
            "ratios": ratios, "verdict": verdict}


def print_table(title, programs, medians, verdicts):
    def row(name, cells):
        print(f"{name:21}" + "".join(f"{c:>{max(len(p), 7) + 2}}" for p, c in zip(programs, cells)))

    print()
    row(title, programs)
    for bench, figures in medians.items():
        row(bench, [f"{figures[p]:.{2 if figures[p] < 1000 else 0}f}" if p in figures else "-"
                    for p in programs])
        for v in verdicts:
            if v["bench"] == bench and v["ratios"]:
                against = v["against"]
                names = against if isinstance(against, str) else ", ".join(against or ())
                names = f" x {names}" if names else ""
                sense = "at most" if v["kind"] == "at most" else "faster by"
                stretch = f" (stretch {v['stretch']})" if v["stretch"] else ""
                ratios = "  ".join(f"{pair} {r:.2f}" for pair, r in v["ratios"].items())
                print(f"    {v['verdict']:12} {sense} {v['goal']}{names}{stretch}: {ratios}")


def whole_programs(programs, medians, rounds):  # the second table, by hyperfine
    if not shutil.which("hyperfine"):
        print("skipped: no hyperfine")
        return {}
    result, file = {}, "build/hyperfine.json"
    for bench in [b for b in WHOLE if b in medians]:
        args = []
        for name in medians[bench]:
            if name.startswith(("ours", "limit", "cxx20")):
                args += ["-n", name, " ".join([*programs[name], bench, "1000000"])]
        subprocess.run(["taskset", "-c", CPU, "hyperfine", "-N", "-w", "1", "-r", str(rounds),
                        "--export-json", file, *args], check=True, capture_output=True)
        with open(file) as f:
            result[bench] = {r["command"]: r["median"] * 1e3 for r in json.load(f)["results"]}
        print(f"{bench:21}" + "  ".join(f"{n} {ms:.0f}" for n, ms in result[bench].items()))
    return result


def run_suite(suite, options, rounds):  # figures, verdicts, whole programs' times
    programs = {name: command for name in PROGRAMS[suite] if (command := build(suite, name))}
    samples, title = {}, "CPU ns per operation"
    if suite == "io":
        client, title = programs.pop("client"), "ns per request"
        samples = run_io.measure(programs, client, options.only, rounds, options.quick)
        programs["nginx"] = None
    for group in SUITES[suite]:
        benches = {b: max(n / 10, AS_IS.get(b, 0)) if options.quick else n
                   for b, n in group.items() if re.search(options.only, b)}
        samples.update(measure(programs, benches, rounds))
        if benches:
            print("measured", *benches, file=sys.stderr)
    medians = {b: {name: statistics.median(s) for name, s in by.items()}
               for b, by in samples.items() if by}
    verdicts = [judge(bar, samples) for bar in BARS if bar[0] in samples]
    if medians:
        print_table(title, programs, medians, verdicts)
    if not any(b in medians for b in WHOLE):
        return medians, verdicts, {}
    print("\nwhole programs, wall ms for 1,000,000")
    return medians, verdicts, whole_programs(programs, medians, rounds)


def run_latency(rounds):
    programs = {name: build("io", name) for name in ("ours-gcc", "limit-gcc", "libuv", "asyncio")}
    programs = {name: command for name, command in programs.items() if command}
    run_io.latency(programs, build("io", "client"), rounds, "build/latency.dat")
    print("build/latency.dat")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--core", dest="suites", action="store_const", const=["core"],
                        default=list(SUITES), help="the benchmarks of coro.h; default: all")
    parser.add_argument("--sync", dest="suites", action="store_const", const=["sync"],
                        help="those of coro_sync.h")
    parser.add_argument("--io", dest="suites", action="store_const", const=["io"],
                        help="those of coro_io.h")
    parser.add_argument("--latency", action="store_true", help="latency against load, only")
    parser.add_argument("--rounds", type=int, default=0, help="rounds; 7 by default")
    parser.add_argument("--only", default="", help="only benchmarks that match this")
    parser.add_argument("--quick", action="store_true", help="3 rounds, a tenth of the operations")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 7)
    os.chdir(ROOT)
    os.environ["PATH"] += os.pathsep + os.path.expanduser("~/.cargo/bin")
    if options.latency:
        return run_latency(rounds)
    medians, verdicts, whole = {}, [], {}
    for suite in options.suites:
        figures, judged, times = run_suite(suite, options, rounds)
        medians.update(figures)
        verdicts += judged
        whole.update(times)
    with open("build/bench.json", "w") as f:
        json.dump({"rounds": rounds, "quick": options.quick, "ns": medians, "bars": verdicts,
                   "whole_ms": whole}, f, indent=1)
    judged = [v for v in verdicts if v["ratios"]]
    missed = [v for v in judged if v["verdict"] == "short"]
    print(f"\n{len(judged)} of {len(verdicts)} bars judged, {len(missed)} short")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

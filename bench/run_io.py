"""run_io.py -- how run.py measures the benchmarks of coro_io.h.

The servers are on CPU 0, the client is on CPU 1. All servers of a benchmark run at once, each with
a client of its own; but only one pair at a time has anything to do: they take turns, slice by
slice, so that each ratio is one of neighbours in time. CPU time is the server's while the client
counts, read from the kernel.
"""
import contextlib
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import time

SERVER_CPU, CLIENT_CPU = "0", str(min(1, os.cpu_count() - 1))
LOADS = {"echo1": (1, 1), "echo100": (100, 100), "echo1k": (1000, 1000), "echo10k": (10000, 1000)}
COUNTED = {"echo1": 5000, "echo100": 20000}     # loads whose system calls are counted, requests
IDLE = 10000                                    # connections, for the memory of one
SPARE = 100                                     # descriptors for other uses
OFFERED = [20000 * n for n in range(1, 12)]     # requests a second, for latency under load
TOO_LATE = 50e6                                 # ns: more would not be interesting

NGINX = """daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/log crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;
client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d;
scgi_temp_path {0}/e;
server {{ listen 127.0.0.1:{1}; location / {{ return 200 "hello\\n"; }} }} }}
"""


def cpu_of(process):
    """The CPU time that it has used, in seconds: clock_getcpuclockid."""
    return time.clock_gettime(~process.pid << 3 | 2)


@contextlib.contextmanager
def running(cpu, *command, **options):
    """A process on one CPU, until the end of the block."""
    with subprocess.Popen(["taskset", "-c", cpu, *map(str, command)], stdout=subprocess.PIPE,
                          text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def pair(client, command, bench, connections, active):
    """A server and its client, connected; None where the server does not have the benchmark."""
    with running(SERVER_CPU, *command, bench) as server:
        port = server.stdout.readline()
        if not port:
            yield None
            return
        with running(CLIENT_CPU, *client, int(port), server.pid, connections, active,
                     stdin=subprocess.PIPE) as driver:
            if driver.stdout.readline() != "ready\n":
                raise SystemExit(f"wrong: {command} {bench}: no {connections} connections")
            yield server, driver


def run(driver, what, n):
    """One run of the client: its figures. What was wrong it has said itself."""
    driver.stdin.write(f"{what} {n}\n")
    driver.stdin.flush()
    answer = driver.stdout.readline()
    if not answer:
        raise SystemExit(f"wrong: {driver.args} has failed")
    return [int(x) for x in answer.split()]


def figures_of(answer):
    """By the end of the benchmark's name, nanoseconds: of a request, of the server's CPU for it,
    of the client's; and what 99 of 100 requests took at most."""
    n, wall, server, client, _, p99, _ = answer
    return {"": wall / n, "_cpu": server / n, "_client": client / n, "_p99": p99}


def echo(samples, programs, client, load, slices, ms):
    connections, active = LOADS[load]
    servers = {(name, load): (command, "echo") for name, command in programs.items()}
    servers["ours-gcc", load + "_borrow"] = programs["ours-gcc"], "borrow"
    if load == "echo1":
        servers["ours-gcc", "spin1"] = programs["ours-gcc"], "spin"
    with contextlib.ExitStack() as stack:
        pairs = {key: stack.enter_context(pair(client, *server, connections, active))
                 for key, server in servers.items()}
        pairs = {key: both for key, both in pairs.items() if both}
        for _, driver in pairs.values():
            run(driver, "ms", ms)
        for _ in range(slices):
            for (name, bench), (_, driver) in pairs.items():
                for end, ns in figures_of(run(driver, "ms", ms)).items():
                    samples.setdefault(bench + end, {}).setdefault(name, []).append(ns)


def calls_of(server, driver, n):
    """The server's system calls in a run of n requests, counted by perf."""
    into, out = driver.stdin.fileno(), driver.stdout.fileno()
    result = subprocess.run(
        ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", str(server.pid), "--", "sh",
         "-c", f"echo n {n} >&{into}; read answer <&{out}"],
        capture_output=True, text=True, pass_fds=(into, out))
    count = re.search(r"^(\d+),", result.stderr, re.M)
    return int(count.group(1)) if count else None


def system_calls(samples, programs, client, load, n):
    if not shutil.which("perf"):
        print("skipped: no perf")
        return
    connections, active = LOADS[load]
    for name, command in programs.items():
        with pair(client, command, "echo", connections, active) as both:
            if both:
                run(both[1], "n", connections)
                calls = calls_of(*both, n)
                if calls is None:
                    print("skipped: perf cannot count system calls here")
                    return
                samples.setdefault(load + "_calls", {})[name] = [round(calls / n, 2)]


def switches(server):
    """How often its threads have gone to sleep, or were interrupted."""
    total = 0
    for task in os.listdir(f"/proc/{server.pid}/task"):
        with open(f"/proc/{server.pid}/task/{task}/status") as f:
            total += sum(int(n) for n in re.findall(r"ctxt_switches:\s*(\d+)", f.read()))
    return total


def idle_wakes(samples, programs, client, seconds):
    """Wake-ups in that time with 100 connections on which nothing comes."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, command in programs.items():
            both = stack.enter_context(pair(client, command, "echo", 100, 100))
            if both:
                run(both[1], "n", 1000)
                servers[name] = both[0]
        time.sleep(0.5)
        before = {name: switches(server) for name, server in servers.items()}
        time.sleep(seconds)
        samples["idle_wakes"] = {name: [switches(server) - before[name]]
                                 for name, server in servers.items()}


def idle_bytes(samples, programs, client):
    command = programs["ours-gcc"]
    with pair(client, [*command, "memory"], most_connections(IDLE), most_connections(IDLE), 1) as p:
        loop, malloc = map(float, p[0].stdout.readline().split())
    samples["idle_bytes"] = {"ours-gcc": [loop]}
    samples["idle_malloc_bytes"] = {"ours-gcc": [malloc]}


@contextlib.contextmanager
def nginx(folder):
    """nginx that answers what BENCH_ANSWER does: the process and its port."""
    port = 20000 + os.getpid() % 10000
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/conf", "w") as f:
        f.write(NGINX.format(folder, port))
    with running(SERVER_CPU, "nginx", "-p", folder, "-c", f"{folder}/conf",
                 stderr=subprocess.DEVNULL) as server:
        time.sleep(0.3)
        yield server, port


def http(samples, programs, rounds):
    """Sixteen small requests at a time on each of 64 connections, by wrk."""
    if not shutil.which("wrk"):
        print("skipped: no wrk")
        return
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, command in programs.items():
            server = stack.enter_context(running(SERVER_CPU, *command, "http"))
            port = server.stdout.readline()
            if port:
                servers[name] = server, int(port)
        if shutil.which("nginx"):
            servers["nginx"] = stack.enter_context(nginx(os.path.abspath("build/nginx")))
        else:
            print("skipped: no nginx")
        for _ in range(rounds):
            for name, (server, port) in servers.items():
                before = cpu_of(server)
                out = subprocess.run(["taskset", "-c", CLIENT_CPU, "wrk", "-t1", "-c64", "-d1s",
                                      "-s", "bench/pipeline.lua", f"http://127.0.0.1:{port}/"],
                                     capture_output=True, text=True, check=True).stdout
                n = int(re.search(r"(\d+) requests in ([\d.]+)s", out).group(1))
                if re.search("Non-2xx|Socket errors", out):
                    raise SystemExit(f"wrong: {name}: {out}")
                rate = float(re.search(r"Requests/sec:\s*([\d.]+)", out).group(1))
                samples.setdefault("http16", {}).setdefault(name, []).append(1e9 / rate)
                samples.setdefault("http16_cpu", {}).setdefault(name, []).append(
                    (cpu_of(server) - before) * 1e9 / n)


def alone(samples, programs, bench, n, names, rounds, cpu=None):
    """A benchmark without a client, which prints its figures."""
    pin = ["taskset", "-c", cpu] if cpu else []
    for _ in range(rounds):
        out = subprocess.run([*pin, *programs["ours-gcc"], bench, str(n)], check=True,
                             capture_output=True, text=True, timeout=60).stdout
        for name, figure in zip(names, out.split()):
            samples.setdefault(name, {}).setdefault("ours-gcc", []).append(float(figure))


def latency(programs, client, rounds, path):
    """Percentiles against offered load, on 1,000 connections; for gnuplot, a block a server:
    requests a second, p50, p99, in us. The servers take turns, as for echo."""
    figures = {name: {} for name in programs}
    with contextlib.ExitStack() as stack:
        pairs = {name: stack.enter_context(pair(client, command, "echo", 1000, 1000))
                 for name, command in programs.items()}
        for rate in OFFERED:
            for _ in range(rounds):
                for name, both in pairs.items():
                    if both:
                        figures[name].setdefault(rate, []).append(run(both[1], "rate", rate)[4:6])
                        time.sleep(0.05)  # with chrt the kernel wants a rest in each second
            for name in [n for n in pairs if rate in figures[n]]:
                if statistics.median(p99 for _, p99 in figures[name][rate]) > TOO_LATE:
                    del pairs[name]
    with open(path, "w") as f:
        for name, rates in figures.items():
            f.write(f"# {name}: requests/s, p50, p99\n")
            for rate, pairs in rates.items():
                p50, p99 = (statistics.median(p) / 1000 for p in zip(*pairs))
                f.write(f"{rate} {p50:.1f} {p99:.1f}\n")
            f.write("\n\n")


def most_connections(n):
    """Fewer, where there are not enough descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
    if n > most:
        print(f"skipped: {n} connections: ulimit -n allows {most}, which are used instead")
    return min(n, most)


def measure(programs, client, wanted, rounds, quick):
    """{benchmark: {program: [its figures]}}"""
    samples, hard = {}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if SERVER_CPU == CLIENT_CPU:
        print("one CPU: servers and clients share it")
    steps = {load: lambda load=load: echo(samples, programs, client, load, 2 * rounds,
                                          50 if quick else 150) for load in LOADS}
    steps.update({load + "_calls": lambda load=load, n=n:
                  system_calls(samples, programs, client, load, n) for load, n in COUNTED.items()})
    steps["http16"] = lambda: http(samples, programs, min(rounds, 5))
    steps["late_us"] = lambda: alone(samples, programs, "late", 300 if quick else 1000,
                                     ("late_p50_us", "late_us"), rounds, SERVER_CPU)
    steps["post_ns"] = lambda: alone(samples, programs, "post", 200000, ("post_ns", "post_wakes"),
                                     rounds)
    steps["idle_bytes"] = lambda: idle_bytes(samples, programs, client)
    steps["idle_wakes"] = lambda: idle_wakes(samples, programs, client, 0.5 if quick else 2)
    LOADS["echo10k"] = most_connections(LOADS["echo10k"][0]), LOADS["echo10k"][1]
    for name, step in steps.items():
        if re.search(wanted, name):
            start = time.time()
            step()
            print(f"measured {name} in {time.time() - start:.0f} s", flush=True)
    return samples

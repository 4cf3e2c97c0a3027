#!/usr/bin/env python3
"""apps.py -- the servers among the examples, against one by hand, nginx, and redis-server.

    bench/apps.py [--rounds N] [--seconds S] [--only http | redis]

Each server runs on one CPU, what asks it on another. In each round all of them are asked one after
the other, and a ratio is the median of the rounds' ratios. CPU time per request is the kernel's
count of the server's threads, system calls and all, so that it means something on a busy machine,
too; requests per second do not, and where the asking program is the slower one they say little.
Exit status: 1 if a bar is missed, else 0.
"""
import argparse
import contextlib
import glob
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = "build/bench"
SERVER_CPU, CLIENT_CPU = 0, min(1, os.cpu_count() - 1)
HOST = "127.0.0.1"
PROGRAMS = {"http": "examples/http.c", "redis": "examples/redis.c", "limit": "bench/limit_http.c"}
NGINX = """daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; server_tokens off; default_type text/plain;
        client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;
        uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
        server {{ listen {1}:{2}; location /hello {{ return 200 "Hello, world!\\n"; }} }} }}"""


def free_port():
    with socket.socket() as s:
        s.bind((HOST, 0))
        return s.getsockname()[1]


def cpu_ns(pid):
    """What all threads of a process have used so far."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total


@contextlib.contextmanager
def running(command, port):
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CPU), *command],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
                break
            time.sleep(0.02)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def ask(command):
    return subprocess.run(["taskset", "-c", str(CLIENT_CPU), *command], capture_output=True,
                          text=True, check=True).stdout


def wrk(pid, port, seconds):
    """CPU ns per request, requests per second."""
    def once(d):
        out = ask(["wrk", "-t1", "-c64", f"-d{d}", f"http://{HOST}:{port}/hello"])
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"wrk is not happy:\n{out}")
        return (int(re.search(r"(\d+) requests in", out)[1]),
                float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]))
    once(1)
    before = cpu_ns(pid)
    n, rate = once(seconds)
    return (cpu_ns(pid) - before) / n, rate


def redis_benchmark(pid, port, what, pipeline, n):
    command = ["redis-benchmark", "-h", HOST, "-p", str(port), "-t", what, "-P", str(pipeline),
               "--csv", "-n"]
    ask([*command, str(n // 10)])
    before = cpu_ns(pid)
    out = ask([*command, str(n)])
    return (cpu_ns(pid) - before) / n, float(out.splitlines()[-1].split(",")[1].strip('"'))


def http_round(seconds, folder):
    """{name: (CPU ns, rate)} of all HTTP servers."""
    ports = {name: free_port() for name in ("ours", "limit", "nginx")}
    with open(f"{folder}/conf", "w") as f:
        f.write(NGINX.format(folder, HOST, ports["nginx"]))
    commands = {"ours": [f"{OUT}/http", f"{HOST}:{ports['ours']}"],
                "limit": [f"{OUT}/limit", str(ports["limit"])],
                "nginx": ["nginx", "-p", folder, "-c", f"{folder}/conf"]}
    got = {}
    for name, command in commands.items():
        if shutil.which(command[0]):
            with running(command, ports[name]) as pid:
                got[name] = wrk(pid, ports[name], seconds)
    return got


def redis_round(what, pipeline, seconds):
    port = free_port()
    commands = {"ours": [f"{OUT}/redis", f"{HOST}:{port}"],
                "redis-server": ["redis-server", "--port", str(port), "--bind", HOST, "--save", "",
                                 "--appendonly", "no"]}
    got = {}
    for name, command in commands.items():
        if shutil.which(command[0]):
            with running(command, port) as pid:
                got[name] = redis_benchmark(pid, port, what, pipeline,
                                            seconds * (50000 if pipeline == 1 else 400000))
    return got


class Table:
    def __init__(self):
        self.short = 0
        print(f"{'':30} {'ours':>10} {'other':>10}  {'':14} {'ratio':>6}  bar")

    def row(self, what, rounds, other, column, bar, good):
        """column 0: CPU ns, 1: rate. good: what the ratio must be, or None."""
        pairs = [(r["ours"][column], r[other][column]) for r in rounds if other in r]
        if not pairs:
            print(f"{what:30} skipped: no {other}")
            self.short += bool(os.environ.get("STRICT"))
            return
        ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        ratio = statistics.median(a / b for a, b in pairs)
        verdict = "" if good is None else "ok" if good(ratio) else "short"
        self.short += verdict == "short"
        print(f"{what:30} {ours:10.0f} {theirs:10.0f}  {other:14} {ratio:6.2f}  {bar:14} {verdict}",
              flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--only", choices=["http", "redis"])
    o = options.parse_args()
    os.chdir(ROOT)
    os.makedirs(OUT, exist_ok=True)
    for name, source in PROGRAMS.items():
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-I.", source, "-o", f"{OUT}/{name}",
                        "-pthread"], check=True)
    table = Table()
    if o.only == "redis":
        pass
    elif shutil.which("wrk"):
        with tempfile.TemporaryDirectory() as folder:
            rounds = [http_round(o.seconds, folder) for _ in range(o.rounds)]
        what = "http, CPU ns a request"
        table.row(what, rounds, "limit", 0, "at most 1.1", lambda r: r <= 1.1)
        table.row(what, rounds, "nginx", 0, "less than 1", lambda r: r < 1)
        table.row("http, requests a second", rounds, "limit", 1, "", None)
        table.row("http, requests a second", rounds, "nginx", 1, "", None)
    else:
        print("skipped: no wrk")
    if o.only == "http":
        pass
    elif shutil.which("redis-benchmark"):
        for what in ("set", "get"):
            for pipeline in (1, 16):
                rounds = [redis_round(what, pipeline, o.seconds) for _ in range(o.rounds)]
                name = f"redis {what} -P {pipeline}"
                table.row(name + ", requests/s", rounds, "redis-server", 1, "at least 0.9",
                          lambda r: r >= 0.9)
                table.row(name + ", CPU ns", rounds, "redis-server", 0, "", None)
    else:
        print("skipped: no redis-benchmark")
    return table.short > 0


sys.exit(main())

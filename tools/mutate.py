#!/usr/bin/env python3
"""Do the tests notice? Changes one thing in a header's implementation, and runs them.

usage: mutate.py n header...            SEED=k repeats the choice of places; MAKE=make

Of each header n places below its tag >>impl are changed, one at a time, in a copy of the tree in
build/mutate/: a condition is negated, a comparison, an operator or a constant becomes its
neighbour, a statement is dropped. With MODE=shared the implementation is one file; that and the few
tests with a copy of their own are compiled again. A change is killed when a test fails, or they
take too long. Those that survive are listed: a test is missing, or the change makes no difference
that can be seen. Changes that do not compile, or give the same machine code (what another system
compiles, say), do not count.
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

TREE = "build/mutate/tree"
PART = {"coro_io.h": "io"}                      # of the tests; else: core
SECONDS = 180                                   # for all tests of a part
SWAPS = {" < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ",
         " != ": " == ", " + ": " - ", " - ": " + ", " && ": " || ", " || ": " && ",
         "++": "--", "--": "++", "true": "false", "false": "true"}
# The second one leaves out declarations: there a type stands before the name.
STATEMENTS = [r"^\s+(?:\(void\))?(?:coro|mem)\w+\([^;]*\);$",
              r"^\s+[\w*&.>()\[\]-]+ [|&+-]?= [^;]*;$",
              r"^\s+[\w.>\[\]-]+(?:\+\+|--);$"]
# Such a change could reach processes that are not ours, or says nothing about the tests.
LEAVE = re.compile(r"\bkill\(|assert\(|^\s*(?:#|/?\*|//)|\\$")


def changes_of(line):
    """Pairs of what the line may become, and what that is called."""
    if LEAVE.search(line):
        return
    code = re.sub(r"/\*.*", lambda m: " " * len(m[0]), line)         # comments stay as they are
    code = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: '"' * len(m[0]), code)
    for pattern in STATEMENTS:
        if re.search(pattern, code.rstrip()):
            yield re.sub(r"\S.*;", ";", line), "drop the statement"
    condition = re.search(r"\b(?:if|while) \((.*)\)(?: \{)?$", code.rstrip())
    if condition and condition[1].count("(") == condition[1].count(")"):
        start, end = condition.span(1)
        yield line[:start] + "!(" + line[start:end] + ")" + line[end:], "negate the condition"
    for m in re.finditer(r" (?:[<>=!]=|[<>+-]|&&|\|\|) |\+\+|--|\b(?:true|false)\b", code):
        yield (line[:m.start()] + SWAPS[m[0]] + line[m.end():],
               "'%s' becomes '%s'" % (m[0].strip(), SWAPS[m[0]].strip()))
    for m in re.finditer(r"(?<![\w.])[01](?![\w.])", code):
        other = "1" if m[0] == "0" else "0"
        yield line[:m.start()] + other + line[m.end():], "'%s' becomes '%s'" % (m[0], other)
    for m in re.finditer(r"!(?=[\w(])", code):
        yield line[:m.start()] + line[m.end():], "drop the '!'"


def places(lines):
    """All changes of a header: (line number, line, what it is called)."""
    start = next(i for i, line in enumerate(lines) if " * >>impl" in line)
    comment = True                              # the tag stands in one
    for i in range(start, len(lines)):
        if not comment:
            for line, what in changes_of(lines[i]):
                yield i, line, what
        opened, closed = lines[i].rfind("/*"), lines[i].rfind("*/")
        comment = opened > closed or (comment and closed < 0)


class Tests:
    """The tests of a part, built in the copy of the tree."""

    def __init__(self, part):
        self.build_folder = "build/" + part
        self.make = [os.environ.get("MAKE") or "make", "--no-print-directory", "-C", TREE,
                     "PART=" + part, "MODE=shared", "OPT=-O1", "WERROR=", "FLAGS=-g0",
                     "B=" + self.build_folder]
        for name in os.listdir(TREE):
            if name.endswith(".h"):
                self.make += ["-o", name]       # what includes it is not made anew
        self.changed = ["implementation.o"]     # and those with an implementation of their own:
        for name in os.listdir(TREE + "/test"):
            if name.endswith(".c"):
                with open(TREE + "/test/" + name) as f:
                    if "#undef CORO_SHARED" in f.read():
                        self.changed.append("test/" + name[:-2] + ".o")
        if not self.build() or self.run() != "survived":
            sys.exit("mutate.py: the tests of PART=%s fail before anything is changed" % part)
        self.code = self.object()

    def object(self):
        with open(self.path("implementation.o"), "rb") as f:
            return f.read()

    def path(self, name):
        return os.path.join(TREE, self.build_folder, name)

    def build(self):
        """Only what has the implementation is made anew."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        for name in self.changed + ["tests"]:
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        return subprocess.run(self.make + [self.build_folder + "/tests"], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def run(self):
        """Until the first failure. In a process namespace, where there is one: what the changed
        code kills is its own."""
        alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if subprocess.run(["sh", "-c", " ".join(alone) + " true"], capture_output=True).returncode:
            alone = []
        tests = subprocess.Popen(alone + [os.path.abspath(self.path("tests"))], cwd=TREE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True)
        verdict = "killed: the tests died"
        signal.alarm(SECONDS)
        try:
            for line in tests.stdout:
                if line.startswith("FAIL "):
                    verdict = "killed: " + line.split()[1]
                    break
                if re.match(r"\d+ passed, 0 failed", line):
                    verdict = "survived"
        except TimeoutError:
            verdict = "killed: the tests take too long"
        signal.alarm(0)
        os.killpg(tests.pid, signal.SIGKILL)
        tests.wait()
        return verdict

    def verdict(self):
        if not self.build():
            return "does not compile"
        return "the same code" if self.object() == self.code else self.run()


def mutate(header, n, tests, choose):
    """The lines about the survivors, and how many were killed."""
    path = os.path.join(TREE, header)
    with open(path) as f:
        lines = f.readlines()
    todo = list(places(lines))
    choose.shuffle(todo)
    survivors, killed = [], 0
    for number, line, what in todo:
        if killed + len(survivors) == n:
            break
        with open(path, "w") as f:
            f.writelines(lines[:number] + [line] + lines[number + 1:])
        start = time.monotonic()
        verdict = tests.verdict()
        place = "%s:%d: %s" % (header, number + 1, what)
        print("%-64s %3d s  %s" % (place, time.monotonic() - start, verdict), flush=True)
        killed += verdict.startswith("killed")
        if verdict == "survived":
            survivors.append("%s\n    %s" % (place, lines[number].strip()))
    with open(path, "w") as f:
        f.writelines(lines)
    return survivors, killed


def on_alarm(signo, frame):
    raise TimeoutError


def main():
    n, headers = int(sys.argv[1]), sys.argv[2:]
    seed = os.environ.get("SEED") or str(random.randrange(1, 10**6))
    print("SEED=" + seed, flush=True)
    signal.signal(signal.SIGALRM, on_alarm)
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(".", TREE, ignore=shutil.ignore_patterns("build", ".git"))
    tests, results = {}, []
    for header in headers:
        part = PART.get(header, "core")
        if part not in tests:
            tests[part] = Tests(part)
        results.append(mutate(header, n, tests[part], random.Random(seed + header)))
    for header, (survivors, killed) in zip(headers, results):
        print("\n%s: %d killed, %d survived" % (header, killed, len(survivors)))
        print("".join(s + "\n" for s in survivors), end="")


main()

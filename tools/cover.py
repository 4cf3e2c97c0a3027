#!/usr/bin/env python3
"""Coverage of headers, merged over all object files that include them.

usage: cover.py folder header...

Asks gcov for every .gcda file below the folder and prints a line per header: lines, and branches
that were taken at least once; and one for each backend's block that was compiled. A branch is the
same in two object files if its function, line and index are; arcs of exceptions do not count.
Writes build/cover/<header>.gcov: the source with execution counts, `#####` where nothing was
executed and `-1/2` where 1 of 2 branches was not taken. Then prints the
lines with such branches whose functions have no reason in test/COVERAGE.md.
"""
import collections
import json
import os
import re
import subprocess
import sys


def gcda_files(folder):
    for top, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".gcda"):
                yield os.path.join(top, name)


class Coverage:
    def __init__(self):
        self.lines = collections.Counter()          # line: how often
        self.branches = {}                          # (function, line, index): how often

    def add(self, entry):
        self.lines[entry["line_number"]] += entry["count"]
        for index, branch in enumerate(entry["branches"]):
            if not branch["throw"]:
                key = entry.get("function_name"), entry["line_number"], index
                self.branches[key] = self.branches.get(key, 0) + branch["count"]

    def block(self, first, last):
        """What lies between two lines."""
        part = Coverage()
        part.lines = {n: c for n, c in self.lines.items() if first <= n <= last}
        part.branches = {key: c for key, c in self.branches.items() if first <= key[1] <= last}
        return part

    def summary(self):
        def part(counts):
            hit = sum(1 for c in counts if c)
            return f"{100 * hit / max(len(counts), 1):5.1f} % ({hit} of {len(counts)})"
        return (f"lines {part(self.lines.values()):24} "
                f"branches {part(self.branches.values())}")

    def unexplained(self, source, reasons):
        """Lines with branches not taken, of functions that the reasons do not name."""
        missed = {(line, function) for (function, line, _), count in self.branches.items()
                  if not count and f"`{function}`" not in reasons}
        with open(source, encoding="utf-8") as f:
            text = f.read().splitlines()
        return [f"{source}:{line}: {function}: {text[line - 1].strip()}"
                for line, function in sorted(missed)]

    def annotate(self, source, target):
        missed, total = collections.Counter(), collections.Counter()
        for (_, line, _), count in self.branches.items():
            total[line] += 1
            missed[line] += not count
        with open(source, encoding="utf-8") as f, open(target, "w", encoding="utf-8") as out:
            for number, text in enumerate(f, 1):
                count = "" if number not in self.lines else self.lines[number] or "#####"
                untaken = f"-{missed[number]}/{total[number]}" if missed[number] else ""
                out.write(f"{count:>10} {untaken:>6} {number:5}: {text}")


def backends(source):
    """Each backend's name, first and last line: `#if ... BACKEND ...`, a banner, ..., `#endif`."""
    with open(source, encoding="utf-8") as f:
        text = f.read()
    for found in re.finditer(r"^#if (.*BACKEND.*)\n/\* --- (.*?) -+", text, re.M):
        end = text.index("\n#endif /* " + found[1][:30], found.end())
        yield found[2], text.count("\n", 0, found.start()) + 1, text.count("\n", 0, end) + 1


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, headers = sys.argv[1], sys.argv[2:]
    found = {os.path.realpath(h): Coverage() for h in headers}
    for path in gcda_files(folder):
        run = subprocess.run(["gcov", "--json-format", "--stdout", "-b", path],
                             capture_output=True, text=True, check=True)
        for document in run.stdout.splitlines():
            for source in json.loads(document)["files"]:
                coverage = found.get(os.path.realpath(source["file"]))
                for entry in source["lines"] if coverage else ():
                    coverage.add(entry)
    os.makedirs("build/cover", exist_ok=True)
    reasons = ""
    if os.path.exists("test/COVERAGE.md"):
        with open("test/COVERAGE.md", encoding="utf-8") as f:
            reasons = f.read()
    for header in headers:
        coverage = found[os.path.realpath(header)]
        coverage.annotate(header, f"build/cover/{os.path.basename(header)}.gcov")
        print(f"{header:12} {coverage.summary()}")
        for name, first, last in backends(header):
            block = coverage.block(first, last)
            if block.lines:
                print(f"  {name:10} {block.summary()}")
        for line in coverage.unexplained(header, reasons):
            print("   ", line)


main()

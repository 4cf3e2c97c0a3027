#!/usr/bin/env python3
"""terminal.py -- what `script` has kept of a terminal, as a picture: usage: terminal.py log > svg

Carriage returns overwrite, as they do there; but of a progress bar that was wiped out the last
state is shown. No escape sequences.
"""
import html
import sys

WIDTH, HEIGHT, SIZE, MARGIN = 7.5, 17, 12.5, 14
BLANK = "\u00a0"  # is kept, also in a row of them
COLOURS = (("  ok ", "#4ade80"), ("  WRONG", "#f87171"), ("  |", "#93c5fd"), ("  [", "#fbbf24"),
           ("  ", "#cbd5e1"))


def lines_of(log):
    for line in log.split("\n"):
        states = [state.rstrip() for state in line.split("\r") if state.strip()]
        yield from states[-2:] or [""]  # the bar, and what came in its place


def main():
    with open(sys.argv[1], encoding="utf-8", newline="") as f:
        log = f.read()
    lines = [line for line in lines_of(log) if not line.startswith("Script ")]
    while lines and not lines[-1]:
        lines.pop()
    width = max(map(len, lines)) * WIDTH + 2 * MARGIN
    height = len(lines) * HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
          f'width="{width:.0f}" height="{height}">')
    print('<rect width="100%" height="100%" rx="8" fill="#0f172a"/>')
    print(f'<g font-family="monospace" font-size="{SIZE}">')
    for i, line in enumerate(lines):
        colour = next((c for start, c in COLOURS if line.startswith(start)), "#f8fafc")
        text = html.escape(line).replace(" ", BLANK)
        if text:
            print(f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * i + SIZE:.0f}" fill="{colour}" '
                  f'textLength="{len(line) * WIDTH:.0f}">{text}</text>')
    print("</g></svg>")


if __name__ == "__main__":
    main()

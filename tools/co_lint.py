#!/usr/bin/env python3
"""Local variables of a coroutine that are read after a suspension point.

usage: co_lint.py [--all-types] file.c [clang flags...]        exit 1 if anything was found

Compilers see most of them as uninitialised (see CORO_CHECK). Left to this tool are arrays, structs
and unions, which clang does not follow, and variables initialised before CORO_BEGIN and changed
after it, which nobody sees: on every resumption they start over with the initial value.
--all-types reports the others, too.

A coroutine is a function of the file with a case label inside a loop or block of its switch: a
label that only a macro puts there. The order of things is taken from the text, with loops going
back to their start: a read is bad if the last suspension point before it, along the text or around
an enclosing loop, has no write between itself and the read.
"""
import bisect
import json
import os
import subprocess
import sys

LOOPS = ("ForStmt", "WhileStmt", "DoStmt")
NESTING = LOOPS + ("IfStmt", "CompoundStmt")


def place_files(node, state):
    """clang names the file of a location only when it changes: write it into every location."""
    if isinstance(node, dict):
        if "offset" in node:
            state["file"] = node.get("file", state["file"])
            node["file"] = state["file"]
        for value in node.values():
            if isinstance(value, (dict, list)):
                place_files(value, state)
    elif isinstance(node, list):
        for value in node:
            place_files(value, state)


def expansion(location):
    return location.get("expansionLoc", location)


def begin(node):
    return expansion(node.get("range", {}).get("begin", {})).get("offset")


def end(node):
    return expansion(node.get("range", {}).get("end", {})).get("offset")


class Variable:
    def __init__(self, node):
        self.name = node.get("name", "?")
        self.type = node["type"].get("desugaredQualType", node["type"]["qualType"])
        self.at = expansion(node["loc"]).get("offset")
        self.initialised = "init" in node
        self.reads, self.writes = [], []

    def is_scalar(self):
        compound = ("struct ", "union ", "const struct ", "const union ")
        plain = self.type.endswith("*") or not self.type.startswith(compound)
        return plain and "[" not in self.type and "(unnamed" not in self.type


class Function:
    """What matters of a function: its variables, loops, switch and suspension points."""

    def __init__(self, node, source):
        self.name, self.source = node.get("name"), source
        self.variables, self.suspensions, self.loops, self.switch = {}, [], [], None
        self.walk(node, False, 0, [])

    def walk(self, node, in_switch, depth, parents):
        kind = node.get("kind")
        if kind == "VarDecl" and node.get("storageClass") not in ("static", "extern"):
            spelling = node.get("loc", {}).get("spellingLoc", node.get("loc", {}))
            if spelling.get("file") == self.source and begin(node) is not None:
                self.variables[node["id"]] = Variable(node)
        elif kind == "DeclRefExpr":
            self.reference(node, parents)
        elif kind == "CaseStmt" and in_switch and depth > 1:
            self.suspensions.append(begin(node))
        elif kind in LOOPS and begin(node) != end(node):    # else it is a macro's do-while (0)
            self.loops.append((begin(node), end(node), self.body_begin(node)))
        elif kind == "SwitchStmt" and self.switch is None:
            self.switch = begin(node)
        for child in node.get("inner", []):
            if not child:
                continue
            if kind == "SwitchStmt":
                self.walk(child, True, 0, parents + [node])
            else:
                self.walk(child, in_switch, depth + (kind in NESTING), parents + [node])

    @staticmethod
    def body_begin(node):
        bodies = [c for c in node.get("inner", []) if c and c.get("kind") == "CompoundStmt"]
        return begin(bodies[-1]) if bodies else begin(node)

    def reference(self, node, parents):
        variable = self.variables.get(node["referencedDecl"]["id"])
        at = begin(node)
        if variable is None or at is None:
            return
        read, written = self.usage(node, parents)
        if read:
            variable.reads.append(at)
        if written:
            variable.writes.append(at)

    @staticmethod
    def usage(node, parents):
        """(read, written) for a mention of a variable, going up from it."""
        for parent in reversed(parents):
            kind = parent.get("kind")
            inner = [c for c in parent.get("inner", []) if c]
            if kind == "BinaryOperator" and parent.get("opcode") == "=" and inner[0] is node:
                return False, True
            if kind == "CompoundAssignOperator" and inner[0] is node:
                return True, True
            if kind == "UnaryOperator" and parent.get("opcode") in ("++", "--"):
                return True, True
            if kind == "UnaryOperator" and parent.get("opcode") == "&":
                node = parent                       # what is done with the address decides
            elif kind == "ImplicitCastExpr" and parent.get("castKind") == "ArrayToPointerDecay":
                node = parent
            elif kind in ("MemberExpr", "ParenExpr", "ArraySubscriptExpr") and inner[0] is node:
                node = parent
            elif kind in ("ImplicitCastExpr", "CStyleCastExpr") and parent.get("castKind") in (
                    "NoOp", "BitCast"):
                if "const " in parent.get("type", {}).get("qualType", ""):
                    return True, False
                node = parent
            elif kind == "CallExpr" and "*" in node.get("type", {}).get("qualType", ""):
                return False, True                  # filled through its address, we must assume
            elif kind == "UnaryExprOrTypeTraitExpr":
                return False, False                 # sizeof
            else:
                return True, False
        return True, False

    def findings(self, all_types):
        for variable in self.variables.values():
            kept = variable.initialised and self.switch is not None and variable.at < self.switch
            if variable.is_scalar() and not kept and not all_types:
                continue
            if kept and not any(w > self.switch for w in variable.writes):
                continue                            # the same value on every resumption
            bad = self.bad_read(variable)
            if bad:
                yield variable, bad

    def bad_read(self, variable):
        """(suspension, read) for the first read that may follow a suspension unwritten."""
        writes = variable.writes
        for loop, stop, body in self.loops:         # for (int i = 0; ...) { suspends }
            if loop <= variable.at < body:
                inside = [s for s in self.suspensions if body <= s <= stop]
                if inside:
                    return inside[0], loop
        for read in sorted(variable.reads):
            before = [s for s in self.suspensions if variable.at < s < read]
            if before and not any(before[-1] <= w < read for w in writes):
                return before[-1], read
            for loop, stop, body in self.loops:
                if not (loop <= read <= stop and variable.at < loop):
                    continue
                later = [s for s in self.suspensions if read <= s <= stop]
                if later and not any(later[-1] <= w <= stop or body <= w < read for w in writes):
                    return later[-1], read
        return None


def main():
    args = sys.argv[1:]
    all_types = "--all-types" in args
    args = [a for a in args if a != "--all-types"]
    if not args:
        sys.exit(__doc__)
    source = args[0]
    with open(source, "rb") as f:
        text = f.read()
    starts = [0] + [i + 1 for i, c in enumerate(text) if c == 10]
    clang = os.environ.get("CLANG", "clang")
    command = [clang, "-fsyntax-only", "-w", "-Xclang", "-ast-dump=json", *args[1:], source]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not run.stdout.startswith("{"):
        sys.stderr.write(run.stderr)
        return 2

    def line(offset):
        return bisect.bisect_right(starts, offset)

    tree = json.loads(run.stdout)
    place_files(tree, {"file": None})
    found = 0
    for node in tree["inner"]:
        if node.get("kind") != "FunctionDecl" or expansion(node["loc"]).get("file") != source:
            continue
        function = Function(node, source)
        if not function.suspensions:
            continue
        for variable, (suspension, read) in function.findings(all_types):
            found = 1
            print(f"{source}:{line(variable.at)}: '{variable.name}' ({variable.type}) in "
                  f"{function.name}() is used at line {line(read)} after the suspension point at "
                  f"line {line(suspension)}: move it into the coroutine's frame")
    return found or (2 if run.returncode else 0)    # 2: does not compile, others said why


sys.setrecursionlimit(100000)
sys.exit(main())

#!/usr/bin/env python3
"""usage: docs.py            writes the reference into build/docs: index.html, man/man3, man/man7
       docs.py --check    is every public name described, in its table, in an example; do they build

The reference is what the headers' comments say, from their beginning to >>impl. Read are:

  - the comment at a header's head, with its >>guide and the table of >>names;
  - sections: comments that begin with a line of `=` and have a >>tag;
  - entries: any other comment in column 0, and the declarations up to the next empty line. Its
    names are those before ` -- ` and those that are declared. In it, lines that are indented are
    examples or pictures; `Waits:` and the like begin the last part.

An example is compiled as the body of a coroutine whose frame is tools/docs_prelude.h's struct
docs_members; one that begins with a function, as it is; one with an #include is a program.
"""
import html
import os
import re
import shutil
import subprocess
import sys

HEADERS = ["coro.h", "coro_sync.h", "coro_io.h"]
OUT = "build/docs"
NAME = r"\b(?:coro_[a-z0-9]\w*|CORO(?:_[A-Z0-9]\w*)?)\b"
LABEL = re.compile(r"(Waits|Returns|Errors|Context): +(.*)")
INLINE = re.compile(r": (int main\(void\) \{.*?\}|"
                    r"(?:typedef |[\w>-]+ = |\w+\()?(?:coro|CORO)_\w+\([^;]*?\)(?:\.?\w+| \w+)?;)")


class Entry:
    """A comment with what it describes."""

    def __init__(self, line, text, code):
        self.line, self.code = line, code
        self.parts = parts_of(line, text)
        self.kinds = dict(declared(code))
        self.inline = None
        self.summary = ""
        first = next((p for p in self.parts if p[0] == "p"), None)
        if first:
            head = re.match(r"(%s(?: %s)*) -- " % (NAME, NAME), first[2])
            if head:
                for name in head.group(1).split():
                    self.kinds.setdefault(name, "macro")
                first[2] = first[2][head.end():]
            inline = INLINE.search(first[2])
            self.inline = inline and inline.group(1)
            self.summary = summary_of(first[2])
        self.names = [n for n in self.kinds if "__" not in n]

    def examples(self):
        """(line, code) of each."""
        found = [(p[1], p[2]) for p in self.parts if p[0] == "pre" and is_code(p[2])]
        return found + ([(self.line, self.inline)] if self.inline else [])


class Section:
    def __init__(self, tag, title, parts):
        self.tag, self.title, self.parts, self.entries = tag, title, parts, []


class Header:
    def __init__(self, name):
        self.name = name
        with open(name, encoding="utf-8") as f:
            text = f.read()
        self.version = (re.findall(r'#define CORO_VERSION "(.*?)"', text) or [""])[0]
        text = text[:re.search(r"^/\* =+\n \* >>impl", text, re.M).start()]
        self.code = without_comments(text)
        self.public = {n: k for n, k in declared(text) if "__" not in n and not n.endswith("_H")}
        self.sections = []
        for m in re.finditer(r"^/\*(.*?)\*/", text, re.M | re.S):
            line = text.count("\n", 0, m.start()) + 1
            if m.start() == 0:
                self.head(m.group(1))
            elif m.group(1).startswith(" ===="):
                body = m.group(1).split("\n", 1)[1]
                tag, title = re.match(r" \* >>(\w+)(?: -- (.*))?", body).groups()
                rest = body.split("\n", 1)[1]
                if title and not title.endswith((".", ":")):    # it goes on in the next line
                    more, rest = (rest.split("\n", 1) + [""])[:2]
                    title += " " + more.lstrip(" *")
                self.sections.append(Section(tag, title or "", parts_of(line + 2, rest)))
                self.add(line, "", text[m.end():])
            else:
                self.add(line, m.group(1), text[m.end():])
        contents = " ".join(p[2] for p in self.intro if p[0] == "pre" and ">>" in p[2])
        for s in self.sections:
            if not s.title:
                s.title = re.search(r">>%s +(.*)" % s.tag, contents).group(1)

    def head(self, text):
        """The comment at the head: what it is, the program, the guide, the table."""
        intro, rest = re.split(r"^ \* >>guide\n", text, 1, re.M)
        guide, table = re.split(r"^ \* >>names\n", rest, 1, re.M)
        self.title = re.match(r" \S+ -- (.*?\.)(?=\s)", intro.replace("\n *", ""), re.S).group(1)
        self.intro = parts_of(1, intro)
        self.guide = parts_of(1, guide)
        self.table = "\n".join(line[3:] for line in table.rstrip().split("\n")).strip("\n")

    def add(self, line, text, code):
        code = declaration_after(code)
        entry = Entry(line, text, code)
        if entry.names and (text.strip() or "typedef" not in code):
            self.sections = self.sections or [Section("version", "What is this?", [])]
            self.sections[-1].entries.append(entry)

    def entries(self):
        return [e for s in self.sections for e in s.entries]

    def examples(self):
        for part in self.intro + [p for s in self.sections for p in s.parts]:
            if part[0] == "pre" and is_code(part[2]):
                yield part[1], part[2]
        for e in self.entries():
            yield from e.examples()


# ---- reading C -----------------------------------------------------------------------------------

def without_comments(text):
    return re.sub(r"/\*.*?\*/", lambda m: " " + "\n" * m.group().count("\n"), text, flags=re.S)


def declaration_after(text):
    """What stands between a comment and the next empty line or comment, outside of braces."""
    lines, depth = [], 0
    for line in text.split("\n")[1:]:
        if depth == 0 and (not line.strip() or line.startswith("/*")):
            break
        lines.append(line)
        depth += line.count("{") - line.count("}")
    return "\n".join(lines)


def chunks_of(text):
    """Declarations, one by one."""
    depth, chunk = 0, ""
    for c in text:
        chunk += c
        depth += (c == "{") - (c == "}")
        if depth == 0 and (c == ";" or c == "}" and
                           not re.match(r"\s*(typedef|struct|enum|union)\b", chunk)):
            yield chunk.strip()
            chunk = ""


def declared(text):
    """(name, kind) of all that is declared: option, macro, constant, type, function."""
    text = without_comments(text)
    options = set(re.findall(r"^# *ifndef (\w+)", text, re.M))
    for m in re.finditer(r"^# *define (%s)(\(?)" % NAME, text, re.M):
        yield m.group(1), ("option" if m.group(1) in options else
                           "macro" if m.group(2) else "constant")
    text = re.sub(r"^ *#(?:.*\\\n)*.*$", "", text, flags=re.M)
    for chunk in chunks_of(text):
        enum = re.match(r"(?:typedef )?enum\b[^{]*\{(.*)\}", chunk, re.S)
        if chunk.startswith("typedef"):
            yield re.search(r"(\w+);$", chunk).group(1), "type"
        elif re.match(r"(struct|enum) \w+ \{", chunk):
            yield chunk.split()[1], "type"
        elif re.search(r"\bcoro_\w+\(", chunk) and not enum:
            yield re.search(r"\b(coro_\w+)\(", chunk).group(1), "function"
        for name in re.findall(r"(?:^|,)\s*(\w+)", enum.group(1)) if enum else []:
            yield name, "constant"


def signatures_of(entry):
    """How the names of an entry are used: prototypes, macros with arguments, types as they are."""
    if any(k in ("type", "option", "constant") for k in entry.kinds.values()):
        return re.sub(r" *\\$", "", entry.code, flags=re.M)
    code, shown = without_comments(entry.code), []
    for m in re.finditer(r"^# *define ((?:coro|CORO)(?:_\w+)?\([^)]*\))", code, re.M):
        if "__" not in m.group(1):
            shown.append(m.group(1))
    code = re.sub(r"^ *#(?:.*\\\n)*.*$", "", code, flags=re.M)
    for chunk in chunks_of(code):
        text = re.sub(r"\bCORO_API\b|\bCORO__\w+\b|\bstatic\b|\binline\b|__attribute__ *\(\(.*?\)\)\)",
                      "", chunk.split("{")[0].rstrip(";"))
        text = re.sub(r"\s+", " ", text).strip()
        m = re.search(r"\bcoro_\w+\(", text)
        if m and "__" not in m.group():
            shown.append(folded(text, m.end()) + ";")
    return "\n".join(shown)


def folded(text, indent):
    """A prototype in lines of 78 columns."""
    lines = [""]
    for word in re.split(r"(?<=,) ", text):
        if len(lines[-1]) + len(word) > 78 and lines[-1].strip():
            lines.append(" " * min(indent, 40))
        lines[-1] += word + " "
    return "\n".join(line.rstrip() for line in lines)


# ---- reading comments ----------------------------------------------------------------------------

def parts_of(line, text):
    """[kind, line, text, ...]: p, a paragraph; pre, as it stands; list, with its items; label."""
    parts, block = [], []

    def end():
        if not block:
            return
        start, rows = block[0][0], [row for _, row in block]
        if all(row.startswith("  ") for row in rows):
            if rows[0].lstrip().startswith("- "):
                text = " ".join(row.strip() for row in rows)
                parts.append(["list", start, re.split(r"(?:^| )- (?=[A-Z])", text)[1:]])
            else:
                indent = min(len(row) - len(row.lstrip()) for row in rows)
                parts.append(["pre", start, "\n".join(row[indent:] for row in rows)])
        else:
            for at, row in block:
                label = LABEL.match(row)
                if label:
                    parts.append(["label", at, label.group(2), label.group(1)])
                elif parts and parts[-1][1] >= start and parts[-1][0] != "pre":
                    parts[-1][2] += " " + row.strip()
                else:
                    parts.append(["p", at, row.strip()])
        block.clear()

    for i, row in enumerate(text.split("\n")):
        row = re.sub(r"^ \* ?| +$", "", row) if i or row.startswith(" * ") else row.strip()
        row = row.rstrip()
        if not row or row == "*":
            end()
        else:
            block.append((line + i, row))
    end()
    return programs_in(parts)


def programs_in(parts):
    """A program's pieces, which have empty lines between them, are one."""
    whole = []
    for part in parts:
        if whole and part[0] == whole[-1][0] == "pre" and "#include" in whole[-1][2]:
            gap = part[1] - whole[-1][1] - whole[-1][2].count("\n")
            whole[-1][2] += "\n" * gap + part[2]
        else:
            whole.append(part)
    return whole


def is_code(text):
    return any(re.search(r"[;}]$|\) \.\.\.$", re.sub(r" *//.*", "", row)) for row in text.split("\n"))


def summary_of(text):
    """A paragraph's first sentence, without an example that stands in it."""
    text = INLINE.sub(".", text)
    return re.split(r"(?<=[^.]\.) |[:;] (?=-?[A-Z0-9])|; ", text)[0].rstrip(".:; ")


# ---- the check -----------------------------------------------------------------------------------

def problems_of(header):
    described = {name for e in header.entries() for name in e.names}
    uses = "\n".join(code for _, code in header.examples())
    for name, kind in header.public.items():
        if name not in described:
            yield "%s has no entry" % name
        if not re.search(r"\b%s\b" % name, header.table):
            yield "%s is not in the table of names" % name
        if kind in ("function", "macro") and not re.search(r"\b%s\b" % name, uses):
            yield "%s is in no example" % name


def c_file_of(number, line, code, header):
    """An example as something that compiles."""
    code = re.sub(r"//.*", "", code)
    code += "}" * (code.count("{") - code.count("}"))
    as_it_is = re.search(r"^\{$|^(static|int|void|coro_op|CORO_DECLARE|CORO_DEFINE|CORO)\b[^;=]*"
                         r"\([^;=]*\)(;| *\{|$)", code, re.M)
    code = '#line %d "%s"\n%s\n' % (line, header, code.replace("...", "{ }"))
    if as_it_is:
        return code.replace(" main(", " docs_main%d(" % number)
    return ("struct docs%d { CORO_FRAME; struct docs_members; };\nCORO(docs%d)\n{\n"
            "    CORO_BEGIN();\n%s    CORO_END(0);\n}\n" % (number, number, code))


def compiles(headers):
    """Compile all examples: those without an #include together. What went wrong is printed."""
    files = ['#include "tools/docs_prelude.h"\n']
    for header in headers:
        for line, code in header.examples():
            if "#include" in code:
                files.append('#line %d "%s"\n%s\n' % (line, header.name, code))
            else:
                files[0] += c_file_of(files[0].count("\n"), line, code, header.name)
    os.makedirs(OUT, exist_ok=True)
    compilers = [cc for cc in ("gcc", "clang") if shutil.which(cc)]
    if not compilers:
        print("skipped: no gcc, no clang")
    good = True
    for i, text in enumerate(files):
        path = "%s/examples%d.c" % (OUT, i)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        for cc in compilers:
            good = subprocess.run(
                [cc, "-std=c11", "-fsyntax-only", "-I.", "-fms-extensions", "-Wall", "-Wextra",
                 "-Werror", "-Wno-unused", "-Wno-unused-parameter", "-Werror=unused-result",
                 "-Wno-unknown-warning-option", "-Wno-microsoft-anon-tag", path],
                check=False).returncode == 0 and good
    return good


def check(headers):
    found = ["%s: %s" % (h.name, p) for h in headers for p in problems_of(h)]
    print("".join(p + "\n" for p in found), end="")
    good = compiles(headers)
    return 0 if good and not found else 1


if __name__ == "__main__":
    all_headers = [Header(name) for name in HEADERS if os.path.exists(name)]
    sys.exit(check(all_headers))

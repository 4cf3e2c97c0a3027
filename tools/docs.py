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
NAME = r"\b(?:coro_[a-z0-9]\w*|CORO(?:_[A-Z0-9]\w*)?)\b(?!\.h)"
LABEL = re.compile(r"(Waits|Returns|Errors|Context): +(.*)")
INLINE = re.compile(r": (int main\(void\) \{.*?\}|"
                    r"(?:typedef |[\w>-]+ = |\w+\(!?)?(?:coro|CORO)_\w+\([^;]*?\)(?:[. ]?\w+)?;)")


PLACE = {"c": "in a coroutine's body", "t": "anywhere on the loop's thread",
         "i": "also in interrupts and other threads"}


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
            head = re.match(r"(%s(?:,? %s)*) -- " % (NAME, NAME), first[2])
            if head:
                first[2] = first[2][head.end():]
                named = {n: self.kinds.get(n, "") for n in re.findall(NAME, head.group(1))}
                for name in named:      # they come first; CORO_ERR is no constant
                    named[name] = named[name].replace("constant", "") or "macro"
                self.kinds = {**named, **{n: self.kinds[n] for n in self.kinds if n not in named}}
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
        self.code = without_comments(text)
        self.version = (re.findall(r'#define CORO_VERSION "(.*?)"', text) or [""])[0]
        text = text[:re.search(r"^/\* =+\n \* >>impl", text, re.M).start()]
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
        for s in self.sections:
            if not s.title:
                s.title = re.search(r">>%s +(.*)" % s.tag, self.contents).group(1)
        self.once()
        self.add_contexts()

    def head(self, text):
        """The comment at the head: what it is, the program, the guide, the table."""
        intro, rest = re.split(r"^ \* >>guide\n", text, maxsplit=1, flags=re.M)
        guide, table = re.split(r"^ \* >>names\n", rest, maxsplit=1, flags=re.M)
        self.title = re.match(r" \S+ -- (.*?\.)(?=\s)", intro.replace("\n *", ""), re.S).group(1)
        self.contents = intro[intro.index(" * CONTENTS"):]
        self.intro = parts_of(1, intro[:-len(self.contents)])[1:]
        self.guide = parts_of(1, guide)
        self.table = "\n".join(line[3:] for line in table.rstrip().split("\n")).strip("\n")

    def add(self, line, text, code):
        code = declaration_after(code)
        entry = Entry(line, text, code)
        if entry.names and (text.strip() or "typedef" not in code):
            first = (Section("version", "which one this is", []) if "option" not in
                     entry.kinds.values() else
                     Section("options", "what can be set when compiling", []))
            self.sections = self.sections or [first]
            self.sections[-1].entries.append(entry)

    def entries(self):
        return [e for s in self.sections for e in s.entries]

    def add_contexts(self):
        """What the table says of a name, in words, is its Context, unless it has one."""
        said, names, text = {}, [], ""
        for row in self.table.split("\n"):
            after = re.match(r" *((?:%s\s+)+)(yes|no|blocks|-)" % NAME +
                             r"\s+(yes|no|-)\s+(yes|no|-)\s+(.+)", row)
            before = re.match(r" *(yes|no) +(yes|no) +([cti]) ", row)
            if not after and not re.fullmatch(r"\s*(?:%s\s*)+" % NAME, row):
                names, text = [], ""
                if not before:
                    continue
            if after:
                text = in_words(after[5], after[2], after[3], after[4])
            elif before:
                text = in_words(before[3], before[1], before[1], before[2])
            names += re.findall(NAME, row)
            if text:
                said.update(dict.fromkeys(names, text))
            if after:
                names, text = [], ""
        for e in self.entries():
            if e.names[0] in said and not any(p[3:] == ["Context"] for p in e.parts):
                e.parts.append(["label", e.line, said[e.names[0]], "Context"])

    def once(self):
        """A type that is declared here and defined there is described there."""
        seen = set()
        for e in reversed(self.entries()):
            e.names = [n for n in e.names if n not in seen or len(e.names) == 1]
            seen.update(e.names)

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
    lines, depth, macro = [], 0, False
    for line in text.split("\n")[1:]:
        if depth == 0 and (not line.strip() or line.startswith("/*")):
            break
        lines.append(line)
        macro = macro or line.startswith("#")
        depth += 0 if macro else line.count("{") - line.count("}")
        macro = macro and line.endswith("\\")
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
        code = re.sub(r"^#(ifndef CORO_\w+|endif /\* !CORO_\w+ \*/)\n?", "", entry.code, flags=re.M)
        return re.sub(r" *\\$", "", code.rstrip(), flags=re.M)
    code, shown = without_comments(entry.code), []
    for m in re.finditer(r"^# *define ((?:coro|CORO)(?:_\w+)?\([^)]*\))", code, re.M):
        if "__" not in m.group(1):
            shown.append(m.group(1))
    code = re.sub(r"^ *#(?:.*\\\n)*.*$", "", code, flags=re.M)
    for chunk in chunks_of(code):
        text = re.sub(r"\b(CORO_API|CORO__\w+|static|inline)\b|__attribute__ *\(\(.*?\)\)\)", "",
                      chunk.split("{")[0].rstrip(";"))
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
    text = re.sub(r" *//.*", "", text)
    return bool(re.search(r"([;}]|\) \.\.\.)$", text, re.M))


def in_words(where, wait, cancel, fail):
    yes = ["may wait"] * (wait == "yes") + ["blocks"] * (wait == "blocks")
    yes += ["can be cancelled"] * (cancel == "yes") + ["can fail"] * (fail == "yes")
    letter = re.match(r"([cti])(?=$|[ ,])", where)
    place = PLACE[letter[1]] + where[1:].split(",")[0] if letter else where
    return place + ("; " + ", ".join(yes) if yes else "")


def sentence(text):
    return text[0].upper() + text[1:] if re.match(r"[a-z]+[ ,;:.]+", text) else text


def summary_of(text):
    """A paragraph's first sentence, without an example that stands in it."""
    text = INLINE.sub(".", text)
    return re.split(r"(?<=[^.]\.) |[:;] (?=-?[A-Z0-9])|; ", text)[0].rstrip(".:; ")


# ---- the check -----------------------------------------------------------------------------------

def problems_of(header, uses):
    described = {name for e in header.entries() for name in e.names}
    for name, kind in header.public.items():
        if name not in described:
            yield "%s has no entry" % name
        if not re.search(r"\b%s\b" % name, header.table):
            yield "%s is not in the table of names" % name
        if kind in ("function", "macro") and not re.search(r"\b%s\b" % name, uses):
            yield "%s is in no example" % name
    for name in sorted(set(re.findall(NAME, header.table)) - set(re.findall(NAME, header.code))):
        yield "%s is in the table of names, but nowhere else" % name


def c_file_of(number, line, code, header):
    """An example as something that compiles."""
    code = re.sub(r"//.*", "", code)
    code += "}" * (code.count("{") - code.count("}"))
    as_it_is = re.search(r"^\{$|^(static|int|void|coro_op|CORO|CORO_(DECLARE|DEFINE|LIBRARY))\b"
                         r"[^;=]*\([^;=]*\)(;| *\{|$)", code, re.M)
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
    uses = "\n".join(code for h in headers for _, code in h.examples())
    found = ["%s: %s" % (h.name, p) for h in headers for p in problems_of(h, uses)]
    print("".join(p + "\n" for p in found), end="")
    good = compiles(headers)
    return 0 if good and not found else 1


# ---- the page ------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>coro %(version)s</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { --back: #fff; --side: #f6f7f9; --text: #1c2128; --soft: #5b6470; --line: #dfe3e8;
        --link: #0a58b0; --code: #f3f5f8; --note: #6a737d; --mark: #b34700;
        color-scheme: light dark }
@media (prefers-color-scheme: dark) { :root {
        --back: #15181c; --side: #1b1f24; --text: #dde2e8; --soft: #98a2ae; --line: #30363d;
        --link: #6cb0ff; --code: #1f242a; --note: #8b949e; --mark: #f0a060 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text);
       font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
code, pre { font: .86em/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { background: var(--code); border-radius: 6px; padding: .7em .9em; overflow-x: auto;
      margin: .7em 0; line-height: 1.45 }
pre a { color: inherit } pre a:hover { color: var(--link) } pre i { color: var(--note) }
nav { position: fixed; top: 0; bottom: 0; left: 0; width: 19rem; overflow-y: auto;
      background: var(--side); border-right: 1px solid var(--line); padding: 1rem;
      font-size: .86em }
nav input { width: 100%%; font: inherit; padding: .45em .6em; border-radius: 6px;
            border: 1px solid var(--line); background: var(--back); color: inherit }
nav summary { cursor: pointer; margin: .15em 0 } nav summary::marker { color: var(--soft) }
nav h4 { margin: 1.2em 0 .3em; font-size: 1.15em } nav h4 a { color: inherit }
nav ul { list-style: none; margin: 0; padding: 0 0 0 .8em }
nav li { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
#found { padding: .6em 0 0 } #found li { white-space: normal; margin-bottom: .5em }
#found small { display: block; color: var(--soft) }
main { margin-left: 19rem; padding: 1.2rem 2.5rem 50vh; max-width: 64rem }
h1 { font-size: 1.7em; margin: 1.6em 0 .2em } h2 { font-size: 1.3em; margin: 2em 0 .3em }
h1 small, h2 small { font-weight: normal; font-size: 1rem; color: var(--soft); display: block }
main > h1:first-child { margin-top: 0 }
h3 { font: 600 1.05em ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
     margin: 0; display: flex; flex-wrap: wrap; gap: 0 .8em; align-items: baseline }
h3 a { color: inherit } h3 small { margin-left: auto; font: .8em system-ui, sans-serif;
     color: var(--soft) }
article { border-top: 1px solid var(--line); padding: 1.1em 0 .6em }
article:target { box-shadow: -4px 0 0 var(--link); padding-left: 1em; margin-left: -1em }
article p, article dl { margin: .6em 0 } article p.example { margin: .6em 0 -.4em;
     font-size: .86em; color: var(--soft) }
dl { display: grid; grid-template-columns: 5.5rem 1fr; gap: .15em .5em } dt { color: var(--soft) }
dd { margin: 0 } .n { white-space: nowrap }
p code, dd code { color: var(--mark) } p code a, dd code a { color: var(--link) }
details > summary { cursor: pointer; color: var(--soft) }
@media (max-width: 60rem) { nav { position: static; width: auto; border: 0 }
     main { margin: 0; padding: 1rem } }
</style></head><body>
<nav><input id="search" type="search" placeholder="search: type / and words" autocomplete="off">
<ul id="found"></ul><div id="contents">%(contents)s</div></nav>
<main>%(main)s</main>
<script>
"use strict";
const input = document.getElementById("search"), found = document.getElementById("found");
const all = [...document.querySelectorAll("article")].map(a => ({
    a, names: a.dataset.names.toLowerCase(), text: a.textContent.toLowerCase() }));
function rank(e, words) {   // the smaller the better; 9: not at all
    if (!words.every(w => e.text.includes(w))) return 9;
    const name = words.join("_"), names = e.names.split(" ");
    return names.some(n => n === name || n === "coro_" + name) ? 0
        : names.some(n => n.startsWith("coro_" + name) || n.startsWith(name)) ? 1
        : words.every(w => e.names.includes(w)) ? 2
        : words.some(w => e.names.includes(w)) ? 3 : 4;
}
input.oninput = () => {
    const words = input.value.toLowerCase().split(/[\\s_()]+/).filter(w => w);
    const best = !words.length ? [] : all.map(e => [rank(e, words), e]).filter(r => r[0] < 9)
        .sort((x, y) => x[0] - y[0]).slice(0, 40);
    found.replaceChildren(...best.map(([, e]) => {
        const li = document.createElement("li"), a = document.createElement("a"),
              small = document.createElement("small");
        a.href = "#" + e.a.id;
        a.textContent = e.a.dataset.names;
        small.textContent = e.a.dataset.summary;
        li.append(a, small);
        return li;
    }));
    if (words.length && !best.length) found.textContent = "nothing";
    document.getElementById("contents").hidden = words.length > 0;
};
input.onkeydown = e => {
    if (e.key === "Enter" && found.firstChild?.firstChild) found.firstChild.firstChild.click();
    if (e.key === "Escape") { input.value = ""; input.oninput(); input.blur(); }
};
document.onkeydown = e => {
    if (e.key === "/" && document.activeElement !== input) { e.preventDefault(); input.focus(); }
};
</script></body></html>
"""


class Page:
    def __init__(self, headers):
        self.headers = headers
        self.anchor = {}            # of each name
        for h in headers:
            for e in h.entries():
                e.id = e.names[0]
                if e.id in self.anchor:     # coro_io.h has a coro_run, too
                    e.id += "-" + h.name[:-2]
                for name in e.names:
                    self.anchor.setdefault(name, e.id)

    def links(self, text, own=()):
        """Text as HTML, in which names are links."""
        def link(m):
            at = self.anchor.get(m.group())
            return m.group() if not at or at in own else '<a href="#%s">%s</a>' % (at, m.group())
        return re.sub(NAME, link, html.escape(text, quote=False))

    def code(self, text, own=()):
        text = re.sub(r"/\*.*?\*/|(?<![:\w])//[^\n]*", r"<i>\g<0></i>", self.links(text, own),
                      flags=re.S)
        return "<pre>%s</pre>\n" % text

    def prose(self, text, own=()):
        """A paragraph: what is code in it looks like code."""
        pieces, at = [], 0
        pattern = r"%s|`([^`]+)`|-E[A-Z]{3,}\b|-[DO]\w+(?:=\w+)?|%s(?:\(\))?" % (
            INLINE.pattern, NAME)
        for m in re.finditer(pattern, text):
            inside = m.group(1) or m.group(2)
            pieces.append(html.escape(text[at:m.start()], quote=False))
            inside = inside or m.group()
            pieces.append((": " if m.group(1) else "") + "<code%s>%s</code>" % (
                "" if " " in inside else " class=n", self.links(inside, own)))
            at = m.end()
        return "".join(pieces) + html.escape(text[at:], quote=False)

    def parts(self, parts, own=()):
        out, labels = "", ""
        for kind, _, text, *label in parts:
            if kind == "label":
                labels += "<dt>%s</dt><dd>%s</dd>" % (label[0], self.prose(text, own))
            elif kind == "pre":
                out += self.code(text, own)
            elif kind == "list":
                out += "<ul>%s</ul>" % "".join("<li><p>%s</p></li>" % self.prose(t) for t in text)
            else:
                out += "<p>%s</p>\n" % self.prose(sentence(text), own)
        return out + ("<dl>%s</dl>" % labels if labels else "")

    def entry(self, e, header):
        own = e.names
        shown = signatures_of(e)
        code = self.code(shown, own) if shown else ""
        if shown.count("\n") > 24:
            code = "<details><summary>%d lines</summary>%s</details>" % (shown.count("\n"), code)
        other = "" if e.examples() else self.example_elsewhere(e, header)
        return ('<article id="%s" data-names="%s" data-summary="%s"><h3>%s<small>%s</small></h3>\n'
                '%s%s%s</article>\n' % (
                    e.id, " ".join(own), html.escape(e.summary),
                    " ".join('<a href="#%s">%s</a>' % (e.id, name) for name in own),
                    ", ".join(dict.fromkeys(e.kinds[name] for name in own)),
                    code, self.parts(e.parts, own), other))

    def example_elsewhere(self, e, header):
        found = example_of(e, header)
        return "" if not found else '<p class="example">from <a href="#%s">%s</a>:</p>%s' % (
            found[0], found[0], self.code(found[1], e.names))

    def write(self):
        main, contents = "", ""
        for h in self.headers:
            key = h.name[:-2]
            main += '<h1 id="%s">%s<small>%s</small></h1>%s<h2 id="%s-guide">Guide</h2>%s' % (
                h.name, h.name, self.prose(h.title), self.parts(h.intro), key, self.parts(h.guide))
            main += '<h2 id="%s-names">Names</h2>%s' % (key, self.code(h.table))
            contents += ('<h4><a href="#%s">%s</a></h4><a href="#%s-guide">guide</a>, '
                         '<a href="#%s-names">table of names</a>' % (h.name, h.name, key, key))
            for s in h.sections:
                at = "%s-%s" % (key, s.tag)
                main += '<h2 id="%s">%s<small>%s</small></h2>%s%s' % (
                    at, s.tag, self.prose(s.title), self.parts(s.parts),
                    "".join(self.entry(e, h) for e in s.entries))
                rows = ['<li><a href="#%s" title="%s">%s</a></li>' % (
                            e.id, html.escape(e.summary), name)
                        for e in s.entries for name in e.names
                        if e.kinds[name] != "constant" or "type" not in e.kinds.values()]
                contents += ('<details><summary><a href="#%s">%s</a></summary><ul>%s</ul>'
                             '</details>' % (at, s.tag, "".join(rows)))
        write(OUT + "/index.html", PAGE % {"version": self.headers[0].version, "main": main,
                                           "contents": contents})


def example_of(entry, header):
    """(whose, code): an example of another entry in which a name of this one is used."""
    wanted = re.compile(r"\b(%s)\b" % "|".join(entry.names))
    if not any(entry.kinds[n] in ("function", "macro") for n in entry.names):
        return None
    near = next(s for s in header.sections if entry in s.entries)
    for e in near.entries + header.entries():
        for _, code in e.examples():
            if wanted.search(code):
                return e.names[0], code
    return None


# ---- manual pages --------------------------------------------------------------------------------

def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + row if row[:1] in (".", "'") else row for row in text.split("\n"))


def roff_parts(parts):
    out = ""
    for kind, _, text, *label in parts:
        if kind == "label":
            out += ".TP 12\n%s:\n%s\n" % (label[0], roff(text))
        elif kind == "pre":
            out += ".PP\n.in +4n\n.EX\n%s\n.EE\n.in\n" % roff(text)
        elif kind == "list":
            out += "".join(".IP \\(bu 3\n%s\n" % roff(t) for t in text)
        else:
            out += ".PP\n%s\n" % roff(sentence(text))
    return out


def roff_head(title, section, version, names, summary):
    return '.TH %s %d "" "coro %s" "coro"\n.SH NAME\n%s \\- %s\n' % (
        title, section, version, roff(", ".join(names)), roff(summary or "part of coro"))


def man_page(e, header, version):
    shown = signatures_of(e)
    page = roff_head(e.names[0].upper(), 3, version, e.names, e.summary)
    page += ".SH SYNOPSIS\n.EX\n#include <%s>\n%s\n.EE\n" % (header.name, roff("\n" + shown))
    page += ".SH DESCRIPTION\n" + roff_parts(e.parts).replace(".PP\n", "", 1)
    other = None if e.examples() else example_of(e, header)
    if other:
        page += ".SH EXAMPLES\nFrom\n.BR %s (3):\n%s" % (
            roff(other[0]), roff_parts([["pre", 0, other[1]]]))
    near = next(s for s in header.sections if e in s.entries)
    also = ["%s(3)" % n for o in near.entries if o is not e for n in o.names[:1]][:12]
    return page + ".SH SEE ALSO\n%s\n" % roff(", ".join(["%s(7)" % header.name[:-2]] + also))


def man_overview(header):
    page = roff_head(header.name[:-2].upper(), 7, header.version, [header.name[:-2]],
                     header.title.rstrip("."))
    page += ".SH SYNOPSIS\n" + roff_parts(header.intro).replace(".PP\n", "", 1)
    page += ".SH GUIDE\n" + roff_parts(header.guide).replace(".PP\n", "", 1)
    page += ".SH NAMES\n.EX\n%s\n.EE\n" % roff(header.table)
    for s in header.sections:
        page += ".SH %s\n%s\n%s" % (s.tag.upper(), roff(s.title), roff_parts(s.parts))
        for e in s.entries:
            page += ".TP\n.BR %s (3)\n%s\n" % (
                " \"(3), \" ".join(roff(n) for n in e.names), roff(e.summary or "see there"))
    return page


def write_man(headers):
    shutil.rmtree(OUT + "/man", ignore_errors=True)
    pages = {}                  # by name in lower case: CORO_TASK and coro_task may be one file
    for h in headers:
        write("%s/man/man7/%s.7" % (OUT, h.name[:-2]), man_overview(h))
        for e in h.entries():
            pages.setdefault(e.names[0].lower(), []).append((h, e))
    for pair in pages.values():
        first = pair[0][1].names[0]
        write("%s/man/man3/%s.3" % (OUT, first),
              "".join(man_page(e, h, headers[0].version) for h, e in pair))
        for name in [n for _, e in pair for n in e.names]:
            path = "%s/man/man3/%s.3" % (OUT, name)
            if not os.path.exists(path):
                write(path, ".so man3/%s.3\n" % first)


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    headers = [Header(name) for name in HEADERS if os.path.exists(name)]
    if sys.argv[1:] == ["--check"]:
        return check(headers)
    Page(headers).write()
    write_man(headers)
    return 0


if __name__ == "__main__":
    sys.exit(main())

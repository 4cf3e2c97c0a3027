#!/bin/sh
# usage: tidy.sh [folder]
# Checks the checkable part of the house style, needing sh and awk alone. Prints `file:line: what`
# and exits with 1 if there is anything. What it wants of a public header beyond the text form:
#
#   - the table of all names stands in a comment between the last line with `>>names` and the end of
#     that comment, or the next `>>tag`; every function and every macro with arguments is in it
#   - every function, and every lower-case macro, has a comment that starts `/* coro_x -- `

cd "${1:-.}" || exit 2
export LC_ALL=C

# The files of these patterns that exist.
list() {
    for f in "$@"; do [ ! -f "$f" ] || printf '%s\n' "$f"; done
}

headers=$(list coro*.h)
c_files=$(list coro*.h test/*.c test/*.h test/*/*.c test/*/*.h test/*/*/*.c test/*/*/*.h \
    examples/*.c examples/*/*.[ch] bench/*.[ch])
others=$(list tools/* Makefile .ci/run test/*.sh test/*/*.sh test/*/*/*.sh)
public=$(list examples/*.c examples/*/*.[ch] README.md)
bad=0

# ---- the text: columns, blanks, lengths, preprocessor ------------------------------------------

# shellcheck disable=SC2086     # names are words, here and below
awk '
    function say(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; found = 1 }
    function end_file() {
        if (function_start) {
            printf "%s:%d: this function has no end in column 0\n", last_file, function_start
            found = 1
        }
        function_start = macro_lines = 0
        default_of = ""
    }
    # Is the option asked for by its mere existence? Allowed are guards and the two build modes, and
    # #ifndef with the default in the next line, or an #if that chooses one.
    function check_option(name) {
        if (name ~ /_H$/ || name == "CORO_SHARED" || name == "CORO_IMPLEMENTATION")
            return
        if ($0 ~ /^# *(ifndef|if *! *defined)/)
            default_of = name
        else
            say("options are 0 or 1: `#if " name "`")
    }

    FNR == 1 { end_file(); last_file = FILENAME; is_c = FILENAME ~ /\.[ch]$/ }
    {
        text = $0
        gsub(/[\200-\277]/, "", text)       # count characters, not bytes
        if (length(text) > 100 && !/^\/\/ /) # but what a compiler says is as long as it is
            say("line of " length(text) " columns, at most 100")
        if (/\t/ && FILENAME != "Makefile") say("tab")
        if (/[ \t]$/) say("blanks at the end of the line")
    }
    !is_c { next }

    default_of != "" {
        if ($0 !~ "^# *define +" default_of "([^A-Za-z0-9_]|$)" && !/^# *if /)
            say("#ifndef " default_of " must be followed by its default, a #define")
        default_of = ""
    }
    /^# *endif *$/ { say("#endif needs a comment: #endif /* CONDITION */") }
    /^# *(ifdef|ifndef|if|elif)/ && !/^# *(if|elif) *[A-Z_0-9]+ *$/ {
        line = $0
        sub(/\/\*.*/, "", line)
        while (match(line, /(ifdef|ifndef|defined *\(?) *CORO_[A-Z0-9_]*/)) {
            name = substr(line, RSTART, RLENGTH)
            sub(/.*[ (]/, "", name)
            line = substr(line, RSTART + RLENGTH)
            check_option(name)
        }
    }

    /^# *define / { macro_lines = 1; macro_start = FNR }
    macro_lines && !/\\$/ {
        if (macro_lines > 12)
            printf "%s:%d: macro of %d lines, at most 12\n", FILENAME, macro_start, macro_lines
        found = found || macro_lines > 12
        macro_lines = 0
    }
    macro_lines { macro_lines++ }

    /^\{$/ { function_start = FNR }
    /^\}/ && function_start {
        if (FNR - function_start + 1 > 70)
            printf "%s:%d: function of %d lines, at most 70\n", FILENAME, function_start,
                FNR - function_start + 1
        found = found || FNR - function_start + 1 > 70
        function_start = 0
    }
    END { end_file(); exit found }' $c_files $others /dev/null || bad=1

for f in $c_files $others; do
    if [ -s "$f" ] && [ "$(tail -c 1 "$f" | wc -l)" -eq 0 ]; then
        echo "$f: no newline at the end of the file"
        bad=1
    fi
done

# ---- public names: the table, the comments -----------------------------------------------------

# shellcheck disable=SC2086
[ -z "$headers" ] || awk '
    function end_file(  i, name) {
        for (i = 1; i <= n; i++) {
            name = names[i]
            if (!have_table) break
            if (!(name in table)) print where[name] ": " name " is not in the table of names"
            found = found || !(name in table)
        }
        for (i = 1; i <= n; i++) {
            name = names[i]
            if (name ~ /^CORO/ || name in described) continue
            print where[name] ": " name " has no comment `/* " name " -- `"
            found = 1
        }
        if (last_file != "" && !have_table) {
            print last_file ": no table of names (a comment with the tag >>names)"
            found = 1
        }
        n = have_table = in_table = in_comment = 0
        split("", names); split("", table); split("", where); split("", described)
    }
    function public_name(name) {
        if (name ~ /__/ || name in where) return
        names[++n] = name
        where[name] = FILENAME ":" FNR
    }

    FNR == 1 { end_file(); last_file = FILENAME == "/dev/null" ? "" : FILENAME }
    { code_first = 0 }
    !in_comment && /\/\*/ { in_comment = 1; code_first = !/^ *\/\*/ }
    /^ *\/\* coro_[a-z0-9_]* -- / { described[$2] }
    in_comment && />>[a-z]/ {
        in_table = />>names/
        if (in_table) { have_table = 1; split("", table) }
    }
    in_table {
        line = $0
        while (match(line, /(coro|CORO)_[A-Za-z0-9_]+/)) {
            table[substr(line, RSTART, RLENGTH)]
            line = substr(line, RSTART + RLENGTH)
        }
    }
    in_comment {
        if (/\*\//) in_comment = in_table = 0
        if (!code_first) next
    }
    /^# *define +(coro|CORO)_[A-Za-z0-9_]+\(/ {
        name = $0
        sub(/^# *define +/, "", name)
        sub(/\(.*/, "", name)
        public_name(name)
    }
    # A declaration or definition: types, then coro_x( -- not a call, which is never in column 0.
    /^[A-Za-z_]/ && !/^typedef/ && !/^return/ {
        line = $0
        gsub(/[A-Z_][A-Z0-9_]*\([^()]*\) */, "", line)          # attributes in macros
        if (match(line, /^([A-Za-z_][A-Za-z0-9_ *]*[ *])?coro_[a-z0-9_]+\(/)) {
            name = substr(line, 1, RLENGTH - 1)
            sub(/.*[ *]/, "", name)
            public_name(name)
        }
    }
    END { end_file(); exit found }' $headers /dev/null || bad=1

# ---- examples and README -----------------------------------------------------------------------

# shellcheck disable=SC2086
[ -z "$public" ] || awk '
    FNR == 1 { in_block = 0 }
    FILENAME == "README.md" && /^```/ { in_block = !in_block; next }
    (FILENAME != "README.md" || in_block) && match($0, /(coro|CORO)__[A-Za-z0-9_]*/) {
        printf "%s:%d: %s is private\n", FILENAME, FNR, substr($0, RSTART, RLENGTH)
        found = 1
    }
    END { exit found }' $public || bad=1

# A block of C after `<!-- file: examples/x.c -->` is that file, byte for byte.
[ ! -f README.md ] || awk '
    function say(line, text) { printf "README.md:%d: %s\n", line, text; found = 1 }
    /^<!-- file: .* -->$/ { file = $3; marked = FNR; next }
    file != "" && !in_block {
        if ($0 !~ /^```c$/) { say(FNR, "a block of C must follow the name of its file"); file = "" }
        in_block = file != ""
        next
    }
    in_block && /^```$/ {
        if (!differs && (getline line < file) > 0) say(FNR, file " goes on here: " line)
        close(file)
        file = ""
        in_block = differs = 0
        next
    }
    in_block && !differs {
        if ((getline line < file) <= 0) { say(FNR, file " has ended here, or does not exist")
                                          differs = 1 }
        else if (line != $0) { say(FNR, "differs from " file ": " line); differs = 1 }
    }
    END { exit found }' README.md || bad=1

exit $bad

#!/bin/sh
# usage: readme.sh [file]   puts the examples named by `<!-- file: ... -->` into README.md's code
# blocks; tidy.sh checks that they are the same.
set -e
file=${1:-README.md}
awk '
    /^<!-- file: .* -->$/ { name = $3; print; next }
    name != "" && /^```c/ {
        print
        while ((getline line < name) > 0) print line
        close(name)
        name = ""; inside = 1
        next
    }
    inside && /^```$/ { inside = 0 }
    !inside { print }
' "$file" > "$file.new"
mv "$file.new" "$file"

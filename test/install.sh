#!/bin/sh
# usage: install.sh
# Tests `make install`, and that pkg-config, CMake and Meson find what they need: two examples are
# built with each, with nothing but what it says, and run. Works in build/install/. What needs a
# missing tool says so; with STRICT=1 it fails. Ends with `N passed, M failed`.

cd "$(dirname "$0")/.." || exit 2
repo=$PWD
dir=$repo/build/install
rm -rf "$dir"
mkdir -p "$dir"
passed=0 failed=0
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR PREFIX

# check what command...
check() {
    what=$1
    shift
    if "$@" > "$dir/out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL install.sh: $what:"
        sed 's/^/    /' "$dir/out"
    fi
}
have() {
    command -v "$1" > /dev/null && return
    echo "skipped: no $1"
    [ -z "$STRICT" ] || failed=$((failed + 1))
    false
}
# The two examples, built in a folder, do what they should; the second one's text depends on time.
examples_run() {
    tools/expect.sh "$1" examples/workers.c && "$1/examples/blocking"
}

# ---- make install, pkg-config --------------------------------------------------------------------

root="$dir/root"
at=$root/opt/coro
man=$at/share/man
check "make install" make -s install DESTDIR="$root" PREFIX=/opt/coro

all_files() {
    (cd "$at" && find . -type f ! -path '*/man3/*' | sort) > "$dir/files"
    {
        printf './include/%s\n' coro*.h
        [ ! -d "$man" ] || printf './share/man/man7/%s\n' coro.7 coro_io.7 coro_sync.7
        echo ./share/pkgconfig/coro.pc
    } | sort | diff -u - "$dir/files"
}
check "all files are there, and no others" all_files

with_pkg_config() {
    flags=$(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$at/share/pkgconfig \
        pkg-config --cflags --libs coro) || return
    mkdir -p "$dir/pkg/examples"
    for name in workers blocking; do
        # shellcheck disable=SC2086     # words
        ${CC:-cc} -std=c11 "examples/$name.c" -o "$dir/pkg/examples/$name" $flags || return
    done
    examples_run "$dir/pkg"
}
the_version() {
    echo "#include \"coro.h\"
_Static_assert(CORO_VERSION_MAJOR * 10000 + CORO_VERSION_MINOR * 100 + CORO_VERSION_PATCH ==
               $(PKG_CONFIG_PATH=$at/share/pkgconfig pkg-config --modversion coro |
                 sed 's/\(.*\)\.\(.*\)\.\(.*\)/\1 * 10000 + \2 * 100 + \3/'), \"not the same\");" |
        ${CC:-cc} -std=c11 -I. -fsyntax-only -x c -
    grep -q "^## $(sed -n 's/^#define CORO_VERSION "\(.*\)"/\1/p' coro.h)[, ]" CHANGELOG.md
}
if have pkg-config; then
    check "programs are built with what pkg-config says" with_pkg_config
    check "versions agree: three numbers, coro.pc, CHANGELOG.md" the_version
fi

no_warnings() {
    (cd "$man" && for page in man*/*; do groff -man -Tutf8 -ww -z "$page" 2>&1; done) |
        tee "$dir/man.out"
    [ ! -s "$dir/man.out" ]
}
names_have_pages() {
    for name in coro_queue_get CORO_TRY coro_scope coro_fd CORO_DEBUG coro_run; do
        [ -s "$man/man3/$name.3" ] || { echo "no page for $name"; return 1; }
    done
    grep -q 'closed and drained' "$man/man3/coro_queue_get.3"
}
if have python3; then
    check "every name has a manual page" names_have_pages
    ! have groff || check "manual pages are well-formed" no_warnings
fi

# ---- CMake, Meson --------------------------------------------------------------------------------

# with_cmake folder line option... : a project that gets coro by the line
with_cmake() {
    folder=$dir/$1
    mkdir -p "$folder"
    cat > "$folder/CMakeLists.txt" << END
cmake_minimum_required(VERSION 3.14)
project(user C)
set(CMAKE_C_STANDARD 11)
$2
foreach(name workers blocking)
    add_executable(\${name} $repo/examples/\${name}.c)
    target_link_libraries(\${name} PRIVATE coro::coro)
    set_target_properties(\${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY examples)
endforeach()
END
    shift 2
    cmake -S "$folder" -B "$folder/build" "$@" && cmake --build "$folder/build" &&
        examples_run "$folder/build"
}
cmake_install() {
    cmake -S . -B "$dir/cmake" -DCMAKE_INSTALL_PREFIX="$dir/prefix" &&
        cmake --install "$dir/cmake"
}
if have cmake; then
    check "CMake: add_subdirectory" with_cmake sub "add_subdirectory($repo coro)"
    check "CMake: FetchContent" with_cmake fetch "include(FetchContent)
FetchContent_Declare(coro GIT_REPOSITORY nowhere)
FetchContent_MakeAvailable(coro)" -DFETCHCONTENT_SOURCE_DIR_CORO="$repo"
    check "CMake: install" cmake_install
    check "CMake: find_package" with_cmake find "find_package(coro 0.1 REQUIRED)" \
        -DCMAKE_PREFIX_PATH="$dir/prefix"
fi

with_meson() {
    folder=$dir/meson
    mkdir -p "$folder/subprojects/coro" "$folder/examples"
    cp coro*.h meson.build "$folder/subprojects/coro"
    cp examples/workers.c examples/blocking.c "$folder/examples"
    cat > "$folder/meson.build" << END
project('user', 'c', default_options: ['c_std=c11'])
coro = dependency('coro', fallback: 'coro')
subdir('examples')
END
    cat > "$folder/examples/meson.build" << END
foreach name : ['workers', 'blocking']
    executable(name, name + '.c', dependencies: coro)
endforeach
END
    meson setup "$folder/build" "$folder" && ninja -C "$folder/build" &&
        examples_run "$folder/build"
}
! have meson || ! have ninja || check "Meson: a subproject" with_meson

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

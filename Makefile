# coro: asyncio's toolbox in C headers. `make` builds and tests; `make help` lists the rest.
# Everything built lands in build/.

HEADERS   := $(wildcard coro.h coro_sync.h coro_io.h)
TESTS_io  := $(patsubst %,test/test_%.c,dial faults fd first guest io_cover io_sweep io_timeout \
               kqueue net parcel peers portal process sendfile serve signal soak stream thread)
TESTS_all := $(sort $(wildcard test/test_*.c))
TESTS_core := $(filter-out $(TESTS_io),$(TESTS_all))
EXAMPLES  := $(sort $(wildcard examples/*.c))
# Without a comment with their output: the show, and a server (which has test/test_first.c).
SILENT    := examples/demo.c examples/first.c

# Tests that are not C++: left out when a C++ compiler builds them.
TESTS_C_ONLY :=

# ---- variables -----------------------------------------------------------------------------------
#: CC=gcc           the compiler: gcc, clang, g++, clang++, clang-19, ...
#: STD=c11          the language: c11, c17, gnu11, c++20, ...
#: OPT=-O1          the optimisation level
#: SAN=none         asan (with ubsan), tsan, msan (clang), function (clang), valgrind, none
#: MODE=inline      inline: every file has its copy of the code; shared: one file has it
#: FILTER=word      only the tests whose names contain the word
#: FLAGS=...        more compiler flags
#: BITS=32          a 32-bit program
#: BACKEND=poll     of coro_io.h: epoll, kqueue, poll; default: the system's best
#: PART=all         all tests, those of coro_io.h only (io), or all others (core)
#: WERROR=          warnings do not stop the build
#: STRICT=1         a missing tool is a failure
#: ROWS=text        only the rows of the matrix that contain the text
#: PREFIX, DESTDIR  where install puts things

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif
CXX_IN_USE := $(if $(findstring ++,$(CC) $(STD)),1)
STD     ?= $(if $(CXX_IN_USE),c++20,c11)
OPT     ?= -O1
SAN     ?= none
MODE    ?= inline
FILTER  ?=
FLAGS   ?=
BITS    ?=
BACKEND ?=
PART    ?= all
TESTS   := $(TESTS_$(PART))
WERROR  ?= -Werror
STRICT  ?=
PREFIX  ?= /usr/local
DESTDIR ?=

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wimplicit-fallthrough \
            -Wundef $(WERROR)

SAN_none     :=
SAN_asan     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_tsan     := -fsanitize=thread
SAN_msan     := -fsanitize=memory -fsanitize-memory-track-origins -fno-sanitize-recover=all
SAN_function := -fsanitize=function,undefined -fno-sanitize-recover=all
SAN_valgrind :=
SAN_cover    := --coverage -fprofile-abs-path -fprofile-update=atomic -fkeep-inline-functions \
                -DTEST_COVERAGE=1 -Dalways_inline=unused
ifndef SAN_$(SAN)
ifneq ($(origin SAN_$(SAN)),file)
$(error SAN=$(SAN) is not one of none asan tsan msan function valgrind)
endif
endif
ifeq ($(filter inline shared,$(MODE)),)
$(error MODE=$(MODE) is neither inline nor shared)
endif

# Debian's gcc-multilib would remove every cross compiler, so the 64-bit headers' folder is named.
# Linux has no kqueue: test/kqueue/ has one, for the tests.
KQUEUE_C       := $(if $(filter Linux,$(shell uname)),test/kqueue/kqueue.c)
BACKEND_epoll  := -DCORO_IO_BACKEND=1
BACKEND_kqueue := -DCORO_IO_BACKEND=2 $(if $(KQUEUE_C),-isystem test/kqueue)
BACKEND_poll   := -DCORO_IO_BACKEND=3
BITS_32  := -m32 -isystem /usr/include/x86_64-linux-gnu
LANGUAGE := $(if $(CXX_IN_USE),-x c++) -std=$(STD)
# g++ takes a designated initializer that leaves members out for an oversight; in C it is the point.
WARNINGS += $(if $(CXX_IN_USE),-Wno-missing-field-initializers)
COMPILE  := $(LANGUAGE) $(OPT) -g -I. -Itest -pthread $(WARNINGS) $(SAN_$(SAN)) \
            $(BITS_$(BITS)) $(if $(filter shared,$(MODE)),-DCORO_SHARED) $(FLAGS) \
            $(BACKEND_$(BACKEND))
LINK     := -pthread $(SAN_$(SAN)) $(BITS_$(BITS)) \
            $(if $(CXX_IN_USE),$(if $(findstring ++,$(CC)),,-lstdc++))

# How a built program is started; and whether its times mean anything.
RUN      := $(if $(filter valgrind,$(SAN)),valgrind -q --error-exitcode=99 --leak-check=full \
              --suppressions=test/valgrind.supp)
TEST_ENV := TEST_FILTER='$(FILTER)' TEST_SLOW=$(if $(RUN),20,$(if $(filter none,$(SAN)),1,4)) \
            $(if $(filter none,$(SAN)),$(if $(filter-out -O0,$(OPT)),TEST_TIMES=1))

# A folder for each combination, so that they do not mix.
CONFIG := $(subst /,_,$(subst $() $(),_,$(strip \
            $(CC) $(STD) $(OPT) $(MODE) $(SAN) $(BITS) $(BACKEND) $(PART) $(FLAGS) \
            $(if $(WERROR),,warn))))
B      := build/$(CONFIG)

TESTS_HERE := $(if $(CXX_IN_USE),$(filter-out $(TESTS_C_ONLY),$(TESTS)),$(TESTS))
SHARED_C   := $(if $(filter shared,$(MODE)),$(B)/implementation.c)
BACKEND_C  := $(if $(filter kqueue,$(BACKEND)),$(KQUEUE_C))
COMMON_OBJ := $(SHARED_C:.c=.o) $(BACKEND_C:%.c=$(B)/%.o)
TEST_OBJ   := $(TESTS_HERE:%.c=$(B)/%.o) $(B)/test/main.o $(COMMON_OBJ)
EXAMPLE_BIN := $(EXAMPLES:%.c=$(B)/%)

# $(call need,tool): leaves the recipe's shell, saying so, when the tool is not there.
need = command -v $(1) >/dev/null 2>&1 || { echo "skipped: no $(1)"; exit $(if $(STRICT),1,0); }
have = test -e $(1) || { echo "skipped: no $(1)"; exit $(if $(STRICT),1,0); }

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: test unit demo show-demo examples libraries servers apps soak bench bench-core \
        bench-sync bench-io bench-apps bench-together run-bench-together size cover \
        cover-report lint lint-examples tidy fail harness docs matrix chip-cortexm chip-avr \
        probe install check-install clean help fuzz mutate pictures

# ---- test ----------------------------------------------------------------------------------------

# With a filter only the tests proper are meant.
test: $(B)/tests ## build and run the tests, with what every machine has
	@$(TEST_ENV) tools/tally.sh '$(RUN) $(B)/tests' $(if $(FILTER),, \
	    'CC="$(CC)" CFLAGS="$(LANGUAGE)" test/harness.sh' tools/tidy.sh 'CLANG=none tools/fail.sh' \
	    '$(call need,python3); python3 tools/docs.py --check')

unit: $(B)/tests ## the tests proper, without those of the tools
	@$(if $(RUN),$(call need,$(firstword $(RUN)));) $(TEST_ENV) $(RUN) $(B)/tests

harness: ## test the test harness and the tools themselves
	@CC="$(CC)" CFLAGS="$(LANGUAGE)" test/harness.sh

fail: ## programs that must not compile, in test/fail/, and what the compiler must say
	@tools/fail.sh

tidy: ## check the checkable part of the house style
	@tools/tidy.sh

# test/. so that a test file that went away goes away here, too.
$(B)/tests: $(TEST_OBJ) test/.
	@$(CC) $(TEST_OBJ) -o $@ $(LINK)

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@$(CC) $(COMPILE) -MMD -MP -c $< -o $@

$(B)/implementation.o: $(B)/implementation.c
	@$(CC) $(COMPILE) -MMD -MP -c $< -o $@

$(B)/implementation.c: Makefile $(HEADERS)
	@mkdir -p $(@D)
	@{ echo '#define CORO_IMPLEMENTATION'; printf '#include "%s"\n' \
	    $(filter coro_io.h,$(HEADERS)) $(HEADERS); } > $@ # that one comes before libc's

# Can this compiler build and link with these flags at all? The matrix asks before it blames us.
probe:
	@mkdir -p $(B)
	@echo 'int main(void) { return 0; }' > $(B)/probe.c
	@$(CC) $(COMPILE) $(B)/probe.c -o $(B)/probe $(LINK)
	@$(if $(RUN),command -v $(firstword $(RUN)) >/dev/null)

soak: $(B)/test/soak ## 20 rounds of 10,000 connections that come and go; TIME=s: for so long
	@$(RUN) $(B)/test/soak $(TIME)

$(B)/test/soak: $(B)/test/soak.o $(SHARED_C:.c=.o)
	@$(CC) $^ -o $@ $(LINK)

# ---- examples ------------------------------------------------------------------------------------

examples: $(EXAMPLE_BIN) ## build and run examples/*.c and compare with their `Output:`
	@$(call have,examples); tools/expect.sh $(B) $(filter-out $(SILENT),$(EXAMPLES))

demo: ## the show
	@$(call have,examples/demo.c); $(MAKE) --no-print-directory show-demo OPT=-O2

show-demo: $(B)/examples/demo
	@$(RUN) $(B)/examples/demo

$(EXAMPLE_BIN): $(B)/%: $(B)/%.o $(COMMON_OBJ)
	@$(CC) $^ -o $@ $(LINK)

APPS := chat proxy together download

apps: $(APPS:%=$(B)/examples/%) ## examples/ chat, proxy, together, download with real tools
	@$(call need,python3); $(call need,pgrep); test/apps.sh $(B)/examples

bench-together: ## examples/together against xargs: 1,000 commands, eight at a time
	@$(MAKE) --no-print-directory OPT=-O2 run-bench-together

run-bench-together: $(B)/examples/together
	@bench/together.sh $(B)/examples/together

# Each with the library that it needs, as pkg-config calls it.
LIBRARIES := curl:libcurl dns:libcares guest_uv:libuv postgres:libpq redis:hiredis \
             tls:openssl
library    = $(patsubst $*:%,%,$(filter $*:%,$(LIBRARIES)))

libraries: ## examples/libraries/*.c with the real servers, as far as pkg-config finds the library
	@$(call need,pkg-config); MAKE='$(MAKE)' STRICT=$(STRICT) test/libraries.sh $(B) $(LIBRARIES)

$(B)/examples/libraries/%: examples/libraries/%.c $(COMMON_OBJ) $(HEADERS) Makefile
	@mkdir -p $(@D)
	@$(CC) $(COMPILE) $$(pkg-config --cflags $(library)) $(filter %.c %.o,$^) -o $@ $(LINK) \
	    $$(pkg-config --libs $(library))

servers: $(B)/examples/http $(B)/examples/redis ## test the servers among the examples from outside
	@$(call have,test/servers.py); $(call need,python3); STRICT=$(STRICT) test/servers.py $(B)/examples

# ---- measuring -----------------------------------------------------------------------------------

bench: ## all benchmarks against their limits; 1 if a bar is missed
	@$(call have,bench/run.py); $(call need,python3); python3 bench/run.py

bench-core: ## the benchmarks of coro.h
	@$(call have,bench/run.py); $(call need,python3); python3 bench/run.py --core

bench-sync: ## the benchmarks of coro_sync.h
	@$(call have,bench/run.py); $(call need,python3); python3 bench/run.py --sync

bench-io: ## the benchmarks of coro_io.h
	@$(call have,bench/run.py); $(call need,python3); python3 bench/run.py --io

bench-apps: ## the servers among the examples, against one by hand, nginx, and redis-server
	@$(call have,bench/apps.py); $(call need,python3); python3 bench/apps.py

# From what `make bench` has left. The demo runs in a terminal of its own, so that it has its bar.
pictures: ## draw bench/pictures/: the last `make bench`, latency under load, the demo
	@$(call have,build/bench.json); $(call need,gnuplot); $(call need,python3); \
	$(call need,script); python3 bench/run.py --latency && \
	script -qec 'MAKEFLAGS= make --no-print-directory demo' build/demo.log > /dev/null && bench/plot.sh

size: ## bytes per task and of code, per target, against test/size.budget
	@$(call have,test/size.c); STRICT=$(STRICT) tools/size.sh

# One copy of the code (shared, and inline functions kept), so that a function that no test calls
# counts as not covered.
cover: ## lines and branches covered, per header; annotated source in build/cover/
	@$(call need,gcov); $(call need,python3); $(MAKE) --no-print-directory cover-report \
	    CC=gcc STD=c11 OPT=-O0 MODE=shared SAN=cover

cover-report: $(B)/tests
	@find $(B) -name '*.gcda' -delete
	@$(TEST_ENV) $(B)/tests; rc=$$?; python3 tools/cover.py $(B) $(HEADERS) && exit $$rc

# ---- looking for what the tests miss -------------------------------------------------------------

mutate: ## N=20 changes of each header, one at a time: do tests fail? SEED=k: the same; HEADERS=...
	@$(call need,python3); MAKE='$(MAKE)' SEED=$(SEED) python3 tools/mutate.py $(or $(N),20) $(HEADERS)

# What clang's libFuzzer makes up, with ASan and UBSan; also with another clang: FUZZ_CC=clang-19.
FUZZ_CC ?= clang
FUZZ    := $(patsubst test/fuzz/%.c,build/fuzz/%,$(sort $(wildcard test/fuzz/*.c)))

fuzz: ## TIME=60 s of coverage-guided fuzzing with test/fuzz/*.c
	@$(call need,$(FUZZ_CC)); mkdir -p build/fuzz; \
	echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' > build/fuzz/probe.c; \
	$(FUZZ_CC) -fsanitize=fuzzer build/fuzz/probe.c -o build/fuzz/probe 2>/dev/null || \
	    { echo 'skipped: no libFuzzer'; exit $(if $(STRICT),1,0); }; \
	$(MAKE) --no-print-directory $(FUZZ) && test/fuzz/run.sh $(or $(TIME),60) $(FUZZ)

build/fuzz/%: test/fuzz/%.c Makefile
	@mkdir -p $(@D)
	@$(FUZZ_CC) -std=c11 -O1 -g -I. -Itest -pthread $(WARNINGS) $(SAN_asan) -fsanitize=fuzzer \
	    -MMD -MP -MF $@.d $< -o $@

# ---- checking users' files -----------------------------------------------------------------------

lint: ## SRC=file.c: compile it with every trap sprung, and look for locals kept across an await
	@$(if $(SRC),tools/lint.sh $(SRC),echo 'usage: make lint SRC=file.c'; exit 2)

lint-examples:
	@$(call have,examples); printf '%s\n' $(EXAMPLES) | \
	    xargs -n 4 -P $(shell nproc 2>/dev/null || echo 1) tools/lint.sh

# ---- the matrix ----------------------------------------------------------------------------------

# A row: compiler, standard, level, mode, sanitizer and further variables for `make unit`; or a
# name, a colon, and the targets and variables for `make`.
define MATRIX
gcc      c11    -O2  inline  none
gcc      gnu11  -O0  shared  asan
gcc      gnu11  -Os  shared  none
gcc      c17    -O2  shared  asan
clang    c17    -O3  shared  asan
clang    gnu11  -Os  shared  none
g++      c++20  -O2  inline  none
g++      c++20  -O0  shared  asan
clang++  c++20  -O0  shared  none
clang++  c++20  -O1  shared  asan
gcc      c11    -O2  inline  none      BITS=32
gcc      gnu11  -O1  shared  asan      BITS=32
gcc      c11    -O1  shared  tsan      FILTER=post
clang    c11    -O1  shared  tsan      FILTER=post
clang    c11    -O1  shared  msan
clang-19 c11    -O1  shared  function
gcc      c11    -O1  shared  valgrind
gcc      c11    -O1  shared  asan      FLAGS=-DCORO_DEBUG=1
clang    c11    -O2  inline  none      FLAGS=-DCORO_CHECK=1
gcc      c11    -O3  shared  none      FLAGS=-DCORO_LABELS_AS_VALUES=1
clang    c11    -O2  shared  asan      FLAGS=-DCORO_LABELS_AS_VALUES=1
gcc      c11    -O1  shared  asan      FLAGS=-DCORO_READY_RING=0
gcc      c11    -O1  shared  asan      FLAGS=-DCORO_WHEEL_BITS=0
gcc      c11    -O1  inline  asan      PART=io
gcc      gnu11  -O0  shared  asan      PART=io BACKEND=poll
gcc      c17    -O2  shared  none      PART=io BITS=32
clang    c11    -O2  shared  none      PART=io
gcc      c17    -O1  shared  asan      PART=io BACKEND=kqueue
clang    c11    -O2  shared  none      PART=io BACKEND=kqueue FLAGS=-DKQUEUE_NO_USER
clang    c11    -O1  shared  tsan      PART=io FILTER=thread
clang    c11    -O1  shared  tsan      PART=io FILTER=thread BACKEND=kqueue
g++      c++20  -O1  shared  none      PART=io BACKEND=poll
clang++  c++20  -O2  shared  none      PART=io
Cortex-M: chip-cortexm
AVR:      chip-avr
fail:     fail
lint:     lint-examples
examples: examples CC=gcc OPT=-O2
examples, clang, asan: examples CC=clang SAN=asan
apps:     apps SAN=asan
libraries: libraries SAN=asan
servers:  servers
servers, clang, asan: servers CC=clang SAN=asan
fuzz:     fuzz TIME=10
demo:     demo
size:     size
install:  check-install
endef
export MATRIX

matrix: ## the tests over compilers, standards, levels, modes, sanitizers and chips
	@PART=core MAKE='$(MAKE)' STRICT=$(STRICT) ROWS='$(ROWS)' tools/matrix.sh

chip-cortexm:
	@$(call have,test/chip/cortexm/run.sh); $(call need,arm-none-eabi-gcc); \
	$(call need,qemu-system-arm); O=build/cortexm test/chip/cortexm/run.sh

chip-avr:
	@$(call have,test/chip/avr/run.sh); $(call need,avr-gcc); $(call need,simavr); \
	O=build/avr test/chip/avr/run.sh

# ---- the rest ------------------------------------------------------------------------------------

VERSION = $(shell sed -n 's/^.*define CORO_VERSION  *"\([^"]*\)".*/\1/p' coro.h)

docs: ## the reference, out of the headers: build/docs/index.html, and manual pages
	@$(call need,python3); python3 tools/docs.py && echo build/docs/index.html

install: ## PREFIX=/usr/local: the headers, coro.pc for pkg-config, manual pages
	@test -n '$(VERSION)' || { echo 'coro.h has no line: #define CORO_VERSION "x.y.z"'; exit 1; }
	@mkdir -p '$(DESTDIR)$(PREFIX)/include' '$(DESTDIR)$(PREFIX)/share/pkgconfig' build
	@printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: coro' \
	    'Description: asyncio'\''s toolbox in C headers' 'Version: $(VERSION)' \
	    'Cflags: -I$${includedir}' 'Libs: -pthread' > build/coro.pc
	@install -m 644 $(HEADERS) '$(DESTDIR)$(PREFIX)/include'
	@install -m 644 build/coro.pc '$(DESTDIR)$(PREFIX)/share/pkgconfig'
	@command -v python3 >/dev/null || { echo 'no python3: no manual pages'; exit 0; }; \
	python3 tools/docs.py && for s in 3 7; do \
	    mkdir -p '$(DESTDIR)$(PREFIX)/share/man/man'$$s && \
	    install -m 644 build/docs/man/man$$s/* '$(DESTDIR)$(PREFIX)/share/man/man'$$s || exit; \
	done

check-install: ## test `make install`, and CMake and Meson, where they are
	@STRICT=$(STRICT) test/install.sh

clean: ## remove build/
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | \
	    awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'
	@echo; sed -n 's/^#: /  /p' Makefile

-include $(TEST_OBJ:.o=.d) $(B)/test/soak.d $(EXAMPLE_BIN:=.d) $(FUZZ:=.d)

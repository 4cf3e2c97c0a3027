/* coro.h -- tasks, cancellation, deadlines and structured concurrency for C, on two dozen bytes a
 * frame.
 *
 * One of three headers: coro.h is the core, coro_sync.h coordinates tasks, coro_io.h talks to the
 * world. Copy what you need next to your code. C11 or C++20; no library, no global, no hidden
 * allocation. MIT licence: see the end of this file.
 *
 *     #include "coro.h"
 *     #include <stdio.h>
 *
 *     struct tick {                         // whatever must live across an await is a member
 *         CORO_FRAME;
 *         const char *name;
 *         coro_time every;
 *         int i;
 *     };
 *     CORO(tick)                            // inside: co is this task, my is this frame
 *     {
 *         CORO_BEGIN();
 *         for (my->i = 0; my->i < 3; my->i++) {
 *             CORO_TRY(coro_sleep(co, my->every));
 *             printf("%s %d\n", my->name, my->i);
 *         }
 *         CORO_END(0);
 *     }
 *
 *     struct app { CORO_FRAME; coro_group g; };
 *     CORO(app)
 *     {
 *         CORO_BEGIN();
 *         coro_group_open(co, &my->g, CORO_ALL);
 *         coro_spawn(&my->g, tick, .name = "fast", .every = CORO_MS(10));
 *         coro_spawn(&my->g, tick, .name = "slow", .every = CORO_MS(30));
 *     CORO_FINALLY:                         // reached on success, error and cancellation alike
 *         CORO_CLOSE(&my->g);               // waits for both; a failure cancels the other
 *         CORO_END(0);
 *     }
 *     int main(void) { return coro_run(app) < 0; }
 *
 * Three things to know before you start:
 *
 *   - A local variable does not survive an await: keep it in the frame. The compiler tells you when
 *     you forget: gcc from -O1 on, so compile with -O1; clang, but not of arrays; `make lint` all.
 *   - An await cannot stand in a switch of yours: use if/else. You get a trap that names the line,
 *     and with -DCORO_CHECK=1 an error when compiling. CORO_LABELS_AS_VALUES lifts this.
 *   - CAPITALS may leave your function, or declare something; lower case is an ordinary call.
 *
 * CONTENTS (search for the tag)
 *
 *     >>guide      how it hangs together, in a page
 *     >>names      every public name: may it wait, be cancelled, fail; where may it be called
 *     >>options    what can be set when compiling
 *     >>types      what you embed
 *     >>coroutine  CORO, CORO_BEGIN, CORO_TRY, CORO_FINALLY, CORO_END, calls, generators
 *     >>task       spawning, starting, joining, sleeping, time
 *     >>scope      cancellation, deadlines, shields
 *     >>group      task groups
 *     >>context    values that travel with tasks
 *     >>loop       running, drivers, posts from outside, looking inside
 *     >>operation  writing awaitable operations of your own
 *     >>impl       the implementation; nothing below is needed to use this
 *
 * >>guide
 *
 * A coroutine is a C function whose variables live in a struct that you embed somewhere: its frame.
 * An await either finishes at once, and the function goes on, or notes its line in the frame and
 * returns; when the result is there, the loop calls the function of the innermost frame again and a
 * switch jumps to the line. Nothing is polled, nothing is copied, and a chain of a hundred calls is
 * resumed as fast as one.
 *
 * A task is a frame that the loop can run by itself. Every task lives in a group, every group in
 * the frame that opened it, and a group is closed only when all its tasks have ended: nothing
 * outlives its block. Cancellation is a state of a scope, not an event: from then on every await
 * inside, however deep, is -ECANCELED, so that ordinary error handling unwinds everything.
 *
 * There is one exit: the first error that a frame meets goes to CORO_FINALLY, where there is one,
 * then out. Undo everything there; closing what was never opened does nothing.
 *
 *        coro_loop                 one per thread, yours
 *          `- group root
 *               `- task app ------ frames: app -> fetch -> read      (coro_call: plain C calls)
 *                    `- scope      coro_timeout_open
 *                         `- group coro_group_open
 *                              |- task worker
 *                              `- task worker
 *
 * Results are >= 0, or a negative errno. What iterates returns 1 for an item, 0 at the end.
 *
 * >>names
 *
 *   may wait: suspends the task.  cancel: fails with -ECANCELED in a cancelled scope.
 *   where: c = in a coroutine's body, t = anywhere on the loop's thread, i = interrupts, threads.
 *
 *   name                       may wait  cancel  can fail  where
 *   CORO_FRAME CORO CORO_DECLARE CORO_DEFINE CORO_TASK CORO_GEN      declare
 *   CORO_BEGIN CORO_FINALLY CORO_ERR CORO_LEAVE CORO_FAIL CORO_END   -  -  -  c
 *   CORO_TRY CORO_AWAIT CORO_IGNORE as the operand                            c
 *   CORO_YIELD                 yes       -       yes       c (a generator's own body)
 *   CORO_CLOSE                 yes       no      yes       c
 *   coro_call  coro_call_new  coro_call_within   as the callee                c
 *   coro_sleep coro_sleep_until yes      yes     no        c
 *   coro_within                yes       yes     yes       c
 *   coro_join                  yes       yes     yes       c
 *   coro_spawn coro_start      no        no      yes       t
 *   coro_task_cancel coro_task_result coro_task_status coro_task_name coro_task_id   no no no t
 *   coro_scope_open coro_timeout_open coro_shield_open coro_scope_close              no no yes c
 *   coro_scope_cancel coro_scope_deadline coro_scope_shield                          no no yes t
 *   coro_scope_cancelled coro_scope_caught coro_scope_expired                        no no no  t
 *   coro_cancelled coro_deadline coro_now coro_loop_of       no        no      no        t
 *   coro_group_open            no        no      no        c
 *   coro_group_close           yes       no      yes       c
 *   coro_group_wait_room coro_group_next  yes    yes  yes  c
 *   coro_group_cancel coro_group_limit    no     no   no   t
 *   coro_gen_open              no        no      no        c
 *   coro_gen_next coro_gen_close as the generator          c
 *   coro_context_set coro_context_get     no     no   no   c, t
 *   coro_run coro_run_with coro_run_around        blocks  -  yes  outside a loop
 *   coro_loop_init coro_loop_run coro_loop_fini   -  -  yes  outside a loop
 *   coro_loop_step coro_loop_deadline coro_loop_stop coro_loop_hold coro_loop_release
 *   coro_loop_drive coro_loop_driver coro_loop_alloc coro_loop_free coro_loop_now    no - - t
 *   coro_loop_rung coro_post coro_irq_raise       no  no  no  i
 *   coro_irq_wait              yes       yes     yes       c
 *   coro_irq_forget            no        no      no        t
 *   coro_dump coro_stats coro_verify      no     no   no   t
 *   coro_suspend coro_done coro_charge coro_refuse coro_complete coro_word  no - - t
 *   coro_alarm coro_move coro_waits_since         no     no   no   t
 *   coro_note_add coro_note_drop coro_report      no     no   no   t
 *   coro_spawn_copy            no        no      yes       t
 *   coro_info_of coro_frame_of  CORO_LIBRARY_DECLARE CORO_LIBRARY    declare
 *   coro_waitq_next coro_waitq_before coro_waitq_last                no   no   no   t
 *   coro_is_local coro_may_be_local coro_local coro_loop_recent      no   no   no   t
 *   CORO_S CORO_MS CORO_US coro_time_before coro_time_after coro_time_since   -  -  -  t
 *   CORO_ASSERT CORO_MEMCPY CORO_TRAP             yours to replace
 *
 *   you embed    coro_group coro_scope coro_context coro_frame coro_task coro_gen coro_loop
 *                coro_post_node coro_irq coro_note coro_waitq
 *   you fill in  coro_options coro_allocator coro_driver coro_sink coro_ops coro_around
 *   you get      coro_op coro_ret coro_time coro_count coro_total coro_irq_count coro_failure
 *                coro_loop_stats; a part of others: coro_info coro_core coro_link coro_timer
 *   coro_mode    CORO_ALL CORO_COLLECT CORO_RACE
 *   coro_status  CORO_UNSTARTED CORO_RUNNING CORO_OK CORO_FAILED CORO_CANCELLED
 *   coro_clock   CORO_REAL CORO_VIRTUAL;  coro_time: CORO_FOREVER
 *   coro_trace   CORO_EVENT_SPAWN CORO_EVENT_RESUME CORO_EVENT_SUSPEND CORO_EVENT_CANCEL
 *                CORO_EVENT_END
 *   coro_abort   CORO_ABORT_DONE CORO_ABORT_LATER CORO_ABORT_NEVER
 *   version      CORO_VERSION CORO_VERSION_MAJOR CORO_VERSION_MINOR CORO_VERSION_PATCH
 *   options      CORO_SHARED CORO_IMPLEMENTATION CORO_API CORO_HOSTED CORO_DEBUG CORO_CHECK
 *                CORO_LABELS_AS_VALUES CORO_NO_LOCAL_CHECK CORO_NAMES CORO_TEXTS CORO_STACK_CHECK
 *                CORO_TIME_BITS CORO_TICKS_PER_S CORO_WHEEL_BITS CORO_WHEEL_SHIFT CORO_READY_RING
 *                CORO_GROUP_ERRORS CORO_CLASSES CORO_GRAIN CORO_BUDGET CORO_STEPS CORO_LINE_TIMES
 */
#if !defined CORO_H
#define CORO_H

#if !defined __GNUC__
#error "coro.h: gcc or clang is needed: statement expressions, __COUNTER__, __atomic_load_n"
#endif /* !defined __GNUC__ */

/* Strict ISO modes (-std=c11) hide clock_gettime and pselect, which the hosted loop needs. */
#if defined __STRICT_ANSI__ && !defined _DEFAULT_SOURCE && !defined _GNU_SOURCE && \
    !defined _POSIX_C_SOURCE && !defined _XOPEN_SOURCE
#define _DEFAULT_SOURCE 1
#endif /* defined __STRICT_ANSI__ && !defined _DEFAULT_SOURCE && ... */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version: three numbers, for #if, and a text. Before 1.0 a minor one may break programs. */
#define CORO_VERSION_MAJOR 0
#define CORO_VERSION_MINOR 1
#define CORO_VERSION_PATCH 0
#define CORO_VERSION "0.1.0"

/* ================================================================================================
 * >>options -- set them for all files of a program alike (-DCORO_DEBUG=1), or before the #include.
 *
 * CORO_SHARED, CORO_IMPLEMENTATION: by default every function is static inline. In a program of
 * many files define CORO_SHARED in all of them, and CORO_IMPLEMENTATION in exactly one: one copy of
 * the code. All other options have a value.
 */

/* 1: an operating system with POSIX clocks and pselect; 0: bare metal, you give a driver. */
#ifndef CORO_HOSTED
#if (defined __unix__ || defined __APPLE__) && __STDC_HOSTED__
#define CORO_HOSTED 1
#else
#define CORO_HOSTED 0
#endif /* (defined __unix__ || defined __APPLE__) && __STDC_HOSTED__ */
#endif /* !CORO_HOSTED */
#if CORO_HOSTED
#define CORO__DEFAULT(hosted, bare) hosted
#else
#define CORO__DEFAULT(hosted, bare) bare
#endif /* CORO_HOSTED */

/* 1: costly checks: use after the end, leaked tasks and generators, places in messages. */
#ifndef CORO_DEBUG
#define CORO_DEBUG 0
#endif /* !CORO_DEBUG */

/* 1: every await resumes through its label, so that the compiler sees each local that is kept
 * across one; case labels lie beyond int, so that an await in a switch of yours does not compile.
 * For `make lint`; the program behaves the same, a little slower. */
#ifndef CORO_CHECK
#define CORO_CHECK 0
#endif /* !CORO_CHECK */

/* 1: awaits may stand in a switch of yours (computed goto: gcc; clang in C, not in C++, where it
 * loses labels). A coroutine's code must not be larger than 32 KiB. */
#ifndef CORO_LABELS_AS_VALUES
#define CORO_LABELS_AS_VALUES 0
#endif /* !CORO_LABELS_AS_VALUES */
#if CORO_LABELS_AS_VALUES && defined __clang__ && defined __cplusplus
#error "coro.h: CORO_LABELS_AS_VALUES works with gcc, and with clang in C"
#endif /* CORO_LABELS_AS_VALUES && defined __clang__ && ... */

/* 1: do not make locals that are kept across an await compile errors. */
#ifndef CORO_NO_LOCAL_CHECK
#define CORO_NO_LOCAL_CHECK 0
#endif /* !CORO_NO_LOCAL_CHECK */

/* CORO_NAMES 1: names and files of coroutines are kept for messages and dumps. CORO_TEXTS 0: no
 * messages, coro_dump prints nothing, traps are silent. On AVR each would fill half the RAM. */
#if defined __AVR__
#define CORO__ROOM_FOR_TEXT CORO_DEBUG
#else
#define CORO__ROOM_FOR_TEXT 1
#endif /* defined __AVR__ */
#ifndef CORO_NAMES
#define CORO_NAMES CORO__ROOM_FOR_TEXT
#endif /* !CORO_NAMES */
#ifndef CORO_TEXTS
#define CORO_TEXTS CORO__ROOM_FOR_TEXT
#endif /* !CORO_TEXTS */

/* 1: an operation that keeps a pointer to a local variable traps at once. */
#ifndef CORO_STACK_CHECK
#define CORO_STACK_CHECK CORO__DEFAULT(1, CORO_CHECK)
#endif /* !CORO_STACK_CHECK */

/* Width of coro_time: 64 (nanoseconds) or 32 (ticks of 1 / CORO_TICKS_PER_S seconds; they may wrap,
 * and durations are at most 2^30 ticks: 12 days of milliseconds). */
#ifndef CORO_TIME_BITS
#define CORO_TIME_BITS 64
#endif /* !CORO_TIME_BITS */
#ifndef CORO_TICKS_PER_S
#if CORO_TIME_BITS == 64
#define CORO_TICKS_PER_S 1000000000
#else
#define CORO_TICKS_PER_S 1000
#endif /* CORO_TIME_BITS == 64 */
#endif /* !CORO_TICKS_PER_S */

/* Timers: 2^CORO_WHEEL_BITS slots a level, the finest of 2^CORO_WHEEL_SHIFT ticks. 0 bits: one
 * sorted list, which takes 16 bytes instead of 8 KiB, and a walk per sleep. */
#ifndef CORO_WHEEL_BITS
#define CORO_WHEEL_BITS CORO__DEFAULT(6, 0)
#endif /* !CORO_WHEEL_BITS */
#ifndef CORO_WHEEL_SHIFT
#define CORO_WHEEL_SHIFT 16
#endif /* !CORO_WHEEL_SHIFT */

/* 1: the run queue is a ring of pointers, grown when tasks are spawned; 0: a list of the tasks. */
#ifndef CORO_READY_RING
#define CORO_READY_RING CORO__DEFAULT(1, 0)
#endif /* !CORO_READY_RING */

/* How many (task, error) pairs a group keeps. Failures beyond are counted. */
#ifndef CORO_GROUP_ERRORS
#define CORO_GROUP_ERRORS CORO__DEFAULT(4, 0)
#endif /* !CORO_GROUP_ERRORS */

/* Spawned tasks come from free lists, one for each multiple of CORO_GRAIN up to CORO_CLASSES. */
#ifndef CORO_CLASSES
#define CORO_CLASSES CORO__DEFAULT(64, 0)
#endif /* !CORO_CLASSES */
#define CORO_GRAIN (2 * sizeof(void *))

/* Awaits that were done at once before a task gives way, a system call's being eight of them and
 * more; steps before the outside is looked at. */
#ifndef CORO_BUDGET
#define CORO_BUDGET 128 /* at most */
#endif /* !CORO_BUDGET */
#ifndef CORO_STEPS
#define CORO_STEPS 256
#endif /* !CORO_STEPS */

/* Yours to replace, too: CORO_TRAP(file, line, name, text), which says why the program ends;
 * CORO_ASSERT(x); CORO_MEMCPY(to, from, n). */
#ifndef CORO_ASSERT
#if CORO_DEBUG && CORO_HOSTED
#include <assert.h>
#define CORO_ASSERT(x) assert(x)
#else
#define CORO_ASSERT(x) ((void)0)
#endif /* CORO_DEBUG && CORO_HOSTED */
#endif /* !CORO_ASSERT */
#ifndef CORO_MEMCPY
#define CORO_MEMCPY(to, from, n) __builtin_memcpy((to), (from), (n))
#endif /* !CORO_MEMCPY */

/* 1: the lines of coro_sync.h keep the longest wait. */
#ifndef CORO_LINE_TIMES
#define CORO_LINE_TIMES CORO__DEFAULT(1, 0)
#endif /* !CORO_LINE_TIMES */

/* Errors are negative errno values. Where there is no errno.h, or one that gives most of them the
 * same number as avr-libc's does, they have Linux's numbers. */
#if __has_include(<errno.h>)
#include <errno.h>
#endif /* __has_include(<errno.h>) */
#if defined __AVR__ || !defined ETIMEDOUT || !defined ECANCELED
#undef EPERM
#undef ECHILD
#undef EAGAIN
#undef ENOMEM
#undef EBUSY
#undef EINVAL
#undef EPIPE
#undef EDEADLK
#undef ENOSYS
#undef ESHUTDOWN
#undef ETIMEDOUT
#undef EALREADY
#undef EINPROGRESS
#undef ECANCELED
#define EPERM 1
#define ECHILD 10
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EINVAL 22
#define EPIPE 32
#define EDEADLK 35
#define ENOSYS 38
#define ESHUTDOWN 108
#define ETIMEDOUT 110
#define EALREADY 114
#define EINPROGRESS 115
#define ECANCELED 125
#endif /* defined __AVR__ || !defined ETIMEDOUT || ... */
#if !defined ESHUTDOWN /* POSIX does not have it */
#define ESHUTDOWN 108
#endif /* !defined ESHUTDOWN */

#define CORO__MUST_USE __attribute__((warn_unused_result))
#define CORO__UNUSED __attribute__((unused))
#define CORO__NOINLINE __attribute__((noinline))
#define CORO__COLD __attribute__((cold, noinline))
#define CORO__FAST CORO__DEFAULT(__attribute__((always_inline)), )
#define CORO__SLOW __attribute__((noinline))
#define CORO__NORETURN __attribute__((noreturn))
#define CORO__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CORO__PREFETCH(p) (CORO_HOSTED ? __builtin_prefetch(p) : (void)0)
#define CORO__T(text) (CORO_TEXTS ? text : "")
/* The object whose member p points to. */
#define CORO__AROUND(type, member, p) ((type *)(void *)((char *)(p) - offsetof(type, member)))
#define CORO__CAT_(a, b) a##b
#define CORO__CAT(a, b) CORO__CAT_(a, b)
#define CORO__PRAGMA(text) _Pragma(#text)
#define CORO__DIAGNOSTIC(what) CORO__PRAGMA(GCC diagnostic what)

/* What the two languages write differently. */
#if defined __cplusplus
#define CORO__STATIC_ASSERT(x, text) static_assert(x, text)
#define CORO__EXTERN extern "C"
#define CORO__ZERO {}
#define CORO__FRAME_TYPE(fn) CORO__CAT(fn, _coro_frame)
#else
#define CORO__STATIC_ASSERT(x, text) _Static_assert(x, text)
#define CORO__EXTERN extern
#define CORO__ZERO {0}
#define CORO__FRAME_TYPE(fn) (struct fn)
#endif /* defined __cplusplus */

/* Hooks have parameters that some of them do not need. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* CORO_API: one copy a file, or one copy a program. In shared mode every coroutine refers to one
 * function whose name says what to do when the linker finds none, or two, or files that were
 * compiled with other options. */
#if defined CORO_SHARED
#define CORO_API CORO__EXTERN
#define CORO__COLD_API CORO_API CORO__COLD
#define CORO__SLOW_API CORO_API CORO__SLOW
#define CORO__TAG(...) CORO__TAG_(__VA_ARGS__)
#define CORO__TAG_(a, b, c, d, e, f, g, h, i, j, k, l, m)                                         \
    CORO_IMPLEMENTATION_belongs_in_one_file_and_the_same_options_in_all_DEBUG##a##_CHECK##b       \
        ##_NAMES##c##_TIME_BITS##d##_WHEEL_BITS##e##_RING##f##_GROUP_ERRORS##g##_CLASSES##h       \
        ##_HOSTED##i##_STACK_CHECK##j##_WHEEL_SHIFT##k##_TICKS_PER_S##l##_LINE_TIMES##m
#define coro__end_slow                                                                            \
    CORO__TAG(CORO_DEBUG, CORO_CHECK, CORO_NAMES, CORO_TIME_BITS, CORO_WHEEL_BITS,                \
              CORO_READY_RING, CORO_GROUP_ERRORS, CORO_CLASSES, CORO_HOSTED, CORO_STACK_CHECK,    \
              CORO_WHEEL_SHIFT, CORO_TICKS_PER_S, CORO_LINE_TIMES)
#else
#define CORO_API static inline
#define CORO__COLD_API static CORO__COLD CORO__UNUSED
#define CORO__SLOW_API static CORO__SLOW CORO__UNUSED
#endif /* defined CORO_SHARED */

/* ================================================================================================
 * >>types -- what you embed. A zeroed object is valid: closed, empty, not started.
 */

/* CORO_S CORO_MS CORO_US -- durations: CORO_TRY(coro_sleep(co, CORO_MS(1) + CORO_US(500)));
 *
 * 0.5 s is CORO_MS(500), or CORO_S(0.5) with 64 bits.
 *
 * coro_time is a point in time or a duration; CORO_FOREVER is the largest; sums saturate; negative
 * durations mean at once. 32-bit ticks round up, so that no sleep is too short. */
#if CORO_TIME_BITS == 64
typedef int64_t coro_time;
typedef uint64_t coro__utime;
#define CORO_FOREVER INT64_MAX
#define CORO_S(n) ((coro_time)((n) * (coro_time)CORO_TICKS_PER_S))
#define CORO_MS(n) ((coro_time)((n) * (coro_time)(CORO_TICKS_PER_S / 1000)))
#define CORO_US(n) ((coro_time)((n) * (coro_time)(CORO_TICKS_PER_S / 1000000)))
#else
typedef int32_t coro_time;
typedef uint32_t coro__utime;
#define CORO_FOREVER INT32_MAX
#define CORO_S(n) ((coro_time)((n) * (int32_t)CORO_TICKS_PER_S))
#define CORO_MS(n) ((coro_time)(((int64_t)(n) * CORO_TICKS_PER_S + 999) / 1000))
#define CORO_US(n) ((coro_time)(((int64_t)(n) * CORO_TICKS_PER_S + 999999) / 1000000))
#endif /* CORO_TIME_BITS == 64 */

/* Numbers: of a loop's whole life; of tasks, failures, turns; what one instruction reads. */
typedef CORO__DEFAULT(uint64_t, uint32_t) coro_total;
#if defined __AVR__
typedef uint16_t coro_count;
typedef uint8_t coro_irq_count;
#else
typedef uint32_t coro_count;
typedef uint32_t coro_irq_count;
#endif /* defined __AVR__ */

typedef struct coro_core coro_core;
typedef struct coro_frame coro_frame;
typedef struct coro_group coro_group;
typedef struct coro_info coro_info;
typedef struct coro_irq coro_irq;
typedef struct coro_link coro_link;
typedef struct coro_loop coro_loop;
typedef struct coro_note coro_note;
typedef struct coro_ops coro_ops;
typedef struct coro_post_node coro_post_node;
typedef struct coro_scope coro_scope;
typedef struct coro_task coro_task;
typedef struct coro_timer coro_timer;
typedef struct coro_waitq coro_waitq;

/* What an operation that may wait returns. Await it: CORO_TRY, CORO_AWAIT, CORO_IGNORE. */
typedef struct coro_op_is_no_value_until_CORO_TRY_awaits_it {
    intptr_t value; /* the result, or one of CORO__PENDING... */
} coro_op;

/* What a coroutine's call is: await it likewise. */
typedef struct coro_call_is_no_value_until_CORO_TRY_awaits_it {
    intptr_t value; /* likewise */
} coro_ret;

/* What a coroutine's function returns: leave it with CORO_LEAVE(). A type of its own, so that
 * fetch(co, &my->fetch), whose frame nobody set up, is refused. */
typedef struct coro_ret_leave_with_CORO_LEAVE_or_call_with_coro_call {
    intptr_t value; /* likewise */
} coro__ran;

/* A coroutine, as the loop sees it. One constant for each, made by CORO(name). */
struct coro_info {
    intptr_t (*run)(coro_task *co, coro_frame *frame); /* go on where it was put down */
#if CORO_NAMES
    const char *name; /* as in CORO(name) */
    const char *file; /* where it is defined */
#endif /* CORO_NAMES */
    size_t size;   /* of its task and frame together */
    size_t offset; /* of the frame in them */
};

/* The head of every frame. */
struct coro_frame {
    const coro_info *info; /* whose frame this is */
    coro_frame *caller;    /* resumed when this one is done; null: the task ends */
    uint32_t place;        /* line in info->file << 16 | label to go on at, 0: not begun */
    int err;               /* the first error, while it is on its way out */
};

/* CORO_FRAME; -- the first member of a coroutine's struct. */
#define CORO_FRAME coro_frame CORO_FRAME_first
#define CORO__ME (&my->CORO_FRAME_first)

/* A place in a list, which is a ring. */
struct coro_link {
    coro_link *next, *prev;
};

/* A timer: in a slot of the wheel, or in the list of those that are nearly due. */
struct coro_timer {
    coro_link link; /* must be first */
    coro_time when; /* fires at this time or later */
};

/* What tasks, scopes, groups and generators have in common: a node of the tree along which
 * cancellation travels. */
struct coro_core {
    coro_timer timer; /* a scope's deadline; a task's sleep, or the limit of coro_within */
    coro_core *outer; /* where cancellation comes from: the next scope out; a task's: its group */
    coro_core *inner; /* a scope's: the next in; a task's: the last one, or itself */
    uint8_t kind;     /* CORO__TASK, CORO__SCOPE ... */
    uint8_t spent;    /* a task's: 128, less the awaits that may be done at once; CORO__GAVE_TURN */
    uint16_t flags;   /* CORO__REQUESTED ... */
    coro_count index; /* a task's: start order in its group; a scope's: the line that opened it */
};

/* A task: something that the loop runs. 120 bytes; what is used on every step comes last, next to
 * the frame. */
struct coro_task {
    union {
        coro_task *joiner;                    /* a note, or the first of the ring of joiners */
        char CORO_TASK_or_coro_task_expected; /* so that functions take both */
    };
    coro_link wait;            /* in a wait queue; or in the run queue (next) */
    coro_loop *loop;           /* whose task this is */
    coro_link sibling;         /* in its group's children; done: next completed */
    const coro_waitq *waiting; /* what it waits in; null: it is ready, or runs, or has ended */
    coro_core core;            /* .outer is the group */
    coro_frame *leaf;          /* the innermost frame: the one to resume */
    intptr_t result;           /* of the await; while it waits: the operation's own word */
};

/* A cancel scope: deadline, shield, cancellation. */
struct coro_scope {
    coro_core core;    /* must be first */
    coro_frame *frame; /* that opened it: closed when that frame leaves */
    coro_task *task;   /* whose chain it is in */
};

/* Those who wait for something, oldest first. Operations of your own: see >>operation. */
struct coro_waitq {
    coro_task *head;     /* a ring through task.wait; null: nobody */
    const coro_ops *ops; /* of those who wait here */
};

/* Left with a task, to be told of its end. */
struct coro_note {
    coro_task *next;                                  /* as task.joiner */
    void (*ended)(coro_note *note, coro_task *task); /* may complete other tasks */
};

/* How a group treats its children. */
typedef enum coro_mode {
    CORO_ALL,     /* the first failure cancels the rest, and is the result */
    CORO_COLLECT, /* all run to their end; failures are counted and kept; the body has the result */
    CORO_RACE     /* the first success cancels the rest, and is the result */
} coro_mode;

/* A failure that a group kept. */
typedef struct coro_failure {
    const coro_info *info; /* of the task; null: the group's own body */
    coro_count index;      /* of the task, in start order */
    int error;             /* what it ended with */
} coro_failure;

/* A task group. */
struct coro_group {
    coro_scope scope;   /* must be first: a group is a scope, with deadline and all */
    coro_link children; /* alive, in start order */
    coro_count limit;   /* of children alive, for coro_group_wait_room; 0: none */
    int winner;         /* CORO_RACE: the index of the child that won; -1: none */
    coro_loop *loop;    /* where the children run */
    intptr_t won;       /* CORO_RACE: the winner's result */
    coro_group *granting; /* the next group with room granted; the last one: null */
    /* from here on cleared by an open: */
    coro_task *done, *done_out; /* ended, not told by coro_group_next: see coro__done_push */
    coro_waitq room;            /* waiting in coro_group_wait_room */
    coro_waitq next;            /* waiting in coro_group_next */
    coro_count alive, started;  /* children */
    coro_count granted;         /* room given to waiters who have not had their step yet */
    coro_count granted_until;   /* where in the run queue the last of them is */
    coro_count failed;          /* children, and the body, that ended with their own error */
    coro_count cancelled;       /* children with -ECANCELED because they were cancelled */
    int first;                  /* the first error in time; 0: none */
    bool closing;               /* the opener waits for the children */
    uint8_t happened;           /* CORO__CUT, CORO__BODY_FAILED */
    bool attention;             /* starts and ends may interest somebody: a race, waiters, a hook */
    uint8_t mode;               /* coro_mode */
#if CORO_GROUP_ERRORS
    coro_failure errors[CORO_GROUP_ERRORS]; /* the first few failures, in time; see failed */
#endif /* CORO_GROUP_ERRORS */
};

/* A generator: CORO_GEN(fn) is this and the frame. */
typedef struct coro_gen {
    coro_scope scope; /* spliced into the consumer's chain while the generator runs */
    uint8_t state;    /* CORO__GEN_... */
} coro_gen;

/* A value that is found by its key from here down the tree of tasks. */
typedef struct coro_context {
    coro_scope scope; /* its place in the chain */
    const void *key;  /* compared by address */
    void *value;      /* the user's */
} coro_context;

/* What a task's life has come to. */
typedef enum coro_status {
    CORO_UNSTARTED, /* never, or the start failed: coro_task_result says why */
    CORO_RUNNING,   /* not ended */
    CORO_OK,        /* ended with a result >= 0 */
    CORO_FAILED,    /* ended with an error */
    CORO_CANCELLED  /* ended with -ECANCELED, and was cancelled */
} coro_status;

/* Posted to a loop from outside. Embed it; see coro_post. */
struct coro_post_node {
    coro_post_node *volatile next;                      /* null: not posted */
    void (*run)(coro_loop *loop, coro_post_node *node); /* called on the loop's thread */
};

/* An interrupt's bell. */
struct coro_irq {
    volatile coro_irq_count raised; /* by the interrupt only */
    volatile coro_irq_count seen;   /* by the loop only */
    coro_task *waiter;              /* in coro_irq_wait */
    coro_irq *next;                 /* bells that somebody waits for */
    coro_loop *volatile loop;       /* to be woken */
};

/* Where a loop gets its memory. */
typedef struct coro_allocator {
    void *(*alloc)(void *arg, size_t size); /* null when there is none */
    void (*free)(void *arg, void *memory, size_t size);
    void *arg;
} coro_allocator;

/* The seam to the world: a clock, and a way to sleep until something happens. */
typedef struct coro_driver {
    coro_time (*now)(void *arg);                               /* monotonic */
    void (*park)(void *arg, coro_loop *loop, coro_time until); /* until <= now: look, don't sleep */
    void (*wake)(void *arg);                                   /* ends a park; from anywhere */
    void (*fini)(void *arg);                                   /* the loop is done with it */
    void *arg;
} coro_driver;

/* Where text goes. */
typedef struct coro_sink {
    void (*put)(void *arg, const char *text);
    void *arg;
} coro_sink;

/* Which clock a loop has. */
typedef enum coro_clock { CORO_REAL, CORO_VIRTUAL } coro_clock;

/* What options.on_event is told. */
typedef enum coro_trace {
    CORO_EVENT_SPAWN,   /* a task was started */
    CORO_EVENT_RESUME,  /* it is about to run a step */
    CORO_EVENT_SUSPEND, /* the step is over, the task is not */
    CORO_EVENT_CANCEL,  /* its next await will fail, or its present one has */
    CORO_EVENT_END      /* it has ended */
} coro_trace;

/* How a loop should be. Zero means default, everywhere. */
typedef struct coro_options {
    coro_allocator allocator;  /* hosted default: malloc and free; else none */
    void *arena;               /* instead: all memory comes from here, */
    size_t arena_size;         /* of this size */
    coro_task **ready;         /* room for the run queue where there is no memory, */
    uint32_t ready_size;       /* a power of two */
    coro_driver driver;        /* default: POSIX clock and pselect; bare metal: you must give one */
    coro_clock clock;          /* CORO_VIRTUAL: time jumps to the next deadline when all wait */
    uint32_t seed;             /* not 0: ready tasks run in a random order, for a seed the same */
    uint8_t budget;            /* at most 128; default CORO_BUDGET */
    coro_time slow_step;       /* report steps that take longer; default off, CORO_DEBUG 100 ms */
    coro_time spin;            /* look for so long before sleeping */
    void (*on_error)(void *arg, coro_task *task, int error); /* an error that nobody will see */
    void (*on_event)(void *arg, coro_trace event, coro_task *task);
    void *arg;        /* of on_error and on_event */
    coro_sink report; /* warnings and dumps; default: stderr */
} coro_options;

/* What coro_stats tells. */
typedef struct coro_loop_stats {
    coro_count tasks;   /* alive */
    coro_count ready;   /* of these, can run */
    coro_count timers;  /* armed */
    coro_count held;    /* outside wakers, see coro_loop_hold */
    coro_total steps;   /* made so far */
    coro_total spawned; /* tasks started so far */
    coro_total parked;  /* times that the loop went to sleep */
    size_t memory;      /* taken from the allocator or arena */
} coro_loop_stats;

/* A loop: one per thread. Everything in it is the loop's own; .root may be spawned into. */
struct coro_loop {
    coro_group root;      /* the tasks that nobody opened a group for */
    coro_task *main;      /* of coro_run: when it ends, so does the rest */
    coro_count head, tail; /* of the run queue: tasks taken from it and put into it so far */
    coro_count end;        /* the round's: no step when the head is there */
#if CORO_READY_RING
    coro_task **ready;    /* the run queue: a ring */
    uint32_t mask;        /* its size - 1 */
    coro_task *small[16]; /* the first ring */
#else
    coro_task *first, *last; /* the run queue: linked by task.wait.next */
#endif /* CORO_READY_RING */
    coro_count alive;      /* tasks; the ring has room for all of them */
    uint8_t unspent;       /* 128 - options.budget: what task.core.spent begins with */
    bool look;             /* a budget was spent: look at the outside before the next step */
    bool fetch;            /* the ring is large: what will run is to be prefetched */
    bool watched;          /* slow_step or on_event is set */
    bool special;          /* watched, or in random order */
    bool running;          /* in coro_loop_run or _step */
    bool stopped;          /* coro_loop_stop */
    bool telling;          /* in options.on_error */
    coro_count stop_after; /* this many steps */
    bool deadlocked;       /* reported, cancelled from the root */
    bool virtual_clock;    /* options.clock */
    bool own_driver;       /* options gave none: ours is in use */
    coro_count unlooked;   /* steps since the outside was looked at */
    coro_count window;     /* steps between two looks at the clock */
    coro_count quick;      /* looks in a row that found little time gone */
    uint32_t random;       /* state of the shuffle; 0: off */
    uint32_t batch;        /* left of those that were ready at once, and are shuffled */
    coro_count held;       /* outside wakers */
    coro_group *granting;  /* groups with room granted to waiters */
    coro_count generators; /* begun and not ended */
    coro_time now;         /* when the clock was last read */
    coro_total steps, spawned, parked; /* see coro_loop_stats */

    coro_count timers; /* armed */
    coro_link due;     /* nearly due: in exact order */
#if CORO_WHEEL_BITS
#define CORO__SLOTS (1 << CORO_WHEEL_BITS)
#define CORO__LEVELS ((CORO_TIME_BITS - CORO_WHEEL_SHIFT + CORO_WHEEL_BITS - 1) / CORO_WHEEL_BITS)
    coro_link fresh;                            /* due soon, not yet sorted into due */
    coro__utime tick;                           /* all slots up to this one are in due */
    uint64_t used[CORO__LEVELS];                /* slots that may hold timers */
    coro_link slots[CORO__LEVELS][CORO__SLOTS]; /* later ones: in start order */
#endif /* CORO_WHEEL_BITS */

    void *free[CORO_CLASSES + 1]; /* free memory, by size; the last: what is larger */
    char *slab, *slab_end;        /* memory not yet handed out */
    void *slabs;                  /* all of them, to be given back */
    size_t slab_size;             /* of the next one */
    size_t memory;                /* taken from the allocator */
    bool arena;                   /* the slab is options.arena */

    coro_post_node *volatile posted; /* newest first */
    coro_irq *irqs;                  /* bells with a waiter */
    volatile int asleep;             /* about to park, or parked: wake it */
#if CORO_HOSTED
    int pipe[2]; /* ends a sleep from outside; 0, 0: not made yet */
#endif /* CORO_HOSTED */
    uintptr_t stack;      /* of coro_loop_run: coroutines' locals are just below; 0: none */
    coro_options options; /* with defaults in place */
};

/* ================================================================================================
 * >>coroutine
 */

/* CORO -- define a coroutine of this file, after its struct name { CORO_FRAME; ... };
 *
 *   CORO(nap) { CORO_BEGIN(); CORO_TRY(coro_sleep(co, CORO_MS(5))); CORO_END(0); }
 *
 * Inside, co is the task that runs it and my is its frame. A coroutine that other files use has
 * CORO_DECLARE(name) in a header, after the struct, and CORO_DEFINE(name) { ... } in one file.
 */
#define CORO(name)                                                                                \
    CORO__TYPES(name)                                                                             \
    CORO__STRICT CORO__COMPILE CORO__MUST_USE                                                     \
    static coro__ran name(coro_task *co, struct name *my);                                         \
    CORO__RUN_FUNCTION(name)                                                                      \
    CORO__UNUSED static const coro_info CORO__CAT(name, _coro) = CORO__INFO(name);                \
    static coro__ran name(coro_task *co, struct name *my)

/* CORO_DECLARE -- say that CORO_DEFINE(name) is in some file. After struct name.
 *
 *   CORO_DECLARE(rest);                                                  // in rest.h
 *   CORO_DEFINE(rest) { CORO_BEGIN(); CORO_END(0); }                     // in rest.c
 */
#define CORO_DECLARE(name)                                                                        \
    CORO__TYPES(name)                                                                             \
    CORO__STRICT CORO__COMPILE CORO__MUST_USE                                                     \
    extern coro__ran name(coro_task *co, struct name *my);                                         \
    CORO__STRICT_END extern const coro_info CORO__CAT(name, _coro)

/* CORO_DEFINE -- the coroutine of CORO_DECLARE(name). */
#define CORO_DEFINE(name)                                                                         \
    CORO__RUN_FUNCTION(name)                                                                      \
    const coro_info CORO__CAT(name, _coro) = CORO__INFO(name);                                    \
    CORO__STRICT coro__ran name(coro_task *co, struct name *my)

/* CORO_TASK -- storage for a task that runs a coroutine, for coro_start: CORO_TASK(worker) w; */
#define CORO_TASK(name) struct CORO__CAT(name, _task)

/* CORO_GEN -- a generator: CORO_GEN(pages) g; its item is in g.frame. See coro_gen_open. */
#define CORO_GEN(name) struct CORO__CAT(name, _gen)

/* CORO_BEGIN -- comes first in the body. Plain locals may be declared before or after it. */
#define CORO_BEGIN()                                                                              \
    enum { coro__in_finally = 0, CORO_BEGIN_must_come_first = CORO__COUNT };                      \
    CORO__GO_TO_LABEL()                                                                           \
    switch (CORO__CASE((uint16_t)my->CORO_FRAME_first.place)) {                                   \
    default:                                                                                      \
        return coro__put_down(coro__no_label(co, CORO__ME));                                      \
    case CORO__CASE(0):

/* CORO_END -- the end of the body: the frame's result is its first error, if any, else v. */
#define CORO_END(v)                                                                               \
    goto coro__last;                                                                              \
    case CORO__CASE(CORO__AT_END):                                                                \
    coro__last:;                                                                                  \
    }                                                                                             \
    return coro__end(co, CORO__ME, CORO_ERR ? CORO_ERR : (intptr_t)(v));                          \
    CORO__STRICT_END

/* CORO_TRY -- await x; if it fails, so does this frame.
 *
 *   CORO_TRY(coro_sleep(co, CORO_MS(5)));
 *   CORO_TRY(my->n, coro_call(co, &my->sub, fetch, .id = 7));
 *
 * x is an operation, a call of a coroutine, or an int. It is evaluated once. On x < 0 control goes
 * to CORO_FINALLY, or to CORO_END where there is none and inside FINALLY; else the first of two
 * arguments gets the result: an integer of any type.
 */
#define CORO_TRY(...) CORO__PICK(__VA_ARGS__, CORO__TRY2, CORO__TRY1, )(CORO__COUNT, __VA_ARGS__)

/* CORO_AWAIT -- await x and look at the result yourself: CORO_AWAIT(my->rc, coro_join(co, &my->t));
 * lv is an int, long or long long: in an unsigned or short one an error would be a length. */
#define CORO_AWAIT(lv, x)                                                                         \
    CORO__AWAIT(CORO__COUNT, x, (lv) = CORO__LIKE(lv, coro__v);                                   \
                CORO__STATIC_ASSERT(CORO__IS_SIGNED(lv), "CORO_AWAIT needs an int, long or long " \
                                    "long: an error is negative. For other types use CORO_TRY");)

/* CORO_IGNORE -- await x and drop the result. In a cancelled scope a loop of these never ends. */
#define CORO_IGNORE(x) CORO__AWAIT(CORO__COUNT, x, (void)coro__v;)

/* CORO_YIELD -- in a generator: hand the item over, go on at the next coro_gen_next.
 *
 *   for (my->page = 1; my->page < 10; my->page++)
 *       CORO_YIELD();
 *
 * Fails with -EPIPE (as CORO_TRY does) when the generator is being closed, and with -EPERM where
 * this frame is not a generator's own. Scopes, groups and contexts must not be open across it.
 */
#define CORO_YIELD() CORO__YIELD_AT(CORO__COUNT)

/* CORO_FAIL -- fail with error e, as if an await had: CORO_FAIL(-EINVAL); */
#define CORO_FAIL(e)                                                                              \
    return coro__put_down(coro__exit(co, CORO__ME, (intptr_t)(e), coro__in_finally))

/* CORO_LEAVE -- by CORO_FINALLY and CORO_END, without an error, as return does: CORO_LEAVE();
 * The result is CORO_END's, as ever. */
#define CORO_LEAVE() CORO_FAIL(0)

/* CORO_FINALLY -- a label: what follows runs on every way out. Awaits here work, outside the
 * frame's own scopes; what is cancelled from further out needs coro_shield_open. */
#define CORO_FINALLY                                                                              \
    if (CORO_CHECK || coro__has_open(co, CORO__ME))                                               \
        CORO_LEAVE();                                                                             \
    goto only_one_CORO_FINALLY_in_a_coroutine;                                                    \
    CORO__IN_FINALLY                                                                              \
    case CORO__CASE(CORO__AT_FINALLY):                                                            \
    only_one_CORO_FINALLY_in_a_coroutine

/* CORO_ERR -- in FINALLY: the error that is on its way out, or 0. May be assigned: CORO_ERR = 0; */
#define CORO_ERR (my->CORO_FRAME_first.err)

/* CORO_CLOSE -- close a group with the error so far; the group's verdict takes its place. In the
 * body a failure leaves, as with CORO_TRY; in FINALLY control goes on. */
#define CORO_CLOSE(group)                                                                         \
    CORO__AWAIT(CORO__COUNT, coro__close(co, CORO__ME, (group)),                                  \
                if (!coro__in_finally) { CORO__OR_FAIL }                                          \
                CORO_ERR = coro__v < 0 ? (int)coro__v : 0;)

/* coro_call -- call a coroutine whose frame you embed.
 *
 *   CORO_TRY(my->n, coro_call(co, &my->sub, fetch, .id = 7));
 *
 * Fills the frame with the named arguments, zero elsewhere, and runs it as a plain C call until it
 * waits or ends. The arguments may read the old frame. Gives what the coroutine ended with.
 */
#define coro_call(co, frame, ...) CORO__CALL(co, (void)0, frame, __VA_ARGS__, )

/* coro_call_within -- the call under a deadline: asyncio's wait_for.
 *
 *   CORO_TRY(my->n, coro_call_within(co, &my->limit, CORO_S(1), &my->sub, fetch, .id = 7));
 *
 * After d every await in the call fails, until it reaches its CORO_FINALLY; the result is
 * -ETIMEDOUT then. A call that succeeds all the same succeeds; see coro_scope_expired.
 */
#define coro_call_within(co, scope, d, frame, ...)                                                \
    CORO__CALL(co, CORO__LIMIT_CALL(scope, d), frame, __VA_ARGS__, )

/* coro_call_new -- the call with a frame from the loop's allocator, for recursion and large frames.
 *
 *   CORO_TRY(coro_call_new(co, walk, .dir = my->dir));      // -ENOMEM when there is no memory
 */
#define coro_call_new(co, ...) CORO__CALL_NEW(co, __VA_ARGS__, )

/* coro_gen_open -- make a generator ready: coro_gen_open(&my->gen, pages, .from = 1);
 *
 *   CORO_GEN(pages) gen;  ...
 *   for (;;) {
 *       CORO_TRY(my->got, coro_gen_next(co, &my->gen));
 *       if (!my->got) break;
 *       use(my->gen.frame.item);
 *   }
 *   CORO_FINALLY:
 *       CORO_IGNORE(coro_gen_close(co, &my->gen));
 *
 * Nothing of it runs yet. One that was begun must run to its end or be closed.
 */
#define coro_gen_open(generator, ...) CORO__GEN_OPEN(generator, __VA_ARGS__, )

/* coro_gen_next -- run a generator to its next CORO_YIELD: 1, or to its end: 0. A coroutine's call.
 *
 * It runs as part of this task: a cancellation of ours is met by its awaits. An error that ends it
 * is returned once; then 0. -EBUSY while another task is in it.
 */
#define coro_gen_next(co, generator) CORO__GEN_RUN(co, generator, CORO__GEN_RUNNING)

/* coro_gen_close -- end a generator early: its CORO_YIELD fails, its CORO_FINALLY runs. A
 * coroutine's call: 0, or what went wrong in its cleanup. Not begun or ended: left alone. */
#define coro_gen_close(co, generator) CORO__GEN_RUN(co, generator, CORO__GEN_CLOSING)

/* --- the machinery of the macros above ----------------------------------------------------- */

/* Results that are none: the function has been put down. An int's size: instructions hold them. */
#define CORO__PENDING ((intptr_t)INT_MIN) /* will be completed */
#define CORO__TURN (CORO__PENDING + 1)    /* task.result is set; go behind what is ready */
#define CORO__TURN_AND_LOOK (CORO__PENDING + 2) /* and look at the outside first */
#define CORO__REFUSED (CORO__PENDING + 3)  /* the same, and the result is -ECANCELED */
#define CORO__AGAIN (CORO__PENDING + 4)    /* task.result is set; go on at once (CORO_CHECK) */
#define CORO__LOCAL (CORO__PENDING + 5)    /* the user's mistake: the address of a local variable */
#define CORO__SPECIAL (CORO__PENDING + 15) /* anything up to here */

/* States that are not labels. */
#define CORO__AT_FINALLY 0xfffeu
#define CORO__AT_END 0xffffu
#define CORO__ENDED 0xfffdu

/* A number for each await of a body, counted from CORO_BEGIN. Large ones, so that no enum of the
 * user's jumps into an await in his switch; on chips small ones, which make smaller code. */
#define CORO__LABELS CORO__DEFAULT(0x8000, 0)
#define CORO__COUNT __COUNTER__
#define CORO__NUMBER(n) ((n) - CORO_BEGIN_must_come_first + CORO__LABELS)

/* CORO_CHECK: labels beyond int, which do not fit into a switch of the user's. */
#if CORO_CHECK
#define CORO__CASE(n) (0x10000000000ll + (long long)(n))
#else
#define CORO__CASE(n) (n)
#endif /* CORO_CHECK */

/* How a coroutine's function is compiled. With labels as values: once, and in one piece. With
 * CORO_CHECK gcc must not take a local that is lost for the constant that it began with. */
#if CORO_LABELS_AS_VALUES && defined __clang__
#define CORO__COMPILE __attribute__((noinline))
#elif CORO_LABELS_AS_VALUES
#define CORO__COMPILE                                                                             \
    __attribute__((noinline, noclone, optimize("no-reorder-blocks-and-partition")))
#elif CORO_CHECK && !defined __clang__
#define CORO__COMPILE __attribute__((optimize("no-tree-ccp")))
#else
#define CORO__COMPILE
#endif /* CORO_LABELS_AS_VALUES && defined __clang__ */

#if CORO_LABELS_AS_VALUES
/* The label's distance from the first one, biased: neither 0 nor one of the states above. */
#define CORO__HERE(n) CORO__CAT(coro__label_, n)
#define CORO__STATE(n)                                                                            \
    coro__label_state(__extension__((char *)&&CORO__HERE(n) - (char *)&&coro__first))
#define CORO__GO_TO_LABEL()                                                                       \
coro__first:                                                                                      \
    if (coro__label_of(CORO__ME))                                                                 \
        __extension__({                                                                           \
            goto *(void *)((char *)&&coro__first + coro__label_of(CORO__ME));                     \
        });
#else
#define CORO__HERE(n) case CORO__CASE(CORO__NUMBER(n))
#define CORO__STATE(n) CORO__NUMBER(n)
#define CORO__GO_TO_LABEL()
#endif /* CORO_LABELS_AS_VALUES */

/* Put the frame down at await n: the label, and the line for messages, in one store. */
#define CORO__PUT_DOWN(n)                                                                         \
    (my->CORO_FRAME_first.place = (uint32_t)CORO__STATE(n) | (uint32_t)__LINE__ << 16)

#define CORO__PICK(a, b, chosen, ...) chosen

/* The heart: coro__v becomes the result of x. When there is none yet, the frame is put down, and
 * taken up at the label; CORO_CHECK: always, so that there is no other way to what follows.
 * CORO_DEBUG: before x, too, so that messages of the operation itself name the line. */
#define CORO__WAIT(n, x)                                                                          \
    intptr_t coro__v;                                                                             \
    if (CORO_DEBUG)                                                                               \
        co->leaf = CORO__ME, CORO__PUT_DOWN(n);                                                   \
    coro__v = CORO__VALUE(x);                                                                     \
    if (CORO_CHECK || coro__v <= CORO__SPECIAL) {                                                 \
        CORO__PUT_DOWN(n);                                                                        \
        return coro__again(co, coro__v);                                                          \
        CORO__HERE(n):                                                                            \
        coro__v = co->result;                                                                     \
    }
#define CORO__AWAIT(n, x, then)                                                                   \
    do { CORO__WAIT(n, x) then } while (0)
#define CORO__OR_FAIL                                                                             \
    if (CORO__UNLIKELY(coro__v < 0))                                                              \
        CORO_FAIL(coro__v);

#define CORO__TRY1(n, x) CORO__AWAIT(n, x, CORO__OR_FAIL)
#define CORO__TRY2(n, lv, x) CORO__AWAIT(n, x, CORO__OR_FAIL (lv) = CORO__LIKE(lv, coro__v);)
#define CORO__YIELD_AT(n)                                                                         \
    do {                                                                                          \
        intptr_t coro__v;                                                                         \
        CORO__PUT_DOWN(n);                                                                        \
        coro__v = coro__yield(co, CORO__ME);                                                      \
        if (coro__v == 0) {                                                                       \
            return coro__put_down(1);                                                             \
            CORO__HERE(n):                                                                        \
            coro__v = co->result;                                                                 \
        }                                                                                         \
        CORO__OR_FAIL                                                                             \
    } while (0)

/* What CORO(name) declares besides the function. */
#define CORO__TYPES(name)                                                                         \
    CORO__STATIC_ASSERT(offsetof(struct name, CORO_FRAME_first) == 0,                             \
                        "CORO_FRAME; must be the first member of struct " #name);                 \
    struct CORO__CAT(name, _task) {                                                               \
        union {                                                                                   \
            coro_task task;                                                                       \
            char CORO_TASK_or_coro_task_expected;                                                 \
        };                                                                                        \
        struct name frame;                                                                        \
    };                                                                                            \
    CORO__GEN_TYPE(name)
#define CORO__GEN_TYPE(name)                                                                      \
    typedef struct name CORO__CAT(name, _coro_frame);                                             \
    struct CORO__CAT(name, _gen) {                                                                \
        coro_gen gen;                                                                             \
        struct name frame;                                                                        \
    };
#define CORO__RUN_FUNCTION(name)                                                                  \
    CORO__UNUSED static intptr_t CORO__CAT(name, _coro_run)(coro_task *co, coro_frame *frame)     \
    {                                                                                             \
        return name(co, (struct name *)(void *)frame).value;                                      \
    }

#if CORO_NAMES
#define CORO__NAMES(name) #name, __FILE__,
#else
#define CORO__NAMES(name)
#endif /* CORO_NAMES */
#define CORO__INFO(name)                                                                          \
    {CORO__CAT(name, _coro_run), CORO__NAMES(name) sizeof(struct CORO__CAT(name, _task)),         \
     offsetof(struct CORO__CAT(name, _task), frame)}

/* A frame, built in place. */
#define CORO__NEW(fn, from, ...)                                                                  \
    CORO__FRAME_TYPE(fn) { .CORO_FRAME_first = {&CORO__CAT(fn, _coro), from, 0, 0}, __VA_ARGS__ }

/* Inside a coroutine, and only there, these mistakes are errors: a local kept across an await, a
 * forgotten await, a frame of the wrong type, a return without a value. Each compiler passes over
 * the names that it does not know. */
#if CORO_NO_LOCAL_CHECK
#define CORO__STRICT_LOCALS
#else
#define CORO__STRICT_LOCALS                                                                       \
    CORO__DIAGNOSTIC(error "-Wuninitialized") CORO__DIAGNOSTIC(error "-Wmaybe-uninitialized")     \
    CORO__DIAGNOSTIC(error "-Wsometimes-uninitialized")                                           \
    CORO__DIAGNOSTIC(error "-Wconditional-uninitialized")
#endif /* CORO_NO_LOCAL_CHECK */
#if !CORO_CHECK
#define CORO__STRICT_SWITCH
#elif defined __clang__
#define CORO__STRICT_SWITCH CORO__DIAGNOSTIC(error "-Wswitch")
#else
#define CORO__STRICT_SWITCH CORO__DIAGNOSTIC(error "-Woverflow")
#endif /* !CORO_CHECK */
#if defined __cplusplus && !defined __clang__ /* the function hides the struct's name */
#define CORO__STRICT_CXX                                                                          \
    CORO__DIAGNOSTIC(ignored "-Wmissing-field-initializers") CORO__DIAGNOSTIC(ignored "-Wshadow")
#else
#define CORO__STRICT_CXX
#endif /* defined __cplusplus && !defined __clang__ */
#define CORO__STRICT                                                                              \
    CORO__DIAGNOSTIC(push) CORO__DIAGNOSTIC(ignored "-Wpragmas")                                  \
    CORO__DIAGNOSTIC(ignored "-Wunknown-warning-option")                                          \
    CORO__DIAGNOSTIC(ignored "-Wunevaluated-expression")                                          \
    CORO__DIAGNOSTIC(error "-Wincompatible-pointer-types")                                        \
    CORO__DIAGNOSTIC(error "-Wunused-result") CORO__DIAGNOSTIC(error "-Wreturn-type")             \
    CORO__STRICT_LOCALS CORO__STRICT_SWITCH CORO__STRICT_CXX
#define CORO__STRICT_END CORO__DIAGNOSTIC(pop)

/* From here to the end of the body macros go to CORO_END: this constant hides CORO_BEGIN's. */
#define CORO__IN_FINALLY                                                                          \
    CORO__DIAGNOSTIC(push) CORO__DIAGNOSTIC(ignored "-Wshadow")                                   \
    enum { coro__in_finally = 1 };                                                                \
    CORO__DIAGNOSTIC(pop)

#if defined __cplusplus
template <class T> struct coro__plain { typedef T type; };
template <class T> struct coro__plain<T &> { typedef T type; };
template <class T> struct coro__signed { enum { yes = 0 }; };
template <> struct coro__signed<int &> { enum { yes = 1 }; };
template <> struct coro__signed<long &> { enum { yes = 1 }; };
template <> struct coro__signed<long long &> { enum { yes = 1 }; };
#define CORO__LIKE(lv, v) static_cast<typename coro__plain<decltype((lv))>::type>(v)
#define CORO__STORAGE_OF_THIS_COROUTINE(type, p) (p)
#define CORO__IS_SIGNED(lv) (coro__signed<decltype((lv))>::yes)
#define CORO__VALUE(x) coro__value(co, CORO__ME, (x))
#define coro__of_op coro__value
#define coro__of_call coro__value
#define coro__of_int coro__value
#else
#define CORO__LIKE(lv, v)                                                                         \
    _Generic((lv), bool: (bool)(v), char: (char)(v), signed char: (signed char)(v),               \
             unsigned char: (unsigned char)(v), short: (short)(v),                                \
             unsigned short: (unsigned short)(v), int: (int)(v), unsigned: (unsigned)(v),         \
             long: (long)(v), unsigned long: (unsigned long)(v), long long: (long long)(v),       \
             unsigned long long: (unsigned long long)(v), default: (v))
#define CORO__STORAGE_OF_THIS_COROUTINE(type, p) _Generic((p), type *: (p))
#define CORO__IS_SIGNED(lv) _Generic((lv), int: 1, long: 1, long long: 1, default: 0)
#define CORO__VALUE(x)                                                                            \
    _Generic((x), coro_op: coro__of_op, coro_ret: coro__of_call,                                  \
             default: coro__of_int)(co, CORO__ME, (x))
#endif /* defined __cplusplus */

/* Calls. The statement expressions, which gcc and clang have, evaluate each argument once. */
#define CORO__CALL(co_, before, frame_, fn, ...)                                                  \
    coro__call_to_be_awaited_with_CORO_TRY(__extension__({                                        \
        coro_task *coro__c = (co_);                                                               \
        struct fn *coro__f = CORO__STORAGE_OF_THIS_COROUTINE(struct fn, frame_);                  \
        coro__no_local(coro__c, CORO__ME, coro__f, __LINE__);                                     \
        *coro__f = CORO__NEW(fn, CORO__ME, __VA_ARGS__);                                          \
        before;                                                                                   \
        CORO_CHECK ? coro__enter(coro__c, &coro__f->CORO_FRAME_first) : fn(coro__c, coro__f);     \
    }))
#define CORO__LIMIT_CALL(scope, d)                                                                \
    coro__timeout_open(coro__c, &coro__f->CORO_FRAME_first, (scope), (d), __LINE__)

#define CORO__CALL_NEW(co_, fn, ...)                                                              \
    coro__call_to_be_awaited_with_CORO_TRY(__extension__({                                        \
        coro_task *coro__c = (co_);                                                               \
        coro_frame *coro__f = coro__heap_frame(coro__c, CORO__ME, &CORO__CAT(fn, _coro));         \
        if (coro__f)                                                                              \
            *(struct fn *)(void *)coro__f = CORO__NEW(fn, coro__f->caller, __VA_ARGS__);          \
        coro__heap_call(coro__c, coro__f);                                                        \
    }))

#define CORO__GEN_RUN(co, generator, state)                                                       \
    coro__call_to_be_awaited_with_CORO_TRY(                                                       \
        coro__gen_run((co), CORO__ME, &(generator)->gen, (state), __LINE__))
#define CORO__GEN_OPEN(gen_, fn, ...)                                                             \
    __extension__({                                                                               \
        CORO_GEN(fn) *coro__g = CORO__STORAGE_OF_THIS_COROUTINE(CORO_GEN(fn), gen_);              \
        coro__gen_open(&coro__g->gen, &coro__g->frame.CORO_FRAME_first, __FILE__, __LINE__);      \
        coro__g->frame = CORO__NEW(fn, NULL, __VA_ARGS__);                                        \
        (void)0;                                                                                  \
    })

#define CORO__SPAWN(group_, fn, ...)                                                              \
    __extension__({                                                                               \
        coro_group *coro__g = (group_);                                                           \
        coro_task *coro__t = coro__spawn(coro__g, &CORO__CAT(fn, _coro));                         \
        if (coro__t)                                                                              \
            ((CORO_TASK(fn) *)(void *)coro__t)->frame = CORO__NEW(fn, NULL, __VA_ARGS__);         \
        coro__t ? 0 : coro__not_spawned(coro__g, &CORO__CAT(fn, _coro));                          \
    })

#define CORO__START(group_, task_, fn, ...)                                                       \
    __extension__({                                                                               \
        CORO_TASK(fn) *coro__t = CORO__STORAGE_OF_THIS_COROUTINE(CORO_TASK(fn), task_);           \
        coro_group *coro__g = (group_);                                                           \
        int coro__e = coro__start(coro__g, coro__not_alive(coro__g, &coro__t->task, __FILE__,     \
                                  __LINE__), &CORO__CAT(fn, _coro));                              \
        if (coro__e == 0)                                                                         \
            coro__t->frame = CORO__NEW(fn, NULL, __VA_ARGS__);                                    \
        coro__e;                                                                                  \
    })

#define CORO__RUN(options_, around_, fn, ...)                                                     \
    __extension__({                                                                               \
        CORO_TASK(fn) coro__main;                                                                 \
        coro__main.frame = CORO__NEW(fn, NULL, __VA_ARGS__);                                      \
        coro__run((options_), (around_), &coro__main.task, &CORO__CAT(fn, _coro));                \
    })

#define CORO__TASK_OF(t) ((coro_task *)(uintptr_t)&(t)->CORO_TASK_or_coro_task_expected)

/* The kinds of cores, and their flags. */
enum { CORO__TASK, CORO__SCOPE, CORO__GROUP, CORO__GENERATOR, CORO__CONTEXT };
enum {
    CORO__REQUESTED = 1,   /* cancelled itself */
    CORO__SHIELD = 2,      /* does not look further out */
    CORO__EFFECTIVE = 4,   /* kept: REQUESTED, or not SHIELD and the outer one is EFFECTIVE */
    CORO__EXPIRED = 8,     /* its deadline was what cancelled it; stays after the close */
    CORO__ARMED = 16,      /* the timer is running */
    CORO__OPEN = 32,       /* a scope in a chain; a task that is alive */
    CORO__DEADLINE = 64,   /* a scope's: timer.when is one */
    CORO__NOTED = 64,      /* a task's: its end interests somebody */
    CORO__CAUGHT = 128,    /* a closed scope's: it ended a cancellation */
    CORO__WAS = 256,       /* a closed scope's: it had been cancelled */
    CORO__CANCELLED = 512, /* a task's: its innermost scope is EFFECTIVE; what operations test */
    CORO__LIMIT = 1024,    /* a task's: the timer is coro_within's */
    CORO__ABORTING = 2048, /* a task's: the operation was told, and will end later */
    CORO__SPAWNED = 4096,  /* a task's: memory of the loop's */
    CORO__IGNORING = 8192, /* a task's: timer.when counts refused awaits in a row */
    CORO__FAILED = 16384   /* an ended task's */
};
enum { /* what has happened to a group */
    CORO__CUT = 1,        /* a child was cut short by its cancellation */
    CORO__BODY_FAILED = 2 /* closed with an error that was not its doing */
};
enum {
    CORO__TO_WAS = CORO__WAS / CORO__REQUESTED,
    CORO__GAVE_TURN = 254 /* spent: queued by coro_sleep(co, 0), which has no effect to lose */
};
enum { CORO__GEN_CLOSED, CORO__GEN_FRESH, CORO__GEN_YIELDED, CORO__GEN_RUNNING, CORO__GEN_CLOSING };

/* ================================================================================================
 * >>task
 */

/* coro_spawn -- start a task in memory of the loop's: coro_spawn(&my->g, worker, .q = &my->q);
 *
 * It runs its first step later, behind those that are ready now. It has no handle: its memory goes
 * back the moment it ends.
 *
 * Returns:    0. A failure is recorded in the group as a child's, so that it may be ignored.
 * Errors:     -ENOMEM; -ESHUTDOWN: the group is closed. The arguments are still the caller's.
 * Context:    anywhere on the loop's thread
 */
#define coro_spawn(group, ...) CORO__SPAWN(group, __VA_ARGS__, )

/* coro_start -- start a task in storage of your own, a zeroed CORO_TASK(worker) w[5].
 *
 *   coro_start(&my->g, &my->w[0], worker, .q = &my->q);
 *
 * The storage stays until the group is closed. Then it may be started again; in the same group, as
 * soon as its task has ended. Returns and fails as coro_spawn does.
 */
#define coro_start(group, task, ...) CORO__START(group, task, __VA_ARGS__, )

/* coro_join -- wait until a started task has ended: CORO_TRY(my->rc, coro_join(co, &my->w[0]));
 *
 * Waits:      while it runs. Being cancelled here leaves it running.
 * Returns:    what it ended with.
 * Errors:     -ECHILD: it ended with -ECANCELED. -EDEADLK: it is this task. -EINVAL: never started,
 *             or another loop's. -ECANCELED: this task is cancelled.
 */
#define coro_join(co, task) coro__join((co), CORO__TASK_OF(task))

/* coro_task_cancel -- cancel one task: every await in it fails from now on. No failure of its
 * group's. Returns 1; 0 when it has ended already, or was cancelled before. */
#define coro_task_cancel(task) coro__task_cancel(CORO__TASK_OF(task))

/* coro_task_result -- what it ended with; -EINPROGRESS: it runs; -EINVAL: never started. */
#define coro_task_result(task) coro__task_result(CORO__TASK_OF(task))

/* coro_task_status -- what has become of a started task.
 *
 *   if (coro_task_status(&my->t) == CORO_RUNNING)
 *       coro_task_cancel(&my->t);
 *   printf("%s, number %u: %d\n", coro_task_name(&my->t), (unsigned)coro_task_id(&my->t),
 *          coro_task_result(&my->t));
 */
#define coro_task_status(task) coro__task_status(CORO__TASK_OF(task))

/* coro_task_name -- the name of its coroutine, "task" where names are not kept. */
#define coro_task_name(task) coro__task_name(CORO__TASK_OF(task))

/* coro_task_id -- its number in its group, in start order from 0: what coro_group_next tells. */
#define coro_task_id(task) (CORO__TASK_OF(task)->core.index)

/* coro_sleep -- wait for d: CORO_TRY(coro_sleep(co, CORO_MS(20))); d <= 0: one fair turn.
 *
 * Never ends early; equal deadlines end in the order in which they began. A fair turn is behind all
 * that is ready. CORO_FOREVER: until cancelled.
 *
 * Returns:    0
 * Errors:     -ECANCELED
 */
static inline coro_op coro_sleep(coro_task *co, coro_time d);

/* coro_sleep_until -- wait until time t.
 *
 *   my->next = coro_now(co);
 *   while (coro_time_before(my->next, my->end)) {         // every 100 ms, without drift
 *       CORO_TRY(coro_sleep_until(co, my->next));
 *       my->late = coro_time_since(coro_now(co), my->next);
 *       my->next = coro_time_after(my->next, CORO_MS(100));
 *   }
 *
 * Returns and fails as coro_sleep.
 */
CORO_API CORO__MUST_USE coro_op coro_sleep_until(coro_task *co, coro_time t);

/* coro_within -- one operation under a deadline; d <= 0 tries once.
 *
 *   CORO_TRY(my->n, coro_within(co, CORO_S(1), coro_join(co, &my->t)));
 *
 * For a call of a coroutine there is coro_call_within, for a block coro_timeout_open.
 *
 * Returns:    what the operation gives
 * Errors:     -ETIMEDOUT: nothing was taken or given; else the operation's own.
 */
CORO_API CORO__MUST_USE coro_op coro_within(coro_task *co, coro_time d,
                                            coro_op op_for_a_call_there_is_coro_call_within);

/* coro_now -- the time: monotonic, read now. A virtual clock begins at 0. */
CORO_API coro_time coro_now(coro_task *co);

/* coro_time_before -- is a before b? 32-bit ticks may wrap: do not compare them with <. */
CORO_API bool coro_time_before(coro_time a, coro_time b);

/* coro_time_after -- the time d >= 0 after t; saturates, and is never CORO_FOREVER by accident. */
CORO_API coro_time coro_time_after(coro_time t, coro_time d);

/* coro_time_since -- how long after b is a? Ticks of 32 bits may have wrapped. */
static inline coro_time coro_time_since(coro_time a, coro_time b)
{
    return (coro_time)((coro__utime)a - (coro__utime)b);
}

/* coro_loop_of -- the loop that runs this task: coro_loop_stop(coro_loop_of(co)); */
static inline coro_loop *coro_loop_of(const coro_task *co)
{
    return co->loop;
}

/* ================================================================================================
 * >>scope -- cancellation is a state of a scope: every await inside fails with -ECANCELED.
 */

/* coro_scope_open -- open a block that can be cancelled by itself; for coro_scope_close.
 *
 *   coro_scope_open(co, &my->scope);                       // another task: coro_scope_cancel
 *   CORO_AWAIT(my->rc, coro_join(co, &my->t));
 *   CORO_TRY(coro_scope_close(co, &my->scope, my->rc));
 *
 * A scope may be cancelled, or given a deadline or a shield, before it is opened. The frame that
 * opened it closes it when it leaves. Opening an open one traps.
 */
#define coro_scope_open(co, scope)                                                                \
    coro__scope_open((co), CORO__ME, (scope), CORO__SCOPE, __LINE__)

/* coro_timeout_open -- a scope that is cancelled after d. What it ends has -ETIMEDOUT.
 *
 *   coro_timeout_open(co, &my->limit, CORO_S(2));
 *   ...
 *   CORO_TRY(coro_scope_close(co, &my->limit, 0));
 */
#define coro_timeout_open(co, scope, d) coro__timeout_open((co), CORO__ME, (scope), (d), __LINE__)

/* coro_shield_open -- a scope that cancellation from further out does not enter, for at most d.
 *
 *   CORO_FINALLY:
 *       coro_shield_open(co, &my->shield, CORO_S(1));
 *       CORO_IGNORE(coro_call(co, &my->bye, say_goodbye));
 *       (void)coro_scope_close(co, &my->shield, 0);
 */
#define coro_shield_open(co, scope, d) coro__shield_open((co), CORO__ME, (scope), (d), __LINE__)

/* coro_scope_close -- close it. rc says how the block ended, the value what that makes.
 *
 * Returns:    rc; 0 when this scope's own coro_scope_cancel caused an rc of -ECANCELED.
 * Errors:     -ETIMEDOUT: its deadline caused it. -ECANCELED: an outer scope is cancelled too.
 *             -EBUSY: an inner one is open. -EPERM: another task's. Then nothing is changed.
 */
CORO_API int coro_scope_close(coro_task *co, coro_scope *scope, int rc);

/* coro_scope_cancel -- cancel what is in the scope, at once and for good. 1; 0 when it has been
 * already: the first cause stays. A group: coro_group_cancel.
 *
 *   coro_scope_deadline(&my->scope, coro_time_after(coro_now(co), CORO_S(5)));   // later, sooner
 *   coro_scope_shield(&my->scope, true);
 *   coro_scope_cancel(&my->scope);
 */
CORO_API int coro_scope_cancel(coro_scope *scope);

/* coro_scope_deadline -- set or move the deadline; CORO_FOREVER: none. -EALREADY: cancelled. */
CORO_API int coro_scope_deadline(coro_scope *scope, coro_time t);

/* coro_scope_shield -- raise or drop the shield. Dropped, it lets a cancellation outside in. */
CORO_API void coro_scope_shield(coro_scope *scope, bool on);

/* coro_scope_cancelled -- was it cancelled, by itself or its deadline? Also after the close.
 *
 *   if (coro_scope_cancelled(&my->scope))
 *       printf("%s%s\n", coro_scope_expired(&my->scope) ? "too late" : "cancelled",
 *              coro_scope_caught(&my->scope) ? ", and ended by it" : ", but done");
 */
static inline bool coro_scope_cancelled(const coro_scope *scope)
{
    return (scope->core.flags & (CORO__REQUESTED | CORO__WAS)) != 0;
}

/* coro_scope_expired -- was it the deadline? Also after the close. */
static inline bool coro_scope_expired(const coro_scope *scope)
{
    return (scope->core.flags & CORO__EXPIRED) != 0;
}

/* coro_scope_caught -- after the close: did it end a cancellation that it had caused? */
static inline bool coro_scope_caught(const coro_scope *scope)
{
    return (scope->core.flags & CORO__CAUGHT) != 0;
}

/* coro_cancelled -- would the next await fail? For long computations. */
static inline bool coro_cancelled(const coro_task *co)
{
    return (co->core.flags & CORO__CANCELLED) != 0;
}

/* coro_deadline -- the tightest deadline in force, or CORO_FOREVER; the past when cancelled.
 *
 *   my->left = coro_time_since(coro_deadline(co), coro_now(co));
 */
CORO_API coro_time coro_deadline(const coro_task *co);

/* ================================================================================================
 * >>group -- a block of tasks that end before it does. See coro_mode for how failures are treated.
 */

/* coro_group_open -- open a group: coro_group_open(co, &my->g, CORO_ALL);
 *
 * A group is a scope as well (&g.scope): the body is cancelled with the children. Traps when open.
 */
#define coro_group_open(co, group, mode) coro__group_open((co), CORO__ME, (group), (mode), __LINE__)

/* coro_group_close -- wait for the children; rc says how the body ended. Usually by CORO_CLOSE(&g).
 *
 *   CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
 *
 * A body that failed cancels the children. Closing a group that is not open gives rc; if it never
 * was, and yet something was spawned into it, -ESHUTDOWN.
 *
 * Waits:      until all have ended, whatever is cancelled meanwhile.
 * Returns:    rc, or a race's winner's result.
 * Errors:     the first failure in time; -ETIMEDOUT: the group's deadline; -ECANCELED: cancelled
 *             from outside; -EBUSY: an inner one is open; -EPERM: another task's group.
 */
CORO_API CORO__MUST_USE coro_op coro_group_close(coro_task *co, coro_group *group, intptr_t rc);

/* coro_group_cancel -- cancel children and body. Not an error: the close gives 0. */
CORO_API int coro_group_cancel(coro_group *group);

/* coro_group_limit -- how many children coro_group_wait_room lets live at once; 0: any number. */
CORO_API void coro_group_limit(coro_group *group, coro_count limit);

/* coro_group_wait_room -- wait until the group has room for one more child; then spawn it.
 *
 *   coro_group_limit(&my->g, 100);
 *   CORO_TRY(coro_group_wait_room(co, &my->g));
 *   coro_spawn(&my->g, handle, .n = my->n);
 *
 * First come, first served. Room that is not used at once goes to the next.
 *
 * Errors:     -ECANCELED, -ETIMEDOUT; -ESHUTDOWN: the group is closed.
 */
CORO_API CORO__MUST_USE coro_op coro_group_wait_room(coro_task *co, coro_group *group);

/* coro_group_next -- wait for the next child of coro_start's to end: 1; 0: no more.
 *
 *   for (;;) {
 *       CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));     // i: in start order
 *       if (!my->got) break;
 *       if (coro_task_result(&my->w[my->i]) == 0)
 *           coro_group_cancel(&my->g);                              // one is enough
 *   }
 *
 * Errors:     -ECANCELED, -ETIMEDOUT; -ESHUTDOWN: the group is closed.
 */
CORO_API CORO__MUST_USE coro_op coro_group_next(coro_task *co, coro_group *group, int *index);

/* ================================================================================================
 * >>context -- values that are found from here down: a request's id, a user, a log.
 */

/* coro_context_set -- from here to this frame's end, and in groups opened meanwhile, key has value.
 *
 *   static const char request_id;                               // its address is the key
 *   coro_context_set(co, &my->id, &request_id, "42");
 *   printf("%s\n", (char *)coro_context_get(co, &request_id));    // here, and in what it calls
 */
#define coro_context_set(co, node, key, value)                                                    \
    coro__context_set((co), CORO__ME, (node), (key), (value), __LINE__)

/* coro_context_get -- the innermost value of key that this task can see, or null. */
CORO_API void *coro_context_get(const coro_task *co, const void *key);

/* ================================================================================================
 * >>loop
 */

/* coro_run -- make a loop, run one coroutine to its end, tear down: rc = coro_run(app, .port = 80);
 *
 * Returns:    its result
 * Errors:     -EDEADLK: nothing could ever have woken the tasks. Who waits for what was reported;
 *             those who did not end even when cancelled are gone: zero what they used, apart from
 *             their frames, before it is used again. -ENOMEM; -ENOSYS: bare metal and no driver.
 */
#define coro_run(...) CORO__RUN(NULL, NULL, __VA_ARGS__, )

/* coro_run_with -- with options: coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app); */
#define coro_run_with(options, ...) CORO__RUN(options, NULL, __VA_ARGS__, )

/* coro_loop_init -- for owners of a loop. options may be null. Then spawn into &loop->root.
 *
 *   if (coro_loop_init(&loop, &(coro_options){.slow_step = CORO_MS(10)}) == 0) {
 *       coro_spawn(&loop.root, worker, .q = &jobs);
 *       rc = coro_loop_run(&loop);
 *       coro_loop_fini(&loop);
 *   }
 *
 * Errors:     -EINVAL, -ENOMEM, -ENOSYS, as for coro_run.
 */
CORO_API int coro_loop_init(coro_loop *loop, const coro_options *options);

/* coro_loop_run -- run until no task is left, or coro_loop_stop: 0. -EDEADLK: see coro_run; or it
 * is running already. */
CORO_API int coro_loop_run(coro_loop *loop);

/* coro_loop_step -- for guests in another loop: one turn of what is ready, without sleeping. 1:
 * tasks are left, come again at coro_loop_deadline; 0: none; -EDEADLK: it is running already.
 *
 *   while (coro_loop_step(&loop) == 1)
 *       host_wait(coro_time_since(coro_loop_deadline(&loop), coro_loop_now(&loop)));
 */
CORO_API int coro_loop_step(coro_loop *loop);

/* coro_loop_deadline -- when to step next; the past: at once; CORO_FOREVER: when woken. */
CORO_API coro_time coro_loop_deadline(coro_loop *loop);

/* coro_loop_now -- the loop's clock, read now. */
CORO_API coro_time coro_loop_now(coro_loop *loop);

/* coro_loop_recent -- what the clock was when it was last read: for statistics.
 *
 *   my->age = coro_time_since(coro_loop_recent(coro_loop_of(co)), my->born);
 */
static inline coro_time coro_loop_recent(const coro_loop *loop)
{
    return loop->now;
}

/* coro_loop_stop -- let coro_loop_run return when those that are ready now have run; a later one
 * goes on. Before a run: it makes one round, without sleeping. */
CORO_API void coro_loop_stop(coro_loop *loop);

/* coro_loop_fini -- give everything back. -EBUSY, and nothing is done, while tasks are alive. */
CORO_API int coro_loop_fini(coro_loop *loop);

/* coro_loop_hold -- somebody outside (a thread, an interrupt) is going to post: until they are
 * released, sleeping without a timer is no deadlock, and virtual time stands still. Counted. */
static inline void coro_loop_hold(coro_loop *loop)
{
    loop->held++;
}

/* coro_loop_release -- the end of a coro_loop_hold. */
static inline void coro_loop_release(coro_loop *loop)
{
    loop->held -= loop->held > 0;
}

/* coro_loop_drive -- put another driver in place, as coro_io.h does; the old one is finished.
 *
 *   coro_driver ours = *coro_loop_driver(&loop);
 *   ours.park = chip_park;
 *   coro_loop_drive(&loop, &ours);
 */
CORO_API void coro_loop_drive(coro_loop *loop, const coro_driver *driver);

/* coro_loop_driver -- the one that is in place. */
static inline const coro_driver *coro_loop_driver(const coro_loop *loop)
{
    return &loop->options.driver;
}

/* coro_loop_rung -- for drivers, before they sleep (interrupts may be off): has something come?
 *
 *   void chip_park(void *arg, coro_loop *loop, coro_time until)
 *   {
 *       interrupts_off();
 *       if (!coro_loop_rung(loop) && coro_time_before(coro_loop_now(loop), until))
 *           wait_for_interrupt();                          // ends for one that is held back, too
 *       interrupts_on();
 *   }
 */
CORO_API bool coro_loop_rung(const coro_loop *loop);

/* coro_loop_alloc -- the loop's memory: free lists by size. Null when there is none.
 *
 *   my->big = coro_loop_alloc(coro_loop_of(co), sizeof *my->big);
 *   CORO_FINALLY:
 *   if (my->big)
 *       coro_loop_free(coro_loop_of(co), my->big, sizeof *my->big);
 */
CORO_API void *coro_loop_alloc(coro_loop *loop, size_t size);

/* coro_loop_free -- give it back, with the size that it was asked for. */
CORO_API void coro_loop_free(coro_loop *loop, void *memory, size_t size);

/* coro_post -- have node->run(loop, node) called on the loop's thread, in order of posting.
 *
 *   static void arrived(coro_loop *loop, coro_post_node *node) { coro_loop_release(loop); ... }
 *
 *   my->node.run = arrived;
 *   coro_loop_hold(my->loop);
 *   coro_post(my->loop, &my->node);                        // this may be on another thread
 *
 * Lock-free, cannot fail, cannot fill: the node is yours until it has been called.
 *
 * Returns:    true; false when it is posted already.
 * Context:    threads, signal handlers, interrupts
 */
CORO_API bool coro_post(coro_loop *loop, coro_post_node *node);

/* coro_irq_raise -- ring the bell. One store. From one interrupt or thread only.
 *
 *   static coro_irq bell;
 *   void uart_interrupt(void) { ... coro_irq_raise(&bell); }
 *
 *   coro_irq_forget(&bell);                                // what came before is stale
 *   CORO_TRY(my->n, coro_irq_wait(co, &bell));
 */
CORO_API void coro_irq_raise(coro_irq *irq);

/* coro_irq_forget -- what it has been rung so far is not to be told, unless a task waits for it. */
CORO_API void coro_irq_forget(coro_irq *irq);

/* coro_irq_wait -- wait until it has been rung; how many times since we were told last. Errors:
 * -ECANCELED, -ETIMEDOUT: no ring is lost; -EBUSY: another task waits. */
CORO_API CORO__MUST_USE coro_op coro_irq_wait(coro_task *co, coro_irq *irq);

/* coro_dump -- print the tree of tasks: coro_dump(coro_loop_of(co), NULL); What each waits for, how
 * long, where. sink may be null. */
CORO_API void coro_dump(coro_loop *loop, const coro_sink *sink);

/* coro_stats -- numbers for operators: my->alive = coro_stats(coro_loop_of(co)).tasks; */
CORO_API coro_loop_stats coro_stats(const coro_loop *loop);

/* coro_verify -- check all lists and flags, slowly: assert(!coro_verify(&loop)); What is wrong. */
CORO_API const char *coro_verify(coro_loop *loop);

/* ================================================================================================
 * >>operation -- awaitable operations of your own, with the means that ours have:
 *
 *     coro_op gate_pass(coro_task *co, struct gate *g)
 *     {
 *         static const coro_ops ops = {"gate", NULL, NULL};
 *         if (coro_cancelled(co))
 *             return coro_refuse(co);
 *         if (g->open)
 *             return coro_done(co, 0);
 *         return coro_suspend(co, &g->waiting, &ops, 0);
 *     }
 *     void gate_open(struct gate *g)
 *     {
 *         g->open = true;
 *         while (g->waiting.head)
 *             coro_complete(g->waiting.head, 0);
 *     }
 */

/* What became of an operation that was asked to end. */
typedef enum coro_abort {
    CORO_ABORT_DONE,  /* undone: the core takes the task out of the queue and ends the wait */
    CORO_ABORT_LATER, /* begun: coro_complete will come; it is not asked again */
    CORO_ABORT_NEVER  /* cannot be aborted: ends by itself */
} coro_abort;

/* What can happen to an operation while it waits. */
struct coro_ops {
    const char *what; /* for dumps: "queue get" */
    /* The task is cancelled, or its limit over; null: CORO_ABORT_DONE. May complete other tasks. */
    coro_abort (*abort)(coro_task *task, coro_waitq *queue);
    /* The task has been taken out of the queue without a result: look who is next. May be null. */
    void (*gone)(coro_task *task, coro_waitq *queue);
};

/* coro_suspend -- put the task to sleep at a queue's end until coro_complete. Return its value.
 * word is the operation's own while it waits: a pointer into a frame, a count; see coro_word. */
CORO_API CORO__MUST_USE coro_op coro_suspend(coro_task *co, coro_waitq *queue, const coro_ops *ops,
                                             intptr_t word);

/* coro_complete -- end a task's wait with this result. It runs later, behind those that are ready.
 * True; false when it does not wait (its wait has ended already). */
CORO_API bool coro_complete(coro_task *task, intptr_t result);

/* A note in place of a joiner has a bit that no address has: the lowest; on AVR, which aligns
 * nothing, the highest. */
#define CORO__NOTE (sizeof(void *) > 2 ? (uintptr_t)1 : (uintptr_t)0x8000)

static inline coro_task *coro__of_note(coro_note *note)
{
    return (coro_task *)((uintptr_t)note | CORO__NOTE);
}

/* Null: this is a joiner, or nobody. */
static inline coro_note *coro__note_at(const coro_task *joiner)
{
    uintptr_t at = (uintptr_t)joiner;
    return at & CORO__NOTE ? (coro_note *)(at & ~CORO__NOTE) : NULL;
}

/* coro_waits_since -- when a task that waits began to; with a limit, which needs the place: now. */
static inline coro_time coro_waits_since(const coro_task *task)
{
    return CORO__UNLIKELY(task->core.flags & CORO__ARMED) ? task->loop->now
                                                          : task->core.timer.when;
}

/* coro_alarm -- the wait of task is to be aborted at time t, as if by coro_within; what comes first
 * counts. ops.abort may end it otherwise: coro_complete it, and return CORO_ABORT_LATER.
 *
 *   coro_op op = coro_suspend(co, &gate.waiting, &gate_ops, 0);
 *   coro_alarm(co, coro_time_after(coro_now(co), CORO_S(1)));
 *   CORO_TRY(op);
 */
CORO_API void coro_alarm(coro_task *task, coro_time t);

/* coro_move -- a task that waits in a queue goes on waiting, at the end of another.
 *
 *   while (gate.waiting.head)
 *       coro_move(gate.waiting.head, &other.waiting, &gate_ops, 0);
 */
CORO_API void coro_move(coro_task *task, coro_waitq *queue, const coro_ops *ops, intptr_t word);

/* coro_note_add -- have note->ended(note, task) called when the task ends, before its joiners; the
 * last one added is the first one told.
 *
 *   static void owner_ended(coro_note *note, coro_task *task) { coro_report(task, " kept it"); }
 *
 *   my->note.ended = owner_ended;
 *   coro_note_add(co, &my->note);
 *   CORO_FINALLY:
 *   coro_note_drop(co, &my->note);
 */
static inline void coro_note_add(coro_task *task, coro_note *note)
{
    note->next = task->joiner;
    task->joiner = coro__of_note(note);
    if (!(task->core.flags & CORO__NOTED)) /* a look is cheaper than a store */
        task->core.flags |= CORO__NOTED;
}

/* coro_note_drop -- take it back. */
static inline void coro_note_drop(coro_task *task, coro_note *note)
{
    coro_task **at = &task->joiner;
    while (*at != coro__of_note(note))
        at = &coro__note_at(*at)->next;
    *at = note->next;
}

/* coro_report -- say something about a task to options.report: its name, text, where it is. */
CORO__COLD_API void coro_report(const coro_task *task, const char *text);

/* coro_info_of -- a coroutine as a value, for headers whose users name what is to be run. */
#define coro_info_of(fn) (&CORO__CAT(fn, _coro))

/* coro_frame_of -- a frame for it, to be copied: coro_frame_of(worker, .id = 7). */
#define coro_frame_of(...) CORO__FRAME_OF(__VA_ARGS__, )
#define CORO__FRAME_OF(fn, ...) CORO__NEW(fn, NULL, __VA_ARGS__)

/* coro_spawn_copy -- coro_spawn, of a coroutine that is a value, with a copy of a frame: the task,
 * which is there until its end, so that it can be given notes. Null: the group is closed, or there
 * is no memory; unlike with coro_spawn the group is not told.
 *
 *   coro_task *t = coro_spawn_copy(&my->g, coro_info_of(worker),
 *                                  &coro_frame_of(worker, .q = &my->q), sizeof(struct worker));
 *   if (t)
 *       coro_note_add(t, &my->note);
 */
CORO_API coro_task *coro_spawn_copy(coro_group *group, const coro_info *info, const void *frame,
                                    size_t size);

/* Who has something to do around a coro_run. */
typedef struct coro_around {
    void (*begin)(struct coro_around *around, coro_task *task); /* the task has been started */
    int (*end)(struct coro_around *around, int result);         /* the loop is over: the result */
} coro_around;

/* coro_run_around -- coro_run_with, with that; around may be null.
 *
 *   rc = coro_run_around(NULL, my->around, app, .port = 80);
 */
#define coro_run_around(options, around, ...) CORO__RUN(options, around, __VA_ARGS__, )

/* CORO_LIBRARY_DECLARE, CORO_LIBRARY -- as CORO_DECLARE and CORO_DEFINE, for a header's coroutines:
 * with CORO_SHARED one file has them, else every file has its own.
 *
 *   struct idle { CORO_FRAME; };
 *   CORO_LIBRARY_DECLARE(idle);
 *   CORO_LIBRARY(idle) { CORO_BEGIN(); CORO_END(0); }
 */
#if defined CORO_SHARED && defined __cplusplus
#define CORO_LIBRARY_DECLARE(name) extern "C" { CORO_DECLARE(name); } CORO__SEMICOLON
#define CORO_LIBRARY(name) CORO_DEFINE(name)
#elif defined CORO_SHARED
#define CORO_LIBRARY_DECLARE(name) CORO_DECLARE(name)
#define CORO_LIBRARY(name) CORO_DEFINE(name)
#else
#define CORO_LIBRARY_DECLARE(name)                                                                \
    CORO__TYPES(name)                                                                             \
    CORO__STRICT CORO__UNUSED static coro__ran name(coro_task *co, struct name *my);               \
    CORO__STRICT_END CORO__SEMICOLON
#define CORO_LIBRARY(name)                                                                        \
    CORO__RUN_FUNCTION(name)                                                                      \
    CORO__UNUSED static const coro_info CORO__CAT(name, _coro) = CORO__INFO(name);                \
    CORO__STRICT CORO__COMPILE CORO__MUST_USE static coro__ran name(coro_task *co, struct name *my)
#endif /* defined CORO_SHARED && defined __cplusplus */
#define CORO__SEMICOLON CORO__STATIC_ASSERT(true, "")

static inline coro_op coro__op(intptr_t v)
{
    coro_op op;
    op.value = v;
    return op;
}

/* An error of the user's own must not be taken for a special value. */
static inline intptr_t coro__no_special(intptr_t v)
{
    return CORO__UNLIKELY(v <= CORO__SPECIAL) ? CORO__SPECIAL + 1 : v;
}

CORO__SLOW_API intptr_t coro__spent(coro_task *co, intptr_t result);

/* coro_done -- the operation is done at once. Return its value. The budget may let others run. */
CORO__MUST_USE static inline coro_op coro_done(coro_task *co, intptr_t result)
{
    result = coro__no_special(result);
    if (CORO__UNLIKELY((int8_t)++co->core.spent < 0))
        result = coro__spent(co, result);
    return coro__op(result);
}

/* coro_charge -- before coro_done: this took as long as n more would: coro_charge(co, 30); A system
 * call, say. */
static inline void coro_charge(coro_task *co, intptr_t n)
{
    uint8_t spent = co->core.spent;
    if (spent < 128)
        co->core.spent = (uint8_t)(n < 127 - spent ? spent + n : 127);
}

/* coro_refuse -- the task is cancelled: nothing was done. Return its value. */
CORO__MUST_USE static inline coro_op coro_refuse(const coro_task *co)
{
    return coro__op(CORO__REFUSED);
}

/* coro_word -- what coro_suspend was given, while the task waits.
 *
 *   coro_op box_take(coro_task *co, struct gate *box, int *to)
 *   {
 *       if (coro_may_be_local(co, to) && coro_is_local(co, to))
 *           return coro_local();
 *       return coro_cancelled(co) ? coro_refuse(co)
 *                                 : coro_suspend(co, &box->waiting, &gate_ops, (intptr_t)to);
 *   }
 *   void box_fill(struct gate *box, int value)             // for who came last: a stack
 *   {
 *       coro_task *task = coro_waitq_last(&box->waiting);
 *       if (task) {
 *           *(int *)coro_word(task) = value;
 *           coro_complete(task, 1);
 *       }
 *   }
 */
static inline intptr_t coro_word(const coro_task *task)
{
    return task->result;
}

static inline coro_task *coro__of_link(coro_link *wait)
{
    return (coro_task *)(void *)((char *)wait - offsetof(coro_task, wait));
}

/* coro_waitq_next -- the one behind task in the queue, or null. The first one is queue->head.
 *
 *   for (coro_task *t = gate.waiting.head; t; t = coro_waitq_next(&gate.waiting, t))
 *       printf("%s since %lld\n", coro_task_name(t), (long long)coro_waits_since(t));
 */
static inline coro_task *coro_waitq_next(const coro_waitq *queue, const coro_task *task)
{
    coro_task *next = coro__of_link(task->wait.next);
    return next == queue->head ? NULL : next;
}

/* coro_waitq_last -- the one who came last, or null. */
static inline coro_task *coro_waitq_last(const coro_waitq *queue)
{
    return queue->head ? coro__of_link(queue->head->wait.prev) : NULL;
}

/* coro_waitq_before -- the one before task in the queue, or null.
 *
 *   for (coro_task *t = coro_waitq_last(&gate.waiting); t; t = coro_waitq_before(&gate.waiting, t))
 *       puts(coro_task_name(t));                           // the newest first
 */
static inline coro_task *coro_waitq_before(const coro_waitq *queue, const coro_task *task)
{
    return task == queue->head ? NULL : coro__of_link(task->wait.prev);
}

/* Between the loop's frame and the present one. Less than a guard page further down, for the case
 * that this is inlined into the coroutine: what lies below the stack is somebody else's. Most of
 * what is not on the stack lies below it, so that test comes first. */
static inline bool coro__on_stack(const coro_loop *loop, const void *p)
{
    uintptr_t low = (uintptr_t)__builtin_frame_address(0) - (CORO_HOSTED ? 4096 : 64);
    return (uintptr_t)p >= low && (uintptr_t)p < loop->stack;
}

/* coro_is_local -- is p the address of a local variable of the coroutine that runs now? Then return
 * coro_local(): an operation must not keep it. */
static inline bool coro_is_local(const coro_task *co, const void *p)
{
    return CORO_STACK_CHECK && coro__on_stack(co->loop, p);
}

/* coro_may_be_local -- a quick look, for what is always in a hurry: true for what is in the page
 * where a body's variables are, unless it was called deep down. coro_is_local makes sure. */
static inline bool coro_may_be_local(const coro_task *co, const void *p)
{
    return CORO_STACK_CHECK && co->loop->stack - (uintptr_t)p < 4096;
}

/* coro_local -- trap, in the name of the line that awaits. */
CORO__MUST_USE static inline coro_op coro_local(void)
{
    return coro__op(CORO__LOCAL);
}

/* --- functions behind the macros ----------------------------------------------------------- */

CORO__COLD_API CORO__NORETURN void coro__trap(const coro_info *, unsigned line, const char *text);
CORO__COLD_API CORO__NORETURN void coro__trap_at(const char *file, unsigned line, const char *name,
                                                 const char *text);
CORO__COLD_API CORO__NORETURN void coro__trap_local_at(const coro_info *, int line);
CORO__COLD_API intptr_t coro__no_label(coro_task *, coro_frame *);
CORO__COLD_API intptr_t coro__exit(coro_task *, coro_frame *, intptr_t e, bool in_finally);
CORO__COLD_API intptr_t coro__end_slow(coro_task *, coro_frame *, intptr_t v);
CORO_API coro_op coro__sleep(coro_task *, coro_time d);
CORO_API coro_op coro__join(coro_task *, coro_task *joined);
CORO_API int coro__task_cancel(coro_task *);
CORO_API int coro__task_result(const coro_task *);
CORO_API coro_status coro__task_status(const coro_task *);
CORO_API const char *coro__task_name(const coro_task *);
CORO_API coro_task *coro__spawn(coro_group *, const coro_info *);
CORO__COLD_API int coro__not_spawned(coro_group *, const coro_info *);
CORO_API coro_task *coro__not_alive(const coro_group *, coro_task *, const char *file, int line);
CORO_API int coro__start(coro_group *, coro_task *, const coro_info *);
CORO_API int coro__run(const coro_options *, coro_around *, coro_task *, const coro_info *);
CORO_API void coro__scope_open(coro_task *, coro_frame *, coro_scope *, int kind, int line);
CORO_API coro_time coro__from_now(coro_task *, coro_time d);
CORO_API void coro__deadline_open(coro_task *, coro_frame *, coro_scope *, coro_time, int line);
CORO_API void coro__shield_open(coro_task *, coro_frame *, coro_scope *, coro_time d, int line);
CORO__COLD_API void coro__leave(coro_task *, coro_frame *);
CORO_API void coro__group_open(coro_task *, coro_frame *, coro_group *, coro_mode, int line);
CORO_API void coro__context_set(coro_task *, coro_frame *, coro_context *, const void *key,
                                void *value, int line);
CORO_API coro_frame *coro__heap_frame(coro_task *, coro_frame *from, const coro_info *);
CORO_API coro__ran coro__heap_call(coro_task *, coro_frame *);
CORO_API void coro__gen_open(coro_gen *, coro_frame *, const char *file, int line);
CORO_API coro__ran coro__gen_run(coro_task *, coro_frame *from, coro_gen *, int state, int line);
CORO_API int coro__yield(coro_task *, coro_frame *);

static inline unsigned coro__line(const coro_frame *frame)
{
    return (unsigned)(frame->place >> 16);
}

static inline coro__ran coro__put_down(intptr_t v)
{
    coro__ran r;
    r.value = v;
    return r;
}

/* The value of an awaited expression. The frame in which an operation waits is to be resumed. */
static inline intptr_t coro__of_op(coro_task *co, coro_frame *frame, coro_op op)
{
    if (op.value <= CORO__SPECIAL)
        co->leaf = frame;
    return op.value;
}

static inline intptr_t coro__of_call(coro_task *co, coro_frame *frame, coro_ret call)
{
    return call.value;
}

static inline intptr_t coro__of_int(coro_task *co, coro_frame *frame, intptr_t v)
{
    return coro__no_special(v);
}

CORO__MUST_USE static inline coro_ret coro__call_to_be_awaited_with_CORO_TRY(coro__ran ret)
{
    coro_ret call;
    call.value = ret.value;
    return call;
}

/* Run a frame until it is done or has to wait: CORO_CHECK lets it return at each await. */
static inline coro__ran coro__enter(coro_task *co, coro_frame *frame)
{
    intptr_t v;
    do
        v = frame->info->run(co, frame);
    while (CORO_CHECK && v == CORO__AGAIN);
    return coro__put_down(v);
}

static inline coro__ran coro__again(coro_task *co, intptr_t v)
{
    if (CORO_CHECK && v > CORO__SPECIAL) {
        co->result = v;
        v = CORO__AGAIN;
    }
    return coro__put_down(v);
}

#if CORO_LABELS_AS_VALUES
static inline unsigned coro__label_state(ptrdiff_t distance)
{
    int32_t d = (int32_t)distance;
    if (d < -0x7fff || d >= (int32_t)CORO__ENDED - 0x8000)
        coro__trap(NULL, 0, "CORO_LABELS_AS_VALUES: this coroutine has more than 32 KiB of code");
    return (unsigned)(d + 0x8000);
}

/* The distance at which to go on; 0: where the switch says. */
static inline ptrdiff_t coro__label_of(const coro_frame *frame)
{
    int32_t at = (int32_t)(frame->place & 0xffffu);
    return at == 0 || at >= (int32_t)CORO__ENDED ? 0 : (ptrdiff_t)(at - 0x8000);
}
#endif /* CORO_LABELS_AS_VALUES */

static inline bool coro__has_open(const coro_task *co, const coro_frame *frame)
{
    const coro_core *core = co->core.inner;
    return core != &co->core && ((const coro_scope *)(const void *)core)->frame == frame;
}

/* What outlives the step must not be a local variable of it. */
static inline void coro__no_local(const coro_task *co, const coro_frame *frame, const void *p,
                                  int line)
{
    if (CORO__UNLIKELY(coro_is_local(co, p)))
        coro__trap_local_at(frame->info, line);
}

/* CORO_CLOSE: what this frame has open inside of the group is closed with it. */
CORO__MUST_USE static inline coro_op coro__close(coro_task *co, coro_frame *frame,
                                                 coro_group *group)
{
    if (CORO__UNLIKELY(co->core.inner != &group->scope.core))
        coro__leave(co, frame);
    return coro_group_close(co, group, frame->err);
}

static inline void coro__timeout_open(coro_task *co, coro_frame *frame, coro_scope *scope,
                                      coro_time d, int line)
{
    coro__deadline_open(co, frame, scope, coro__from_now(co, d), line);
}

static inline coro__ran coro__end(coro_task *co, coro_frame *frame, intptr_t v)
{
    if (CORO__UNLIKELY(coro__has_open(co, frame)))
        return coro__put_down(coro__end_slow(co, frame, v));
    if (CORO_DEBUG)
        frame->place = CORO__ENDED | (frame->place & 0xffff0000u);
    return coro__put_down(coro__no_special(v));
}

CORO__MUST_USE static inline coro_op coro_sleep(coro_task *co, coro_time d)
{
    if (d > 0)
        return coro__sleep(co, d);
    if (CORO__UNLIKELY(coro_cancelled(co)))
        return coro_refuse(co);
    co->core.spent = CORO__GAVE_TURN;
    co->result = 0;
    return coro__op(CORO__TURN);
}

/* ================================================================================================
 * >>impl -- nothing from here on is needed to use the library.
 */
#if !defined CORO_SHARED || defined CORO_IMPLEMENTATION

#include <stdarg.h>
#if CORO_HOSTED
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>
#if !defined CLOCK_MONOTONIC || (defined __GLIBC__ && !defined __USE_XOPEN2K)
#error "coro.h: include it before any system header, or compile with -std=gnu11"
#endif /* !defined CLOCK_MONOTONIC || ... */
#endif /* CORO_HOSTED */

#define CORO__COLD_PRIVATE static CORO__COLD CORO__UNUSED
#define CORO__SLOW_PRIVATE static CORO__SLOW CORO__UNUSED

/* --- atomics -----------------------------------------------------------------------------------
 * Chips without compare-and-swap switch interrupts off for a moment.
 */
#if defined __AVR__
#include <avr/interrupt.h>
#define CORO__LOCKS 1
#define CORO__LOCK() uint8_t coro__state = SREG; cli()
#define CORO__UNLOCK() (SREG = coro__state)
#elif defined __ARM_ARCH_PROFILE && __ARM_ARCH_PROFILE == 'M' && !CORO_HOSTED
#define CORO__LOCKS 1
#define CORO__LOCK()                                                                              \
    uint32_t coro__state;                                                                         \
    __asm__ volatile("mrs %0, primask\n\tcpsid i" : "=r"(coro__state) : : "memory")
#define CORO__UNLOCK() __asm__ volatile("msr primask, %0" : : "r"(coro__state) : "memory")
#else
#define CORO__LOCKS 0
#endif /* defined __AVR__ */

#if CORO__LOCKS
#define CORO__LOAD(at) (*(at))
#define CORO__STORE(at, to) ((void)(*(at) = (to)))
#else
#define CORO__LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
#define CORO__STORE(at, to) __atomic_store_n((at), (to), __ATOMIC_SEQ_CST)
#endif /* CORO__LOCKS */

#define coro__set(at, to) CORO__STORE(at, to)

/* Set *at to `to` if it is `from`. */
static inline bool coro__swap_if(coro_post_node *volatile *at, coro_post_node *from,
                                 coro_post_node *to)
{
#if CORO__LOCKS
    bool same;
    CORO__LOCK();
    same = *at == from;
    if (same)
        *at = to;
    CORO__UNLOCK();
    return same;
#else
    return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
#endif /* CORO__LOCKS */
}

/* --- text --------------------------------------------------------------------------------------
 * Messages without printf, for chips and for signal handlers' sake. A line goes out at its end.
 */
typedef struct coro__text {
    const coro_sink *sink;
    size_t used;
    char buffer[120];
} coro__text;

static inline void coro__put(coro__text *t, char c)
{
    t->buffer[t->used++] = c;
    if (c == '\n' || t->used == sizeof t->buffer - 1) {
        t->buffer[t->used] = 0;
        t->sink->put(t->sink->arg, t->buffer);
        t->used = 0;
    }
}

static void coro__put_number(coro__text *t, coro__utime n, int digits)
{
    if (n > 9 || digits > 1)
        coro__put_number(t, n / 10, digits - 1);
    coro__put(t, (char)('0' + (int)(n % 10)));
}

/* %s: a string. %u: an unsigned. %t: a coro_time as a duration. %p: a place, which is a coro_info
 * and an unsigned line. %i: an int, the depth of an indentation. */
CORO__COLD_PRIVATE void coro__say(coro__text *t, const char *format, ...)
{
    const coro_info *info;
    const char *s;
    coro_time d;
    va_list args;
    va_start(args, format);
    for (; *format; format++) {
        switch (*format == '%' ? *++format : 0) {
        case 's':
            for (s = va_arg(args, const char *); *s; s++)
                coro__put(t, *s);
            break;
        case 'u':
            coro__put_number(t, va_arg(args, unsigned), 1);
            break;
        case 't':
            d = va_arg(args, coro_time) / (CORO_TICKS_PER_S < 1000 ? 1 : CORO_TICKS_PER_S / 1000);
            coro__put_number(t, (coro__utime)(d < 0 ? 0 : d) / 1000, 1);
            coro__put(t, '.');
            coro__put_number(t, (coro__utime)(d < 0 ? 0 : d) % 1000, 3);
            coro__say(t, " s");
            break;
        case 'p':
            info = va_arg(args, const coro_info *);
#if CORO_NAMES
            coro__say(t, "%s %s:%u", info->name, info->file, va_arg(args, unsigned));
#else
            coro__say(t, "line %u", info ? va_arg(args, unsigned) : 0);
#endif /* CORO_NAMES */
            break;
        case 'i': /* deep trees are not drawn deeper */
            for (int depth = va_arg(args, int), i = 0; i < depth && i < 40; i++)
                coro__say(t, "  ");
            break;
        default:
            coro__put(t, *format);
        }
    }
    va_end(args);
}

static inline void coro__to_stderr(void *arg, const char *text)
{
#if CORO_HOSTED
    fputs(text, stderr);
#endif /* CORO_HOSTED */
}

static inline const coro_sink *coro__stderr(void)
{
    static const coro_sink sink = {coro__to_stderr, NULL};
    return &sink;
}

CORO__COLD_PRIVATE void coro__print_trap(const char *file, unsigned line, const char *name,
                                         const char *text)
{
    coro__text t = {coro__stderr(), 0, ""};
    if (CORO_TEXTS)
        coro__say(&t, "%s:%u: %s: %s\n", file, line, name, text);
}

#ifndef CORO_TRAP
#define CORO_TRAP(file, line, name, text) coro__print_trap(file, line, name, text)
#endif /* !CORO_TRAP */

/* A mistake that cannot be survived: say where and what to do, and end. */
CORO__COLD_API void coro__trap_at(const char *file, unsigned line, const char *name,
                                  const char *text)
{
    CORO_TRAP(file, line, name, text);
    CORO__DEFAULT(abort(), __builtin_trap());
}

CORO__COLD_API void coro__trap(const coro_info *info, unsigned line, const char *text)
{
#if CORO_NAMES
    coro__trap_at(info ? info->file : "coro.h", line, info ? info->name : "coro", text);
#else
    coro__trap_at("", line, "", text);
#endif /* CORO_NAMES */
}

CORO__COLD_API void coro__trap_local_at(const coro_info *info, int line)
{
    coro__trap(info, (unsigned)line,
               CORO__T("an operation was given the address of a local variable, which will be gone "
                       "when it ends: make it a member of the frame"));
}

CORO__COLD_PRIVATE void coro__trap_local(const coro_task *co)
{
    coro__trap_local_at(co->leaf->info, (int)coro__line(co->leaf));
}

CORO_API coro_task *coro__not_alive(const coro_group *group, coro_task *task, const char *file,
                                    int line)
{
    const char *text = NULL;
    if (CORO_STACK_CHECK && group->loop && group->loop->running &&
        CORO__UNLIKELY(coro__on_stack(group->loop, task)))
        text = CORO__T("the task is a local variable: make it a member of the frame");
    else if (task->core.flags & CORO__OPEN)
        text = CORO__T("a task in this storage is alive; or the storage was not zeroed at first");
    if (CORO__UNLIKELY(text != NULL))
        coro__trap_at(file, (unsigned)line, "coro_start", text);
    return task;
}

/* A mistake that is answered with an error: CORO_DEBUG says it aloud. */
CORO__COLD_PRIVATE int coro__warn(const coro_task *co, const char *text, int error)
{
    coro__text t = {&co->loop->options.report, 0, ""};
    if (CORO_DEBUG)
        coro__say(&t, "%p: %s\n", co->leaf->info, coro__line(co->leaf), text);
    return error;
}

/* --- lists and time ------------------------------------------------------------------------ */

/* volatile: else gcc merges the stores to a vector, which the next loads would wait for. */
static inline void coro__list_init(coro_link *list)
{
    coro_link *volatile *next = &list->next;
    *next = list;
    list->prev = list;
}

/* In this order gcc does not merge the stores either. */
static inline void coro__insert_before(coro_link *at, coro_link *n)
{
    coro_link *prev = at->prev;
    n->prev = prev;
    prev->next = n;
    n->next = at;
    at->prev = n;
}

static inline void coro__unlink(coro_link *n)
{
    n->next->prev = n->prev;
    n->prev->next = n->next;
}

CORO_API bool coro_time_before(coro_time a, coro_time b)
{
#if CORO_TIME_BITS == 64
    return a < b;
#else
    if (a == CORO_FOREVER || b == CORO_FOREVER)
        return a != CORO_FOREVER;
    return coro_time_since(a, b) < 0;
#endif /* CORO_TIME_BITS == 64 */
}

/* No sum and no clock reading is CORO_FOREVER. */
CORO_API coro_time coro_time_after(coro_time now, coro_time d)
{
#if CORO_TIME_BITS == 64
    return d > CORO_FOREVER - (now > 0 ? now : 0) ? CORO_FOREVER : now + d;
#else
    coro__utime most = CORO_FOREVER / 2;
    coro_time sum = (coro_time)((coro__utime)now + ((coro__utime)d > most ? most : (coro__utime)d));
    if (d == CORO_FOREVER)
        return CORO_FOREVER;
    return sum == CORO_FOREVER ? INT32_MIN : sum;
#endif /* CORO_TIME_BITS == 64 */
}

static inline coro_time coro__read_clock(coro_loop *loop)
{
    if (!loop->virtual_clock)
        loop->now = loop->options.driver.now(loop->options.driver.arg);
#if CORO_TIME_BITS == 32
    loop->now -= loop->now == CORO_FOREVER;
#endif /* CORO_TIME_BITS == 32 */
    return loop->now;
}

static inline coro_task *coro__task_of(coro_core *core)
{
    return (coro_task *)(void *)((char *)core - offsetof(coro_task, core));
}

static inline coro_group *coro__group_of(const coro_task *task)
{
    return (coro_group *)(void *)task->core.outer;
}

/* --- timers ------------------------------------------------------------------------------------
 * A hierarchical wheel. Level l has slots of 2^(SHIFT + l*BITS) ticks; a timer is in the slot in
 * which its deadline first differs from loop->tick. When the tick enters a slot of a higher level,
 * its timers move down; those of the lowest level are sorted into the list `due`. Appending keeps
 * equal deadlines in start order all the way: both are in the same slot at any time.
 *
 *     arm --> fresh --sort--> due --> fire          (deadline within the present tick)
 *        `--> slots[n] --> ... --> slots[0] --sort--> due
 *
 * A slot's bit in `used` may be stale: dropping a timer does not look for its slot.
 */
static inline coro_timer *coro__timer_of(coro_link *l)
{
    return (coro_timer *)(void *)l;
}

#if CORO_WHEEL_BITS
static inline coro__utime coro__tick_of(coro_time when)
{
    return (coro__utime)when >> CORO_WHEEL_SHIFT;
}

static inline int coro__level_of(coro__utime differing)
{
    return (63 - __builtin_clzll((unsigned long long)differing)) / CORO_WHEEL_BITS;
}

static inline void coro__timer_place(coro_loop *loop, coro_timer *timer)
{
    coro__utime tick = coro__tick_of(timer->when);
    if (tick > loop->tick) {
        int level = coro__level_of(tick ^ loop->tick);
        unsigned slot = (unsigned)(tick >> (level * CORO_WHEEL_BITS)) & (CORO__SLOTS - 1);
        loop->used[level] |= (uint64_t)1 << slot;
        coro__insert_before(&loop->slots[level][slot], &timer->link);
        return;
    }
    coro__insert_before(&loop->fresh, &timer->link);
}
#else
/* One sorted list; of equal deadlines the older comes first. */
static inline void coro__timer_place(coro_loop *loop, coro_timer *timer)
{
    coro_link *at = loop->due.prev;
    while (at != &loop->due && coro_time_before(timer->when, coro__timer_of(at)->when))
        at = at->prev;
    coro__insert_before(at->next, &timer->link);
}
#endif /* CORO_WHEEL_BITS */

static inline void coro__timer_arm(coro_loop *loop, coro_core *core, coro_time when)
{
    core->timer.when = when;
    core->flags |= CORO__ARMED;
    if (!loop->timers++)
        loop->end = loop->head; /* the round did not reckon with timers */
    coro__timer_place(loop, &core->timer);
}

static inline void coro__timer_disarm(coro_loop *loop, coro_core *core)
{
    core->flags &= (uint16_t)~(CORO__ARMED | CORO__LIMIT);
    loop->timers--;
    coro__unlink(&core->timer.link);
}

#if CORO_WHEEL_BITS
/* Move all of `from` to the end of `to`. */
static inline void coro__splice(coro_link *to, coro_link *from)
{
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    coro__list_init(from);
}

/* Merge the sorted list at `from` into `into`; of equal ones, into's come first. */
static inline void coro__merge(coro_link *into, coro_link *from)
{
    coro_link *at = into->prev;
    while (from->prev != from) {
        coro_link *last = from->prev;
        while (at != into && coro_time_before(coro__timer_of(last)->when, coro__timer_of(at)->when))
            at = at->prev;
        coro__unlink(last);
        coro__insert_before(at->next, last);
    }
}

/* Sort a long list: bins of 1, 2, 4 ... sorted timers, the older ones in the larger. */
CORO__COLD_PRIVATE void coro__sort_many(coro_link *list)
{
    coro_link bins[32], *n;
    int used = 0, b;
    while ((n = list->next) != list) {
        coro_link run;
        coro__unlink(n);
        coro__list_init(&run);
        coro__insert_before(&run, n);
        for (b = 0; b < used && bins[b].next != &bins[b]; b++) {
            coro__merge(&bins[b], &run);
            coro__splice(&run, &bins[b]);
        }
        if (b == used)
            coro__list_init(&bins[used++]);
        coro__splice(&bins[b], &run);
    }
    while (used-- > 0)
        coro__merge(list, &bins[used]);
}

/* Move a list's timers into a sorted one; of equal ones, those that were there come first, then
 * those that were earlier in the list. */
static inline void coro__sort_into(coro_link *sorted, coro_link *list)
{
    coro_link *n, *next, *at;
    int left = 16;
    for (n = list->next; n != list; n = next) {
        coro_time when = coro__timer_of(n)->when;
        if (left-- == 0) {
            n->prev = list; /* the rest */
            list->next = n;
            coro__sort_many(list);
            coro__merge(sorted, list);
            return;
        }
        next = n->next;
        for (at = sorted->prev; at != sorted && coro_time_before(when, coro__timer_of(at)->when);)
            at = at->prev;
        coro__insert_before(at->next, n);
        /* a task that will soon run, and end: the first line of what that needs, and the last */
        CORO__PREFETCH((void *)((uintptr_t)n - offsetof(coro_task, core) +
                                offsetof(coro_task, sibling)));
        CORO__PREFETCH((void *)((uintptr_t)n + sizeof(coro_core) + sizeof(coro_frame)));
    }
    coro__list_init(list);
}

static inline void coro__settle(coro_loop *loop)
{
    if (loop->fresh.next != &loop->fresh)
        coro__sort_into(&loop->due, &loop->fresh);
}

/* The first slot at or after the tick that may hold timers: its level, or -1; *start: its first
 * tick. */
static inline int coro__next_slot(coro_loop *loop, coro__utime *start, unsigned *slot)
{
    for (int level = 0; level < CORO__LEVELS; level++) {
        int shift = level * CORO_WHEEL_BITS;
        unsigned here = (unsigned)(loop->tick >> shift) & (CORO__SLOTS - 1);
        uint64_t later = loop->used[level] & ~(((uint64_t)2 << here) - 1);
        while (later) {
            unsigned s = (unsigned)__builtin_ctzll(later);
            coro_link *list = &loop->slots[level][s];
            if (list->next != list) {
                coro__utime above = shift + CORO_WHEEL_BITS < CORO_TIME_BITS
                                        ? loop->tick >> (shift + CORO_WHEEL_BITS)
                                                            << (shift + CORO_WHEEL_BITS)
                                        : 0;
                *start = above | (coro__utime)s << shift;
                *slot = s;
                return level;
            }
            loop->used[level] &= ~((uint64_t)1 << s); /* a stale bit */
            later &= later - 1;
        }
    }
    return -1;
}

/* Distribute a slot's timers over the levels below. A second walk, from the other end, fetches them
 * into the cache: two chains of misses at a time instead of one. */
static inline void coro__cascade(coro_loop *loop, coro_link *slot)
{
    coro_link *at = slot->next, *back = slot->prev, *next;
    for (; at != slot; at = next) {
        next = at->next;
        back = back->prev;
        CORO__PREFETCH(back);
        coro__timer_place(loop, coro__timer_of(at));
    }
    coro__list_init(slot);
}

/* Bring every timer of the ticks up to `to` into due. */
static inline void coro__wheel_turn(coro_loop *loop, coro__utime to)
{
    coro__utime start;
    unsigned slot;
    while (loop->tick < to) {
        int level = coro__next_slot(loop, &start, &slot);
        if (level < 0 || start > to) {
            loop->tick = to;
            return;
        }
        loop->tick = start;
        loop->used[level] &= ~((uint64_t)1 << slot);
        if (level == 0) {
            coro__settle(loop); /* those are of earlier ticks */
            coro__sort_into(&loop->due, &loop->slots[0][slot]);
        } else {
            coro__cascade(loop, &loop->slots[level][slot]);
        }
    }
}
/* When the first timer in the slots fires, or a moment before: a crowd far away is not searched. */
static inline coro_time coro__wheel_next(coro_loop *loop)
{
    coro__utime start;
    unsigned slot = 0;
    int level = coro__next_slot(loop, &start, &slot), left = 16;
    coro_time first = CORO_FOREVER;
    coro_link *l;
    if (level < 0)
        return CORO_FOREVER;
    for (l = loop->slots[level][slot].next; l != &loop->slots[level][slot]; l = l->next) {
        if (level > 0 && left-- == 0)
            return (coro_time)(start << CORO_WHEEL_SHIFT);
        if (coro__timer_of(l)->when < first)
            first = coro__timer_of(l)->when;
    }
    return first;
}
#else
#define coro__settle(loop) ((void)0)
#define coro__wheel_next(loop) CORO_FOREVER
#endif /* CORO_WHEEL_BITS */

/* When the first timer fires, or a moment before that; CORO_FOREVER: there is none. */
static inline coro_time coro__next_deadline(coro_loop *loop)
{
    if (!loop->timers)
        return CORO_FOREVER;
    coro__settle(loop);
    return loop->due.next != &loop->due ? coro__timer_of(loop->due.next)->when
                                        : coro__wheel_next(loop);
}

static void coro__expire(coro_loop *loop, coro_core *core);

/* Fire all that is due at loop->now, before any task runs. */
static inline void coro__fire(coro_loop *loop)
{
    if (!loop->timers)
        return;
#if CORO_WHEEL_BITS
    if (coro__tick_of(loop->now) > loop->tick)
        coro__wheel_turn(loop, coro__tick_of(loop->now));
#endif /* CORO_WHEEL_BITS */
    for (;;) {
        coro_timer *first;
        coro_core *later;
        coro__settle(loop);
        first = coro__timer_of(loop->due.next);
        if (&first->link == &loop->due || coro_time_before(loop->now, first->when))
            return;
        later = (coro_core *)(void *)first->link.next->next;
        if (&later->timer.link != &loop->due && later->kind == CORO__TASK) {
            CORO__PREFETCH(coro__task_of(later)->sibling.next); /* when it ends, it leaves these */
            CORO__PREFETCH(coro__task_of(later)->sibling.prev);
        }
        coro__expire(loop, (coro_core *)(void *)first);
    }
}

/* --- the run queue -----------------------------------------------------------------------------
 * FIFO. A task is in it at most once, so room is reserved when it is spawned, and a wake-up cannot
 * fail. A ring of pointers lets the processor fetch many tasks at once; with a list through the
 * tasks the address of the next one would have to be fetched first.
 */
#if CORO_READY_RING
static inline void coro__ready(coro_loop *loop, coro_task *task)
{
    loop->ready[loop->tail++ & loop->mask] = task;
}

static inline coro_task *coro__ready_at(const coro_loop *loop, coro_count place)
{
    return loop->ready[place & loop->mask];
}

CORO__COLD_PRIVATE bool coro__grow(coro_loop *loop)
{
    uint32_t size = (loop->mask + 1) * 2, i;
    coro_task **bigger = (coro_task **)coro_loop_alloc(loop, size * sizeof *bigger);
    if (!bigger)
        return false;
    for (i = loop->head; i != loop->tail; i++)
        bigger[i & (size - 1)] = loop->ready[i & loop->mask];
    for (; i != loop->head + size; i++)
        bigger[i & (size - 1)] = NULL; /* prefetching may read it */
    if (loop->ready != loop->small && loop->ready != loop->options.ready)
        coro_loop_free(loop, loop->ready, (loop->mask + 1) * sizeof *bigger);
    loop->ready = bigger;
    loop->mask = size - 1;
    loop->fetch = size > 1024; /* fewer fit into the cache */
    return true;
}

static inline bool coro__has_place(const coro_loop *loop)
{
    return loop->alive <= loop->mask;
}

static inline bool coro__reserve(coro_loop *loop)
{
    if (CORO__UNLIKELY(!coro__has_place(loop)) && !coro__grow(loop))
        return false;
    loop->alive++;
    return true;
}

/* Swap a random one of the first n to the front. */
CORO__COLD_PRIVATE void coro__shuffle(coro_loop *loop, uint32_t n)
{
    coro_task **first = &loop->ready[loop->head & loop->mask], **other, *t = *first;
    loop->random = loop->random * 1664525u + 1013904223u;
    other =
        &loop->ready[(loop->head + (uint32_t)(((uint64_t)loop->random * n) >> 32)) & loop->mask];
    *first = *other;
    *other = t;
}
#else
static inline void coro__ready(coro_loop *loop, coro_task *task)
{
    if (loop->tail++ != loop->head)
        loop->last->wait.next = &task->wait;
    else
        loop->first = task;
    loop->last = task;
}

static inline coro_task *coro__ready_at(coro_loop *loop, coro_count head)
{
    coro_task *task = loop->first;
    if ((coro_count)(head + 1) != loop->tail)
        loop->first = coro__of_link(task->wait.next);
    return task;
}

static inline bool coro__has_place(const coro_loop *loop)
{
    (void)loop;
    return true;
}

static inline bool coro__reserve(coro_loop *loop)
{
    loop->alive++;
    return true;
}
#endif /* CORO_READY_RING */

static inline coro_count coro__ready_count(const coro_loop *loop)
{
    return (coro_count)(loop->tail - loop->head);
}

/* --- memory ------------------------------------------------------------------------------------
 * Sizes are rounded up to grains. A freed piece goes to the list of its size; new ones are cut from
 * a slab. What is larger than the largest class comes from the allocator itself, or, in an arena,
 * from a list that is searched.
 */
typedef struct coro__piece {
    struct coro__piece *next;
    size_t size;
} coro__piece;

/* The list for pieces of a size, if there is one. */
static inline size_t coro__class(size_t size)
{
    return (size - 1) / CORO_GRAIN;
}

static inline bool coro__has_list(size_t c)
{
    return c + 1 <= CORO_CLASSES; /* no `c < 0`, of which gcc would warn */
}

static inline size_t coro__round(size_t size)
{
    return (size + CORO_GRAIN - 1) / CORO_GRAIN * CORO_GRAIN; /* a grain holds a coro__piece */
}

static inline void *coro__take(coro_loop *loop, size_t size)
{
    void *memory = loop->options.allocator.alloc
                       ? loop->options.allocator.alloc(loop->options.allocator.arg, size)
                       : NULL;
    if (memory)
        loop->memory += size;
    return memory;
}

static inline void coro__give(coro_loop *loop, void *memory, size_t size)
{
    loop->memory -= size;
    loop->options.allocator.free(loop->options.allocator.arg, memory, size);
}

/* Cut from the slab; a new one, when it is used up. */
CORO__COLD_PRIVATE void *coro__cut_new(coro_loop *loop, size_t size)
{
    size_t head = coro__round(sizeof(coro__piece));
    size_t want = loop->slab_size > size + head ? loop->slab_size : size + head;
    coro__piece *slab;
    if (loop->arena)
        return NULL;
    slab = (coro__piece *)coro__take(loop, want);
    if (!slab)
        return NULL;
    slab->next = (coro__piece *)loop->slabs;
    slab->size = want;
    loop->slabs = slab;
    loop->slab = (char *)slab + head + size;
    loop->slab_end = (char *)slab + want;
    if (loop->slab_size < 32768)
        loop->slab_size *= 2;
    return (char *)slab + head;
}

static inline void *coro__cut(coro_loop *loop, size_t size)
{
    char *memory = loop->slab;
    if ((size_t)(loop->slab_end - memory) < size)
        return coro__cut_new(loop, size);
    loop->slab = memory + size;
    if (loop->arena)
        loop->memory += size;
    return memory;
}

/* Larger than the classes: in an arena, a piece of the same size that was freed. */
CORO__COLD_PRIVATE void *coro__large(coro_loop *loop, size_t size)
{
    coro__piece **at = (coro__piece **)(void *)&loop->free[CORO_CLASSES], *p;
    if (!loop->arena)
        return coro__take(loop, size);
    for (; (p = *at) != NULL; at = &p->next)
        if (p->size == size) {
            *at = p->next;
            return p;
        }
    return coro__cut(loop, size);
}

/* A piece of a class; null: a new slab must be made for it. */
static inline void *coro__pop_free(coro_loop *loop, size_t c)
{
    coro__piece *piece = (coro__piece *)loop->free[c];
    size_t size = (c + 1) * CORO_GRAIN;
    if (piece)
        loop->free[c] = piece->next;
    else if ((size_t)(loop->slab_end - loop->slab) >= size)
        piece = (coro__piece *)coro__cut(loop, size);
    return piece;
}

CORO_API void *coro_loop_alloc(coro_loop *loop, size_t size)
{
    size_t c = coro__class(size);
    void *memory;
    if (!coro__has_list(c))
        return coro__large(loop, coro__round(size));
    memory = coro__pop_free(loop, c);
    return memory ? memory : coro__cut_new(loop, coro__round(size));
}

static inline void coro__push_free(coro_loop *loop, void *memory, size_t c)
{
    coro__piece *piece = (coro__piece *)memory;
    piece->next = (coro__piece *)loop->free[c];
    loop->free[c] = piece;
}

CORO_API void coro_loop_free(coro_loop *loop, void *memory, size_t size)
{
    size_t c = coro__class(size);
    if (coro__has_list(c)) {
        coro__push_free(loop, memory, c);
    } else if (loop->arena) {
        ((coro__piece *)memory)->size = coro__round(size);
        coro__push_free(loop, memory, CORO_CLASSES);
    } else {
        coro__give(loop, memory, coro__round(size));
    }
}

/* --- what the loop has to say -------------------------------------------------------------- */

/* "coro: task 3 worker <what>, at worker main.c:12" */
CORO__COLD_PRIVATE void coro__report(coro_loop *loop, const coro_task *task, const char *what)
{
    coro__text t = {&loop->options.report, 0, ""};
    if (CORO_TEXTS && task)
        coro__say(&t, "coro: task %u %s%s, at %p\n", (unsigned)task->core.index,
                  coro__task_name(task), what, task->leaf->info, coro__line(task->leaf));
    else if (CORO_TEXTS)
        coro__say(&t, "coro: %s\n", what);
}

CORO__COLD_PRIVATE void coro__slow_step(coro_loop *loop, const coro_info *info, unsigned line,
                                        coro_time took)
{
    coro__text t = {&loop->options.report, 0, ""};
    if (CORO_TEXTS)
        coro__say(&t, "coro: a step took %t, from %p: nothing else ran meanwhile\n", took, info,
                  line);
}

CORO__COLD_API void coro_report(const coro_task *task, const char *text)
{
    coro__report(task->loop, task, text);
}

/* An error that no caller and no group will see. */
CORO__COLD_PRIVATE void coro__unseen(coro_loop *loop, coro_task *task, int error)
{
    if (!loop->options.on_error || loop->telling)
        return; /* what fails in the hook is not told to it */
    loop->telling = true;
    loop->options.on_error(loop->options.arg, task, error);
    loop->telling = false;
}

/* --- waiting -----------------------------------------------------------------------------------
 *
 *              coro_suspend                     coro_complete
 *     runs ---------------------> waits in q ------------------> ready --> runs
 *       |                            |  cancelled, or its limit is over
 *       |                            `---- ops.abort: done / later / never
 *       `---- CORO__TURN ------------------------------------> ready
 */
static inline void coro__ring_append(coro_task **head, coro_task *task)
{
    if (!*head) {
        *head = task;
        coro__list_init(&task->wait);
    } else {
        coro__insert_before(&(*head)->wait, &task->wait);
    }
}

static inline void coro__ring_remove(coro_task **head, coro_task *task)
{
    coro_task *next = coro__of_link(task->wait.next);
    if (next == task) {
        *head = NULL; /* alone, its own links do not matter any more */
        return;
    }
    if (*head == task)
        *head = next;
    coro__unlink(&task->wait);
}

/* A wait that is no queue: the task is found by other means. The tables are constants. */
#define CORO__WAITS(name, what, abort)                                                            \
    static inline const coro_waitq *coro__waits_##name(void)                                      \
    {                                                                                             \
        static const coro_ops ops = {what, abort, NULL};                                          \
        static const coro_waitq queue = {NULL, &ops};                                             \
        return &queue;                                                                            \
    }

static inline void coro__event(coro_loop *loop, coro_trace event, coro_task *task)
{
    if (CORO__UNLIKELY(loop->watched) && loop->options.on_event)
        loop->options.on_event(loop->options.arg, event, task);
}

/* The budget is spent; or this is the first await after coro_sleep(co, 0), and it begins. */
CORO__SLOW_API intptr_t coro__spent(coro_task *co, intptr_t result)
{
    bool begins = co->core.spent == CORO__GAVE_TURN + 1;
    co->core.spent = co->loop->unspent;
    if (begins)
        return result;
    co->result = result;
    return CORO__TURN_AND_LOOK;
}

/* End a wait, the queue aside. */
static inline void coro__wake(coro_task *task, intptr_t result)
{
    if (CORO__UNLIKELY(task->core.flags & (CORO__ARMED | CORO__ABORTING))) {
        if (task->core.flags & CORO__ARMED)
            coro__timer_disarm(task->loop, &task->core);
        task->core.flags &= (uint16_t)~CORO__ABORTING;
    }
    task->waiting = NULL;
    task->result = result;
    coro__ready(task->loop, task);
}

/* Queues are the user's and may change; only the constants of CORO__WAITS must not, and have no
 * head. */
static inline coro_waitq *coro__queue_of(const coro_task *task)
{
    return (coro_waitq *)(uintptr_t)task->waiting;
}

CORO_API bool coro_complete(coro_task *task, intptr_t result)
{
    if (!task->waiting)
        return false;
    if (task->waiting->head)
        coro__ring_remove(&coro__queue_of(task)->head, task);
    coro__wake(task, result);
    return true;
}

static inline coro_op coro__suspend_aside(coro_task *co, const coro_waitq *waits, intptr_t word)
{
    co->waiting = waits;
    co->result = word;
    co->core.spent = co->loop->unspent;
    if (CORO__UNLIKELY(co->core.flags & CORO__IGNORING))
        co->core.flags &= (uint16_t)~CORO__IGNORING;
    co->core.timer.when = co->loop->now; /* for dumps: since when */
    return coro__op(CORO__PENDING);
}

CORO_API coro_op coro_suspend(coro_task *co, coro_waitq *queue, const coro_ops *ops, intptr_t word)
{
    queue->ops = ops;
    coro__ring_append(&queue->head, co);
    return coro__suspend_aside(co, queue, word);
}

CORO_API void coro_move(coro_task *task, coro_waitq *queue, const coro_ops *ops, intptr_t word)
{
    coro__ring_remove(&coro__queue_of(task)->head, task);
    queue->ops = ops;
    coro__ring_append(&queue->head, task);
    task->waiting = queue;
    task->result = word;
}

/* The wait is to end with this error, if the operation lets it. */
static inline void coro__abort(coro_task *task, int error)
{
    coro_waitq *queue = coro__queue_of(task);
    const coro_ops *ops = queue->ops;
    coro_abort how = CORO_ABORT_DONE;
    if (task->core.flags & CORO__ABORTING)
        return;
    if (ops->abort)
        how = ops->abort(task, queue);
    if (how == CORO_ABORT_DONE) {
        (void)coro_complete(task, error);
        if (ops->gone)
            ops->gone(task, queue);
    } else if (task->waiting) { /* the hook has not ended it */
        task->core.flags |= CORO__ABORTING;
    }
}

/* An await of a cancelled task was refused. Others run first: ignoring it starves nobody. */
static inline void coro__refused(coro_task *task)
{
    task->result = -ECANCELED;
    task->core.spent = task->loop->unspent;
    if (!(task->core.flags & CORO__IGNORING)) {
        task->core.flags |= CORO__IGNORING;
        task->core.timer.when = 0;
    }
    if (++task->core.timer.when == 1000)
        coro__report(task->loop, task,
                     CORO__T(" ignores its cancellation: 1000 awaits have failed in a row"));
}

static inline coro_abort coro__abort_never(coro_task *task, coro_waitq *queue)
{
    (void)task;
    (void)queue;
    return CORO_ABORT_NEVER;
}

CORO__WAITS(sleep, CORO__T("sleep"), NULL)

CORO_API coro_op coro__sleep(coro_task *co, coro_time d)
{
    coro_time when;
    if (coro_cancelled(co))
        return coro_refuse(co);
    (void)coro__suspend_aside(co, coro__waits_sleep(), 0);
    when = coro_time_after(coro__read_clock(co->loop), d);
    if (when != CORO_FOREVER)
        coro__timer_arm(co->loop, &co->core, when);
    return coro__op(CORO__PENDING);
}

CORO_API coro_op coro_sleep_until(coro_task *co, coro_time t)
{
    if (t == CORO_FOREVER || !coro_time_before(coro__read_clock(co->loop), t))
        return coro_sleep(co, t == CORO_FOREVER ? CORO_FOREVER : 0);
    if (coro_cancelled(co))
        return coro_refuse(co);
    (void)coro__suspend_aside(co, coro__waits_sleep(), 0);
    coro__timer_arm(co->loop, &co->core, t);
    return coro__op(CORO__PENDING);
}

CORO_API void coro_alarm(coro_task *task, coro_time t)
{
    if (t == CORO_FOREVER || !task->waiting)
        return;
    if (task->core.flags & CORO__ARMED) {
        if (!coro_time_before(t, task->core.timer.when))
            return; /* a sleep, or another limit, that ends sooner */
        coro__timer_disarm(task->loop, &task->core);
    }
    coro__timer_arm(task->loop, &task->core, t);
    task->core.flags |= CORO__LIMIT;
}

CORO_API coro_op coro_within(coro_task *co, coro_time d,
                             coro_op op_for_a_call_there_is_coro_call_within)
{
    coro_op op = op_for_a_call_there_is_coro_call_within;
    if (op.value != CORO__PENDING || d == CORO_FOREVER || !co->waiting)
        return op;
    if (d <= 0) {
        /* It has had its one try. An operation that cannot be undone goes on. */
        coro__abort(co, -ETIMEDOUT);
        return op;
    }
    coro_alarm(co, coro_time_after(coro__read_clock(co->loop), d));
    return op;
}

CORO_API coro_time coro_now(coro_task *co)
{
    return coro__read_clock(co->loop);
}

/* --- cancellation ------------------------------------------------------------------------------
 * EFFECTIVE is kept, not computed: each core's is REQUESTED || (!SHIELD && outer's EFFECTIVE), and
 * each task has a copy of its innermost scope's, CANCELLED, the one bit that operations test. When
 * a flag changes, the tree below is walked in preorder (a group's children, then the next scope
 * in), back through `outer` and the sibling ring, and pruned where nothing changes: no recursion,
 * no memory, and every edge once.
 */
/* Is cancellation coming in from further out? */
static inline bool coro__from_outside(const coro_core *core)
{
    return !(core->flags & CORO__SHIELD) && core->outer && (core->outer->flags & CORO__EFFECTIVE);
}

static inline bool coro__update(coro_core *core)
{
    bool effective = (core->flags & CORO__REQUESTED) || coro__from_outside(core);
    if (effective == ((core->flags & CORO__EFFECTIVE) != 0))
        return false;
    core->flags ^= CORO__EFFECTIVE;
    return true;
}

/* Copy the innermost scope's state to the task; if it is cancelled, end what it waits for. */
static inline void coro__touch(coro_task *task)
{
    bool cancelled = (task->core.inner->flags & CORO__EFFECTIVE) != 0;
    if (cancelled == coro_cancelled(task))
        return;
    task->core.flags ^= CORO__CANCELLED;
    if (!cancelled) {
        task->core.flags &= (uint16_t)~CORO__IGNORING;
        return;
    }
    coro__event(task->loop, CORO_EVENT_CANCEL, task);
    if (task->waiting)
        coro__abort(task, -ECANCELED);
    else if (task->core.spent == CORO__GAVE_TURN)
        task->result = -ECANCELED; /* of coro_sleep(co, 0), which has done nothing yet */
}

/* The task in whose chain a core is; null: the root group. */
static inline coro_task *coro__owner(coro_core *core)
{
    return core->kind == CORO__TASK ? coro__task_of(core) : ((coro_scope *)(void *)core)->task;
}

/* The next core inside this one in its task's chain; null: this is the innermost. */
static inline coro_core *coro__inward(coro_core *core)
{
    coro_core *first = core->inner;
    coro_task *task = coro__owner(core);
    if (!task || task->core.inner == core)
        return NULL;
    while (core->kind == CORO__TASK && first->outer != core)
        first = first->outer;
    return first;
}

static inline coro_task *coro__of_sibling(coro_link *sibling)
{
    return (coro_task *)(void *)((char *)sibling - offsetof(coro_task, sibling));
}

static inline coro_task *coro__next_sibling(const coro_task *task)
{
    coro_link *next = task->sibling.next;
    return next == &coro__group_of(task)->children ? NULL : coro__of_sibling(next);
}

static inline coro_core *coro__first_child(coro_core *core)
{
    coro_link *children = &((coro_group *)(void *)core)->children;
    return core->kind == CORO__GROUP && children->next != children
               ? &coro__of_sibling(children->next)->core
               : NULL;
}

/* The next core in preorder of the tree of groups and tasks; *depth follows. Null: that was all. */
static inline coro_core *coro__walk(coro_core *core, int *depth)
{
    coro_core *inward;
    coro_task *task;
    if (coro__first_child(core)) {
        (*depth)++;
        return coro__first_child(core);
    }
    for (;;) {
        inward = coro__inward(core);
        if (inward) {
            *depth += core->kind == CORO__TASK;
            return inward;
        }
        *depth -= core->kind != CORO__TASK;
        task = coro__owner(core);
        if (!task)
            return NULL;
        if (coro__next_sibling(task))
            return &coro__next_sibling(task)->core;
        core = task->core.outer;
        (*depth)--;
    }
}

/* core's flags have changed: bring everything below up to date. */
static inline void coro__refresh(coro_core *start)
{
    coro_task *home = coro__owner(start); /* the walk ends where its chain ends */
    coro_core *core = start, *inward;
    coro_task *task;
    for (;;) {
        if (coro__update(core)) {
            if (coro__first_child(core)) {
                core = coro__first_child(core);
                continue;
            }
        inside:
            inward = coro__inward(core);
            if (inward) {
                core = inward;
                continue;
            }
            task = coro__owner(core);
            if (!task)
                return; /* the root group has no chain */
            coro__touch(task);
        }
        /* This chain is done: on to the next child, or to what is inside the group they are in. */
        task = coro__owner(core);
        if (task == home)
            return;
        if (coro__next_sibling(task)) {
            core = &coro__next_sibling(task)->core;
            continue;
        }
        core = task->core.outer;
        goto inside;
    }
}

/* Cancel a core; false: it was cancelled before, and the first cause stays. */
static inline bool coro__request(coro_core *core, bool expired)
{
    if (core->flags & CORO__REQUESTED)
        return false;
    core->flags |= CORO__REQUESTED;
    if (expired)
        core->flags |= CORO__EXPIRED;
    if (core->flags & CORO__OPEN) /* else it takes effect when it is opened */
        coro__refresh(core);
    return true;
}

/* A timer has fired. */
static void coro__expire(coro_loop *loop, coro_core *core)
{
    bool limit = (core->flags & CORO__LIMIT) != 0;
    coro__timer_disarm(loop, core);
    if (core->kind != CORO__TASK)
        (void)coro__request(core, true);
    else if (limit)
        coro__abort(coro__task_of(core), -ETIMEDOUT);
    else
        (void)coro_complete(coro__task_of(core), 0);
}

CORO_API int coro__task_cancel(coro_task *task)
{
    if (!(task->core.flags & CORO__OPEN))
        return 0;
    return coro__request(&task->core, false);
}

CORO_API int coro_scope_cancel(coro_scope *scope)
{
    return coro__request(&scope->core, false);
}

CORO_API int coro_group_cancel(coro_group *group)
{
    return coro__request(&group->scope.core, false);
}

/* --- scopes ------------------------------------------------------------------------------------
 * A task's open scopes, groups, running generators and context values are one chain:
 *
 *     task <--outer-- outermost <--outer-- ... <--outer-- innermost        task.inner -> innermost
 *                     outermost --inner--> ... --inner--> innermost        none: -> the task's core
 */
static inline void coro__chain_push(coro_task *co, coro_core *core)
{
    core->outer = co->core.inner;
    co->core.inner->inner = core;
    co->core.inner = core;
}

/* Take out one that is not the innermost. */
CORO__COLD_PRIVATE void coro__chain_unlink(coro_task *co, coro_core *core)
{
    core->inner->outer = core->outer;
    if (core->outer != &co->core)
        core->outer->inner = core->inner;
    coro__refresh(core->inner);
}

static inline void coro__chain_remove(coro_task *co, coro_core *core)
{
    if (CORO__UNLIKELY(co->core.inner != core)) {
        coro__chain_unlink(co, core);
        return;
    }
    co->core.inner = core->outer;
    coro__touch(co);
}

static inline void coro__scope_enter(coro_task *co, coro_frame *frame, coro_scope *scope, int kind,
                                     int line)
{
    coro_core *core = &scope->core;
    coro__no_local(co, frame, scope, line);
    core->kind = (uint8_t)kind;
    core->spent = 0; /* not used: one store for all */
    core->flags = CORO__OPEN;
    core->index = (coro_count)line;
    scope->frame = frame;
    scope->task = co;
    coro__chain_push(co, core);
}

/* What was asked for before the scope was opened: cancelled, a shield, a deadline in timer.when; or
 * it is open, which is a mistake. */
#define CORO__PRESETS (CORO__REQUESTED | CORO__SHIELD | CORO__DEADLINE | CORO__OPEN)

CORO__COLD_PRIVATE void coro__scope_preset(coro_task *co, coro_core *core, uint16_t preset)
{
    if (preset & CORO__OPEN)
        coro__trap(((coro_scope *)(void *)core)->frame->info, (unsigned)core->index,
                   CORO__T("this scope or group is open already: close it first"));
    core->flags |= preset;
    if (preset & CORO__DEADLINE) {
        if (!coro_time_before(coro__read_clock(co->loop), core->timer.when))
            core->flags |= CORO__REQUESTED | CORO__EXPIRED;
        else if (core->timer.when != CORO_FOREVER)
            coro__timer_arm(co->loop, core, core->timer.when);
    }
    (void)coro__update(core);
    coro__touch(co);
}

CORO_API void coro__scope_open(coro_task *co, coro_frame *frame, coro_scope *scope, int kind,
                               int line)
{
    uint16_t preset = scope->core.flags & CORO__PRESETS;
    coro__scope_enter(co, frame, scope, kind, line);
    if (CORO__UNLIKELY(preset || coro_cancelled(co)))
        coro__scope_preset(co, &scope->core, preset);
}

CORO_API coro_time coro__from_now(coro_task *co, coro_time d)
{
    coro_time now = coro__read_clock(co->loop);
    return d <= 0 ? now : coro_time_after(now, d);
}

CORO_API void coro__deadline_open(coro_task *co, coro_frame *frame, coro_scope *scope,
                                  coro_time when, int line)
{
    uint16_t preset = (scope->core.flags & CORO__PRESETS) | CORO__DEADLINE;
    coro__scope_enter(co, frame, scope, CORO__SCOPE, line);
    scope->core.timer.when = when;
    if (preset == CORO__DEADLINE && !coro_cancelled(co) && when != CORO_FOREVER &&
        coro_time_before(co->loop->now, when)) {
        scope->core.flags |= CORO__DEADLINE;
        coro__timer_arm(co->loop, &scope->core, when);
    } else {
        coro__scope_preset(co, &scope->core, preset);
    }
}

CORO_API void coro__shield_open(coro_task *co, coro_frame *frame, coro_scope *scope, coro_time d,
                                int line)
{
    if (!(scope->core.flags & CORO__OPEN)) /* else the open traps */
        scope->core.flags |= CORO__SHIELD;
    coro__timeout_open(co, frame, scope, d, line);
}

/* Close the innermost scope if nothing has happened to it. */
static inline bool coro__scope_pop(coro_task *co, coro_scope *scope)
{
    coro_core *core = &scope->core;
    uint16_t flags = core->flags;
    if (co->core.inner != core || (flags & (CORO__REQUESTED | CORO__SHIELD)))
        return false;
    if (flags & CORO__ARMED)
        coro__timer_disarm(co->loop, core);
    co->core.inner = core->outer;
    core->flags = 0;
    return true;
}

/* Take a scope out of its chain; what it was stays readable until it is opened again. */
static inline void coro__scope_remove(coro_task *co, coro_scope *scope, bool caught)
{
    coro_core *core = &scope->core;
    uint16_t flags = core->flags;
    if (flags & CORO__ARMED)
        coro__timer_disarm(co->loop, core);
    coro__chain_remove(co, core);
    core->flags = (uint16_t)((flags & CORO__EXPIRED) | (flags & CORO__REQUESTED) * CORO__TO_WAS |
                             (caught ? CORO__CAUGHT : 0));
}

/* Close a scope that is in co's chain. The outermost cancelled scope is the one that catches. */
static inline intptr_t coro__scope_verdict(coro_task *co, coro_scope *scope, intptr_t rc)
{
    uint16_t flags = scope->core.flags;
    bool caught = rc == -ECANCELED && (flags & CORO__REQUESTED) &&
                  !coro__from_outside(&scope->core);
    coro__scope_remove(co, scope, caught);
    if (!caught)
        return rc;
    return flags & CORO__EXPIRED ? -ETIMEDOUT : 0;
}

/* Is everything inside this core only context values? Those may stay. */
static inline bool coro__is_innermost(const coro_task *co, const coro_core *core)
{
    const coro_core *c = co->core.inner;
    while (c != core && c->kind == CORO__CONTEXT)
        c = c->outer;
    return c == core;
}

/* May co close this? 0, or an error. */
static inline int coro__may_close(coro_task *co, coro_scope *scope)
{
    if (scope->task != co)
        return coro__warn(co, CORO__T("closes a scope or group of another task's"), -EPERM);
    if (!coro__is_innermost(co, &scope->core))
        return coro__warn(co, CORO__T("closes a scope or group while one inside it is open"),
                          -EBUSY);
    return 0;
}

CORO__COLD_PRIVATE int coro__scope_close_slow(coro_task *co, coro_scope *scope, int rc)
{
    int e;
    if (!(scope->core.flags & CORO__OPEN)) {
        scope->core.flags &= CORO__EXPIRED | CORO__WAS | CORO__CAUGHT; /* presets are void */
        return rc;
    }
    if (scope->core.kind != CORO__SCOPE && scope->core.kind != CORO__CONTEXT)
        return coro__warn(
            co, CORO__T("closes a group as a scope: coro_group_close waits for its tasks"), -EBUSY);
    e = coro__may_close(co, scope);
    return e ? e : (int)coro__scope_verdict(co, scope, rc);
}

CORO_API int coro_scope_close(coro_task *co, coro_scope *scope, int rc)
{
    if (CORO__UNLIKELY(scope->core.kind != CORO__SCOPE) || !coro__scope_pop(co, scope))
        return coro__scope_close_slow(co, scope, rc);
    return rc;
}

CORO_API int coro_scope_deadline(coro_scope *scope, coro_time t)
{
    coro_core *core = &scope->core;
    if (core->flags & CORO__REQUESTED)
        return -EALREADY;
    if (core->flags & CORO__ARMED)
        coro__timer_disarm(scope->task->loop, core);
    core->timer.when = t;
    core->flags |= CORO__DEADLINE;
    if (!(core->flags & CORO__OPEN))
        return 0;
    if (t == CORO_FOREVER)
        core->flags &= (uint16_t)~CORO__DEADLINE;
    else if (coro_time_before(coro__read_clock(scope->task->loop), t))
        coro__timer_arm(scope->task->loop, core, t);
    else
        (void)coro__request(core, true);
    return 0;
}

CORO_API void coro_scope_shield(coro_scope *scope, bool on)
{
    coro_core *core = &scope->core;
    if (on == ((core->flags & CORO__SHIELD) != 0))
        return;
    core->flags ^= CORO__SHIELD;
    if (core->flags & CORO__OPEN)
        coro__refresh(core);
}

CORO_API coro_time coro_deadline(const coro_task *co)
{
    coro_time first = CORO_FOREVER;
    if (coro_cancelled(co))
        return CORO_TIME_BITS == 64 ? -CORO_FOREVER : co->loop->now;
    for (const coro_core *core = co->core.inner; core; core = core->outer) {
        if (core->kind != CORO__TASK && (core->flags & CORO__DEADLINE) &&
            coro_time_before(core->timer.when, first))
            first = core->timer.when;
        if (core->flags & CORO__SHIELD)
            break;
    }
    return first;
}

/* --- context ------------------------------------------------------------------------------- */

CORO_API void coro__context_set(coro_task *co, coro_frame *frame, coro_context *node,
                                const void *key, void *value, int line)
{
    if (!(node->scope.core.flags & CORO__OPEN) || node->scope.frame != frame) /* else: change it */
        coro__scope_open(co, frame, &node->scope, CORO__CONTEXT, line);
    node->key = key;
    node->value = value;
}

CORO_API void *coro_context_get(const coro_task *co, const void *key)
{
    for (const coro_core *core = co->core.inner; core; core = core->outer)
        if (core->kind == CORO__CONTEXT && ((const coro_context *)(const void *)core)->key == key)
            return ((const coro_context *)(const void *)core)->value;
    return NULL;
}

/* --- generators --------------------------------------------------------------------------------
 * A generator runs on its consumer's task, as a call does. While it runs, its core is in the
 * consumer's chain, and everything that it opens is inside; a yield takes it out again.
 *
 *     open      next            CORO_YIELD
 *     ----> FRESH ----> RUNNING -----------> YIELDED --close--> CLOSING
 *                        |  ^                  |                   |
 *                        |  `------next--------'                   |
 *                        `---CORO_END---> CLOSED <----CORO_END-----'
 */
CORO_API void coro__gen_open(coro_gen *gen, coro_frame *frame, const char *file, int line)
{
    if (gen->state != CORO__GEN_CLOSED && gen->state != CORO__GEN_FRESH)
        coro__trap_at(file, (unsigned)line, "coro_gen_open",
                      CORO__T("this generator is open already: coro_gen_close it first"));
    gen->state = CORO__GEN_FRESH;
    gen->scope.frame = frame;
    gen->scope.core.flags = 0;
}

static inline void coro__gen_remove(coro_task *co, coro_gen *gen, int state)
{
    coro__scope_remove(co, &gen->scope, false);
    gen->state = (uint8_t)state;
}

static intptr_t coro__gen_ended(coro_task *co, coro_gen *gen, intptr_t v)
{
    if (gen->state == CORO__GEN_CLOSING && v == -EPIPE)
        v = 0; /* what coro_gen_close told it */
    co->loop->generators--;
    coro__gen_remove(co, gen, CORO__GEN_CLOSED);
    return v < 0 ? v : 0;
}

/* Run it to its next CORO_YIELD; or, to close it, to its end. */
CORO_API coro__ran coro__gen_run(coro_task *co, coro_frame *from, coro_gen *gen, int state,
                                 int line)
{
    coro_frame *frame = gen->scope.frame;
    if (gen->state == CORO__GEN_FRESH && state == CORO__GEN_CLOSING)
        gen->state = CORO__GEN_CLOSED;
    if (gen->state == CORO__GEN_CLOSED)
        return coro__put_down(0);
    if (gen->state != CORO__GEN_FRESH && gen->state != CORO__GEN_YIELDED)
        return coro__put_down(-EBUSY);
    co->loop->generators += gen->state == CORO__GEN_FRESH;
    coro__no_local(co, from, gen, line);
    gen->state = (uint8_t)state;
    coro__scope_open(co, frame, &gen->scope, CORO__GENERATOR, line);
    frame->caller = from;
    co->result = state == CORO__GEN_CLOSING ? -EPIPE : 0; /* what its CORO_YIELD gives */
    return coro__enter(co, frame);
}

/* 0: put the frame down and hand the item over; else CORO_YIELD fails. */
CORO_API int coro__yield(coro_task *co, coro_frame *frame)
{
    coro_core *core = co->core.inner;
    for (; core != &co->core; core = core->outer) {
        if (core->kind != CORO__GENERATOR || ((coro_scope *)(void *)core)->frame != frame)
            continue;
        if (core != co->core.inner)
            coro__trap(frame->info, coro__line(frame),
                       CORO__T("CORO_YIELD with a scope, group or context open: close it before, "
                               "open it after"));
        if (((coro_gen *)(void *)core)->state == CORO__GEN_CLOSING)
            return -EPIPE;
        coro__gen_remove(co, (coro_gen *)(void *)core, CORO__GEN_YIELDED);
        return 0;
    }
    return coro__warn(co, CORO__T("CORO_YIELD outside a generator's own body"), -EPERM);
}

/* --- leaving a frame ----------------------------------------------------------------------- */

/* On the way to FINALLY: close the frame's scopes, down to its innermost open group. */
CORO__COLD_API void coro__leave(coro_task *co, coro_frame *frame)
{
    coro_core *core = co->core.inner;
    while (core != &co->core && ((coro_scope *)(void *)core)->frame == frame) {
        coro_core *outer = core->outer;
        if (core->kind == CORO__GROUP || core->kind == CORO__GENERATOR)
            return;
        if (core->kind == CORO__SCOPE)
            frame->err = (int)coro__scope_verdict(co, (coro_scope *)(void *)core, frame->err);
        core = outer;
    }
}

/* Is this a generator's frame that is being closed? Then its -EPIPE is no error of its own. */
static inline bool coro__is_closing(const coro_task *co, const coro_frame *frame)
{
    const coro_core *core = co->core.inner;
    return core->kind == CORO__GENERATOR && coro__has_open(co, frame) && frame->err == -EPIPE &&
           ((const coro_gen *)(const void *)core)->state == CORO__GEN_CLOSING;
}

/* The one way out. The function is entered anew at FINALLY or END, so that no other path of its
 * pays for what must be kept in registers here. */
CORO__COLD_API intptr_t coro__exit(coro_task *co, coro_frame *frame, intptr_t e, bool in_finally)
{
    if (!in_finally || !frame->err || coro__is_closing(co, frame))
        frame->err = (int)coro__no_special(e);
    coro__leave(co, frame);
    frame->place = (frame->place & 0xffff0000u) | (in_finally ? CORO__AT_END : CORO__AT_FINALLY);
    return frame->info->run(co, frame);
}

CORO__COLD_API intptr_t coro__no_label(coro_task *co, coro_frame *frame)
{
    unsigned at = frame->place & 0xffffu;
    if (at == CORO__AT_FINALLY) {
        frame->place |= CORO__AT_END; /* there is no FINALLY */
        return frame->info->run(co, frame);
    }
    coro__trap(frame->info, coro__line(frame),
               at == CORO__ENDED
                   ? CORO__T("this coroutine has ended: it cannot be resumed")
                   : CORO__T("this await is inside a switch of yours and cannot be resumed: use "
                             "if/else, or CORO_LABELS_AS_VALUES"));
}

/* At the end: close all that this frame has open. */
CORO__COLD_API intptr_t coro__end_slow(coro_task *co, coro_frame *frame, intptr_t v)
{
    while (coro__has_open(co, frame)) {
        coro_scope *s = (coro_scope *)(void *)co->core.inner;
        if (s->core.kind == CORO__GROUP)
            coro__trap(frame->info, (unsigned)s->core.index,
                       CORO__T("the group opened here is open at the end of its frame: "
                               "CORO_FINALLY: CORO_CLOSE(&group);"));
        if (s->core.kind == CORO__GENERATOR)
            v = coro__gen_ended(co, (coro_gen *)(void *)s, v);
        else
            v = coro__scope_verdict(co, s, v);
    }
    return coro__end(co, frame, v).value;
}

/* --- calls with frames from the loop's memory --------------------------------------------------
 * A small frame between caller and callee frees both when the callee is done.
 */
typedef struct coro__heap {
    coro_frame frame;
    size_t size;
} coro__heap;

static inline intptr_t coro__heap_run(coro_task *co, coro_frame *frame)
{
    coro_loop_free(co->loop, frame, ((coro__heap *)(void *)frame)->size);
    return co->result;
}

CORO_API coro_frame *coro__heap_frame(coro_task *co, coro_frame *from, const coro_info *info)
{
    static const coro_info self = {coro__heap_run, CORO__NAMES(coro_call_new) 0, 0};
    const coro_frame head = {&self, from, 0, 0};
    size_t offset = coro__round(sizeof(coro__heap)), size = offset + info->size - info->offset;
    coro__heap *heap = (coro__heap *)coro_loop_alloc(co->loop, size);
    coro_frame *frame;
    if (!heap)
        return NULL;
    frame = (coro_frame *)(void *)((char *)heap + offset);
    heap->frame = head;
    heap->size = size;
    frame->caller = &heap->frame;
    return frame;
}

CORO_API coro__ran coro__heap_call(coro_task *co, coro_frame *frame)
{
    coro_frame *heap = frame ? frame->caller : NULL;
    coro__ran r = heap ? coro__enter(co, frame) : coro__put_down(-ENOMEM);
    if (heap && r.value > CORO__SPECIAL)
        (void)coro__heap_run(co, heap);
    return r;
}

/* --- groups -------------------------------------------------------------------------------- */

/* A child has failed, or could not be started, or the body has failed: info is null. */
CORO__COLD_PRIVATE void coro__group_failed(coro_group *group, const coro_info *info,
                                           coro_count index, int error)
{
    const coro_failure failure = {info, index, error};
    (void)failure;
#if CORO_GROUP_ERRORS
    if (group->failed < CORO_GROUP_ERRORS)
        group->errors[group->failed] = failure;
#endif /* CORO_GROUP_ERRORS */
    group->failed++;
    group->attention |= group->mode != CORO_COLLECT; /* it comes to something else */
    if (!group->first)
        group->first = error;
    if (group->mode == CORO_ALL && (group->scope.core.flags & CORO__OPEN))
        (void)coro__request(&group->scope.core, false);
}

CORO__WAITS(close, CORO__T("group close"), coro__abort_never)

#define CORO__CLEARED (offsetof(coro_group, mode) + 1 - offsetof(coro_group, done))

CORO_API void coro__group_open(coro_task *co, coro_frame *frame, coro_group *group, coro_mode mode,
                               int line)
{
    coro__scope_open(co, frame, &group->scope, CORO__GROUP, line);
    __builtin_memset((void *)&group->done, 0, CORO__CLEARED);
    group->loop = co->loop;
    coro__list_init(&group->children);
    group->winner = -1;
    group->mode = (uint8_t)mode;
    group->attention = mode == CORO_RACE || co->loop->watched;
}

/* What a group's block comes to, rc being what its body came to. The first that applies:
 *   a race was won                      the winner's result
 *   the body failed                     CORO_ALL: the first error in time; else the body's
 *   a child failed, not CORO_COLLECT    the first error in time
 *   something was cut short             by what is outside: -ECANCELED; by its deadline:
 *                                       -ETIMEDOUT; by itself: the body's result, if it has one
 *   otherwise                           the body's result
 */
static inline intptr_t coro__group_verdict(const coro_group *group, intptr_t rc)
{
    const coro_core *core = &group->scope.core;
    if (group->mode == CORO_RACE && group->winner >= 0)
        return group->won;
    if (group->happened & CORO__BODY_FAILED)
        return group->mode == CORO_ALL ? group->first : rc;
    if (group->failed && group->mode != CORO_COLLECT)
        return group->first;
    if ((rc == -ECANCELED || (group->happened & CORO__CUT)) && (core->flags & CORO__EFFECTIVE)) {
        if (coro__from_outside(core))
            return -ECANCELED;
        if (core->flags & CORO__EXPIRED)
            return -ETIMEDOUT;
        return rc > 0 ? rc : 0;
    }
    return rc;
}

/* The group has no room granted any more. */
CORO__COLD_PRIVATE void coro__grant_ended(coro_loop *loop, coro_group *group)
{
    coro_group **at = &loop->granting;
    while (*at != group)
        at = &(*at)->granting;
    *at = group->granting;
    group->granted = 0;
}

CORO__COLD_PRIVATE intptr_t coro__group_finish_slow(coro_group *group, intptr_t rc)
{
    coro_task *opener = group->scope.task;
    intptr_t v = coro__group_verdict(group, rc);
    bool caught = (group->scope.core.flags & CORO__REQUESTED) &&
                  (rc == -ECANCELED || (group->happened & CORO__CUT)) &&
                  !coro__from_outside(&group->scope.core);
    while (group->room.head)
        (void)coro_complete(group->room.head, -ESHUTDOWN);
    if (group->granted)
        coro__grant_ended(opener->loop, group);
    coro__scope_remove(opener, &group->scope, caught);
    return v;
}

/* All children have ended, and the opener waits for that, or is just closing. */
#define CORO__NOT_QUIET (CORO__REQUESTED | CORO__SHIELD | CORO__EFFECTIVE | CORO__ARMED)
static inline intptr_t coro__group_finish(coro_group *group, intptr_t rc)
{
    coro_scope *scope = &group->scope;
    if (CORO__UNLIKELY(group->attention || (scope->core.flags & CORO__NOT_QUIET)))
        return coro__group_finish_slow(group, rc);
    scope->task->core.inner = scope->core.outer;
    scope->core.flags = 0;
    return rc;
}

/* A body that failed, or the close of a group that is not ours to close. 0: go on. */
CORO__COLD_PRIVATE int coro__group_close_check(coro_task *co, coro_group *group, intptr_t rc)
{
    coro_core *core = &group->scope.core;
    int e = coro__may_close(co, &group->scope);
    if (e)
        return e;
    group->attention = true; /* its end is not the usual one */
    if (rc < 0 && !(rc == -ECANCELED && (core->flags & CORO__EFFECTIVE))) {
        group->happened |= CORO__BODY_FAILED;
        coro__group_failed(group, NULL, group->started, (int)rc);
    }
    if (rc < 0)
        (void)coro__request(core, false);
    return 0;
}

CORO_API coro_op coro_group_close(coro_task *co, coro_group *group, intptr_t rc)
{
    coro_core *core = &group->scope.core;
    if (CORO__UNLIKELY(rc < 0 || co->core.inner != core)) { /* the innermost scope is open */
        int e;
        if (!(core->flags & CORO__OPEN)) {
            core->flags &= CORO__EXPIRED | CORO__WAS | CORO__CAUGHT;
            if (rc >= 0 && !group->loop && group->failed)
                rc = -ESHUTDOWN; /* never opened: whoever spawned into it is to hear of that */
            return coro__op(rc);
        }
        e = coro__group_close_check(co, group, rc);
        if (e)
            return coro__op(e);
    }
    if (!group->alive)
        return coro__op(coro__group_finish(group, rc));
    group->closing = true;
    return coro__suspend_aside(co, coro__waits_close(), rc);
}

static inline bool coro__has_room(const coro_group *group)
{
    return !group->limit || group->alive + group->granted < group->limit;
}

/* Tell waiters that there is room. It is theirs until they have had their step; then, if they have
 * not spawned, anybody's: groups with room granted are in a list that is looked at after each
 * round. */
static inline void coro__granted(coro_group *group, coro_count until)
{
    group->granted_until = until;
    group->attention = true; /* a start takes the room */
    if (!group->granted++) {
        group->granting = group->loop->granting;
        group->loop->granting = group;
    }
}

static inline void coro__grant(coro_group *group)
{
    while (group->room.head && coro__has_room(group)) {
        (void)coro_complete(group->room.head, 0);
        coro__granted(group, group->loop->tail);
    }
}

CORO_API void coro_group_limit(coro_group *group, coro_count limit)
{
    group->limit = limit;
    if (group->room.head)
        coro__grant(group);
}

/* After a round: whose waiters have had their step? */
CORO__COLD_PRIVATE void coro__grants_review(coro_loop *loop)
{
    coro_group *group = loop->granting, *next;
    for (; group; group = next) {
        coro_count steps = (coro_count)(group->granted_until - loop->head); /* until then */
        next = group->granting;
        if (coro__ready_count(loop) &&
            (loop->random || (coro_count)(steps - 1) <= coro__ready_count(loop)))
            continue;
        coro__grant_ended(loop, group);
        coro__grant(group);
    }
}

CORO_API coro_op coro_group_wait_room(coro_task *co, coro_group *group)
{
    static const coro_ops ops = {CORO__T("room in a group"), NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!(group->scope.core.flags & CORO__OPEN))
        return coro_done(co, -ESHUTDOWN);
    if (!group->room.head && coro__has_room(group)) {
        coro_op op = coro_done(co, 0);
        if (op.value) /* the budget makes it wait for its step */
            coro__granted(group, group->loop->tail + 1);
        return op;
    }
    group->attention = true;
    return coro_suspend(co, &group->room, &ops, 0);
}

/* Ended children of coro_start's are pushed on `done` without touching the others, which may be
 * gone, and turned over into `done_out` when they are asked for. */
static inline void coro__done_push(coro_group *group, coro_task *task)
{
    task->sibling.next = (coro_link *)(void *)group->done;
    group->done = task;
}

static inline coro_task *coro__done_pop(coro_group *group)
{
    coro_task *task = group->done_out, *next;
    if (!task) {
        for (task = group->done, group->done = NULL; task; task = next) {
            next = (coro_task *)(void *)task->sibling.next;
            task->sibling.next = (coro_link *)(void *)group->done_out;
            group->done_out = task;
        }
        task = group->done_out;
    }
    if (task)
        group->done_out = (coro_task *)(void *)task->sibling.next;
    return task;
}

static inline void coro__forget_done(coro_task **at, const coro_task *task)
{
    while (*at && *at != task)
        at = (coro_task **)(void *)&(*at)->sibling.next;
    if (*at)
        *at = (coro_task *)(void *)task->sibling.next;
}

CORO_API coro_op coro_group_next(coro_task *co, coro_group *group, int *index)
{
    static const coro_ops ops = {CORO__T("the next child of a group"), NULL, NULL};
    coro_task *task;
    if (coro_is_local(co, index))
        return coro_local();
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!(group->scope.core.flags & CORO__OPEN))
        return coro_done(co, -ESHUTDOWN);
    task = group->next.head ? NULL : coro__done_pop(group);
    if (task) {
        *index = (int)task->core.index;
        return coro_done(co, 1);
    }
    if (!group->alive)
        return coro_done(co, 0);
    group->attention = true;
    return coro_suspend(co, &group->next, &ops, (intptr_t)index);
}

/* A child has ended, and that may interest somebody. */
CORO__COLD_PRIVATE void coro__group_tell(coro_group *group, coro_task *task, bool started)
{
    if (group->mode == CORO_RACE && task->result >= 0 && group->winner < 0) {
        group->winner = (int)task->core.index;
        group->won = task->result;
        (void)coro__request(&group->scope.core, false);
    }
    if (started && group->next.head) {
        *(int *)coro_word(group->next.head) = (int)task->core.index;
        (void)coro_complete(group->next.head, 1);
    } else if (started) {
        coro__done_push(group, task);
    }
    while (!group->alive && group->next.head)
        (void)coro_complete(group->next.head, 0);
    if (group->alive || !group->closing)
        coro__grant(group);
}

/* The last child of a group has ended, and its opener waits for that. */
static inline void coro__group_ended(coro_group *group)
{
    coro_task *opener = group->scope.task;
    coro__wake(opener, coro__group_finish(group, coro_word(opener)));
}

/* --- tasks -------------------------------------------------------------------------------------
 *
 *     spawn / start --> ready --> runs <--> waits
 *                                  `--> ended: joiners woken, group told, memory freed
 */
/* A task that could not be started counts as a child that failed. */
CORO__COLD_PRIVATE int coro__start_failed(coro_group *group, const coro_info *info, int error)
{
    coro__group_failed(group, info, group->started++, error);
    if (group->loop && group == &group->loop->root &&
        ((group->scope.core.flags & CORO__OPEN) || !group->loop->running))
        coro__unseen(group->loop, NULL, error);
    return error;
}

CORO__COLD_API int coro__not_spawned(coro_group *group, const coro_info *info)
{
    return coro__start_failed(group, info,
                              group->scope.core.flags & CORO__OPEN ? -ENOMEM : -ESHUTDOWN);
}

/* A child was started, and that may interest somebody; or the group is cancelled. */
CORO__COLD_PRIVATE coro_task *coro__start_special(coro_group *group, coro_task *task,
                                                  const coro_info *info)
{
    if (group->scope.core.flags & CORO__EFFECTIVE)
        task->core.flags |= CORO__EFFECTIVE | CORO__CANCELLED;
    if (group->granted == 1)
        coro__grant_ended(group->loop, group);
    else if (group->granted)
        group->granted--;
    task->leaf->info = info; /* the rest is filled in after this */
    task->leaf->caller = NULL;
    coro__event(group->loop, CORO_EVENT_SPAWN, task);
    return task;
}

/* Make a task: alive, in its group, at the end of the run queue. Field by field: clearing it all
 * first would cost as much again. */
static inline coro_task *coro__task_init(coro_group *group, coro_task *task, const coro_info *info,
                                         unsigned flags)
{
    coro_frame *frame = (coro_frame *)(void *)((char *)task + info->offset);
    coro_loop *loop = group->loop;
    task->joiner = NULL;
    task->waiting = NULL;
    task->core.outer = &group->scope.core;
    task->core.inner = &task->core;
    task->core.kind = CORO__TASK;
    task->core.spent = loop->unspent;
    task->core.flags = (uint16_t)(flags | CORO__OPEN);
    task->core.index = group->started++;
    task->loop = loop;
    task->leaf = frame;
    coro__insert_before(&group->children, &task->sibling);
    coro__ready(loop, task);
    group->alive++;
    loop->spawned++;
    if (CORO__UNLIKELY(group->attention || (group->scope.core.flags & CORO__EFFECTIVE)))
        return coro__start_special(group, task, info);
    return task;
}

/* A task in a new slab, or a large one, or in a larger run queue; or none. */
CORO__COLD_PRIVATE coro_task *coro__spawn_slow(coro_group *group, const coro_info *info)
{
    coro_loop *loop = group->loop;
    bool large = !coro__has_list(coro__class(info->size));
    coro_task *task;
    if (!(group->scope.core.flags & CORO__OPEN))
        return NULL;
    task = (coro_task *)coro_loop_alloc(loop, info->size);
    if (task && coro__reserve(loop))
        return coro__task_init(group, task, info, CORO__SPAWNED | (large ? CORO__NOTED : 0));
    if (task)
        coro_loop_free(loop, task, info->size);
    return NULL;
}

CORO_API coro_task *coro__spawn(coro_group *group, const coro_info *info)
{
    size_t c = coro__class(info->size);
    coro_loop *loop = group->loop;
    coro_task *task;
    if (CORO__UNLIKELY(!coro__has_list(c) || !(group->scope.core.flags & CORO__OPEN) ||
                       !coro__has_place(loop)))
        return coro__spawn_slow(group, info);
    task = (coro_task *)coro__pop_free(loop, c);
    if (CORO__UNLIKELY(!task))
        return coro__spawn_slow(group, info);
    loop->alive++;
    return coro__task_init(group, task, info, CORO__SPAWNED);
}

CORO_API coro_task *coro_spawn_copy(coro_group *group, const coro_info *info, const void *frame,
                                    size_t size)
{
    coro_task *task = coro__spawn(group, info);
    if (task)
        CORO_MEMCPY(task->leaf, frame, size);
    return task;
}

CORO_API int coro__start(coro_group *group, coro_task *task, const coro_info *info)
{
    if ((group->done || group->done_out) && task->core.outer == &group->scope.core) {
        coro__forget_done(&group->done, task); /* it ended here before: that is not told now */
        coro__forget_done(&group->done_out, task);
    }
    if (CORO__UNLIKELY(!(group->scope.core.flags & CORO__OPEN) || !coro__reserve(group->loop))) {
        int e = group->scope.core.flags & CORO__OPEN ? -ENOMEM : -ESHUTDOWN;
        task->core.outer = NULL;
        task->core.flags = CORO__FAILED;
        task->leaf = NULL;
        task->result = e;
        return coro__start_failed(group, info, e);
    }
    (void)coro__task_init(group, task, info, 0);
    return 0;
}

static inline const coro_frame *coro__root_frame(const coro_task *task)
{
    const coro_frame *frame = task->leaf;
    while (frame && frame->caller)
        frame = frame->caller;
    return frame;
}

CORO_API const char *coro__task_name(const coro_task *task)
{
#if CORO_NAMES
    const coro_frame *root = coro__root_frame(task);
    return root ? root->info->name : "task";
#else
    (void)task;
    return "task";
#endif /* CORO_NAMES */
}

CORO_API coro_status coro__task_status(const coro_task *task)
{
    if (task->core.flags & CORO__OPEN)
        return CORO_RUNNING;
    if (!task->leaf)
        return CORO_UNSTARTED;
    if (task->core.flags & CORO__CANCELLED)
        return CORO_CANCELLED;
    return task->core.flags & CORO__FAILED ? CORO_FAILED : CORO_OK;
}

static inline int coro__as_int(intptr_t v)
{
#if INTPTR_MAX > INT_MAX
    if (v > INT_MAX)
        return INT_MAX;
#endif /* INTPTR_MAX > INT_MAX */
    return (int)v;
}

CORO_API int coro__task_result(const coro_task *task)
{
    if (task->core.flags & CORO__OPEN)
        return -EINPROGRESS;
    if (!task->leaf && !task->result)
        return -EINVAL;
    return coro__as_int(task->result);
}

/* The ring of those who join is behind the notes. */
static inline coro_task **coro__joiners(coro_task *task)
{
    coro_task **at = &task->joiner;
    while (coro__note_at(*at))
        at = &coro__note_at(*at)->next;
    return at;
}

/* Those who join are in a ring from the joined task; the word of each is that task. */
static inline coro_abort coro__abort_join(coro_task *task, coro_waitq *queue)
{
    (void)queue;
    coro__ring_remove(coro__joiners((coro_task *)coro_word(task)), task);
    return CORO_ABORT_DONE;
}

CORO__WAITS(join, CORO__T("join"), coro__abort_join)

/* What a joiner reads: -ECANCELED always means the one who waits. */
static inline intptr_t coro__joined(const coro_task *task)
{
    return task->result == -ECANCELED ? -ECHILD : task->result;
}

CORO_API coro_op coro__join(coro_task *co, coro_task *task)
{
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (task == co)
        return coro_done(co, -EDEADLK);
    if (!(task->core.flags & CORO__OPEN))
        return coro_done(co, !task->leaf && !task->result ? -EINVAL : coro__joined(task));
    if (task->loop != co->loop)
        return coro_done(co, -EINVAL);
    coro__ring_append(coro__joiners(task), co);
    task->core.flags |= CORO__NOTED;
    return coro__suspend_aside(co, coro__waits_join(), (intptr_t)task);
}

CORO__COLD_PRIVATE void coro__wake_joiners(coro_task *task)
{
    coro_note *note;
    while ((note = coro__note_at(task->joiner)) != NULL) {
        task->joiner = note->next;
        note->ended(note, task);
    }
    while (task->joiner) {
        coro_task *joiner = task->joiner;
        (void)coro__abort_join(joiner, NULL); /* out of the ring */
        coro__wake(joiner, coro__joined(task));
    }
}

/* How a task ended that did not end well. */
CORO__COLD_PRIVATE void coro__task_failed(coro_loop *loop, coro_task *task, const coro_info *info,
                                          uint16_t flags, bool seen)
{
    coro_group *group = coro__group_of(task);
    if (task->core.flags & CORO__CANCELLED) {
        group->cancelled++;
        if ((group->scope.core.flags & CORO__EFFECTIVE) && !(flags & CORO__REQUESTED))
            group->happened |= CORO__CUT;
        return;
    }
    coro__group_failed(group, info, task->core.index, (int)task->result);
    if (group == &loop->root && !seen)
        coro__unseen(loop, task, (int)task->result);
}

static inline void coro__task_leave(coro_loop *loop, coro_group *group, coro_task *task)
{
    loop->alive--;
    group->alive--;
    coro__unlink(&task->sibling);
}

/* What is left of a task that the user has the memory of. */
static inline void coro__task_remains(coro_task *task, coro_frame *root, intptr_t v, uint16_t flags)
{
    task->core.flags = flags;
    task->leaf = root;
    task->result = v;
}

/* The end of a task that failed, or that somebody waits for, or watches, or that is large. */
CORO__COLD_PRIVATE void coro__task_end_slow(coro_loop *loop, coro_task *task, coro_frame *root,
                                            intptr_t v)
{
    coro_group *group = coro__group_of(task);
    const coro_info *info = root->info;
    uint16_t flags = task->core.flags;
    bool seen = *coro__joiners(task) || task == loop->main;
    coro__task_leave(loop, group, task);
    coro__task_remains(task, root, v, flags & CORO__SPAWNED);
    if (v < 0)
        task->core.flags |=
            v == -ECANCELED && (flags & CORO__EFFECTIVE) ? CORO__CANCELLED : CORO__FAILED;
    coro__event(loop, CORO_EVENT_END, task);
    coro__wake_joiners(task);
    if (v < 0)
        coro__task_failed(loop, task, info, flags, seen);
    if (group->attention)
        coro__group_tell(group, task, !(flags & CORO__SPAWNED));
    else if (!(flags & CORO__SPAWNED))
        coro__done_push(group, task);
    if (task == loop->main) /* what is left ends with it */
        (void)coro__request(&loop->root.scope.core, false);
    if (flags & CORO__SPAWNED)
        coro_loop_free(loop, task, info->size);
    if (!group->alive && group->closing)
        coro__group_ended(group);
}

/* The task's outermost frame is done. */
static void coro__task_end(coro_loop *loop, coro_task *task, coro_frame *root, intptr_t v)
{
    coro_group *group = coro__group_of(task);
    uint16_t flags = task->core.flags;
    if (CORO__UNLIKELY(v < 0 || (flags & CORO__NOTED) || group->attention)) {
        coro__task_end_slow(loop, task, root, v);
        return;
    }
    coro__task_leave(loop, group, task);
    if (flags & CORO__SPAWNED) {
        coro__push_free(loop, task, coro__class(root->info->size));
    } else {
        coro__task_remains(task, root, v, 0);
        coro__done_push(group, task);
    }
    if (!group->alive && group->closing)
        coro__group_ended(group);
}

/* --- interrupts and posts ------------------------------------------------------------------ */

static inline void coro__wake_loop(coro_loop *loop)
{
    if (!CORO__LOAD(&loop->asleep))
        return;
    CORO__STORE(&loop->asleep, 0);
    if (loop->options.driver.wake)
        loop->options.driver.wake(loop->options.driver.arg);
}

/* The mark of a node that is being posted; never followed. */
#define CORO__CLAIMED ((coro_post_node *)(void *)loop)

CORO_API bool coro_post(coro_loop *loop, coro_post_node *node)
{
    coro_post_node *head;
    if (!coro__swap_if(&node->next, NULL, CORO__CLAIMED))
        return false;
    do {
        head = CORO__LOAD(&loop->posted);
        CORO__STORE(&node->next, head ? head : CORO__CLAIMED); /* the last one points at the loop */
    } while (!coro__swap_if(&loop->posted, head, node));
    coro__wake_loop(loop);
    return true;
}

/* How often it has been rung since we asked last. */
static inline coro_irq_count coro__take_rings(coro_irq *irq)
{
    coro_irq_count rings = (coro_irq_count)(CORO__LOAD(&irq->raised) - irq->seen);
    if (rings)
        CORO__STORE(&irq->seen, (coro_irq_count)(irq->seen + rings));
    return rings;
}

CORO__COLD_PRIVATE void coro__run_posts(coro_loop *loop)
{
    coro_post_node *newest, *oldest = CORO__CLAIMED, *node;
    do
        newest = CORO__LOAD(&loop->posted);
    while (!coro__swap_if(&loop->posted, newest, NULL));
    while (newest != CORO__CLAIMED) {
        node = newest;
        newest = CORO__LOAD(&node->next);
        CORO__STORE(&node->next, oldest);
        oldest = node;
    }
    while (oldest != CORO__CLAIMED) {
        node = oldest;
        oldest = CORO__LOAD(&node->next);
        CORO__STORE(&node->next, (coro_post_node *)NULL); /* now it may be posted again */
        node->run(loop, node);
    }
}

static inline void coro__collect(coro_loop *loop)
{
    coro_irq *irq, **at = &loop->irqs;
    if (CORO__LOAD(&loop->posted))
        coro__run_posts(loop);
    while ((irq = *at) != NULL) {
        coro_irq_count rings = coro__take_rings(irq);
        if (rings) {
            *at = irq->next;
            (void)coro_complete(irq->waiter, (intptr_t)rings);
            irq->waiter = NULL;
        } else {
            at = &irq->next;
        }
    }
}

CORO_API bool coro_loop_rung(const coro_loop *loop)
{
    if (CORO__LOAD(&loop->posted))
        return true;
    for (const coro_irq *irq = loop->irqs; irq; irq = irq->next)
        if (CORO__LOAD(&irq->raised) != irq->seen)
            return true;
    return false;
}

CORO_API void coro_irq_raise(coro_irq *irq)
{
    coro_irq_count raised = (coro_irq_count)(irq->raised + 1);
    if (raised != CORO__LOAD(&irq->seen)) /* else it is full: all but one of 256 on AVR */
        CORO__STORE(&irq->raised, raised);
    if (CORO_HOSTED && CORO__LOAD(&irq->loop))
        coro__wake_loop(CORO__LOAD(&irq->loop));
}

static inline coro_abort coro__abort_irq(coro_task *task, coro_waitq *queue)
{
    coro_irq *irq = (coro_irq *)coro_word(task), **at = &task->loop->irqs;
    while (*at != irq)
        at = &(*at)->next;
    *at = irq->next;
    irq->waiter = NULL;
    return CORO_ABORT_DONE;
}

CORO__WAITS(irq, CORO__T("interrupt"), coro__abort_irq)

CORO_API void coro_irq_forget(coro_irq *irq)
{
    if (!irq->waiter)
        CORO__STORE(&irq->seen, CORO__LOAD(&irq->raised));
}

CORO_API coro_op coro_irq_wait(coro_task *co, coro_irq *irq)
{
    coro_irq_count rings;
    if (coro_is_local(co, irq))
        return coro_local();
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (irq->waiter)
        return coro_done(co, -EBUSY);
    rings = coro__take_rings(irq);
    if (rings)
        return coro_done(co, (intptr_t)rings);
    CORO__STORE(&irq->loop, co->loop);
    irq->waiter = co;
    irq->next = co->loop->irqs;
    co->loop->irqs = irq;
    return coro__suspend_aside(co, coro__waits_irq(), (intptr_t)irq);
}

/* --- the hosted driver: POSIX clock, pselect, and a pipe that ends its sleep --------------- */
#if CORO_HOSTED
static inline coro_time coro__posix_now(void *arg)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (coro_time)((coro__utime)t.tv_sec * CORO_TICKS_PER_S +
                       (coro__utime)(t.tv_nsec / (1000000000 / CORO_TICKS_PER_S)));
}

static inline void coro__posix_pipe(coro_loop *loop)
{
    int i, ends[2];
    if (pipe(ends) < 0)
        ends[0] = ends[1] = -1; /* posts are then seen at the next timer, or in 10 ms */
    for (i = 0; i < 2 && ends[i] >= 0; i++) {
        fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | O_NONBLOCK);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    loop->pipe[0] = ends[0];
    CORO__STORE(&loop->pipe[1], ends[1]);
}

static inline void coro__posix_park(void *arg, coro_loop *loop, coro_time until)
{
    coro_time d = until == CORO_FOREVER ? CORO_FOREVER : until - coro__posix_now(NULL);
    struct timespec limit;
    fd_set fds;
    char drop[64];
    int end;
    if (d <= 0)
        return;
    if (!loop->pipe[1])
        coro__posix_pipe(loop);
    end = loop->pipe[0] < FD_SETSIZE ? loop->pipe[0] : -1;
    if (end < 0 && d > CORO_MS(10))
        d = CORO_MS(10);
    limit.tv_sec = (time_t)(d / CORO_TICKS_PER_S);
    limit.tv_nsec = (long)(d % CORO_TICKS_PER_S) * (1000000000 / CORO_TICKS_PER_S);
    FD_ZERO(&fds);
    if (end >= 0)
        FD_SET(end, &fds);
    if (!CORO__LOAD(&loop->asleep))
        return;
    if (pselect(end + 1, &fds, NULL, NULL, d == CORO_FOREVER ? NULL : &limit, NULL) > 0)
        while (read(end, drop, sizeof drop) == (ssize_t)sizeof drop)
            continue;
}

static inline void coro__posix_wake(void *arg)
{
    coro_loop *loop = (coro_loop *)arg;
    int end = CORO__LOAD(&loop->pipe[1]);
    int saved = errno; /* this may be a signal handler */
    if (end > 0 && write(end, "", 1) < 0)
        errno = saved; /* full: then it wakes anyhow */
}

static inline void coro__posix_fini(void *arg)
{
    coro_loop *loop = (coro_loop *)arg;
    if (loop->pipe[1] > 0) {
        close(loop->pipe[0]);
        close(loop->pipe[1]);
    }
    loop->pipe[0] = loop->pipe[1] = 0;
}

static inline void *coro__malloc(void *arg, size_t size)
{
    return malloc(size);
}

static inline void coro__free(void *arg, void *memory, size_t size)
{
    free(memory);
}
#endif /* CORO_HOSTED */

/* --- the loop ----------------------------------------------------------------------------------
 *
 *     round:  run what is ready, up to a number of steps
 *             look outside: posts, bells, the driver (which completes I/O), then timers
 *             nothing ready? sleep until the first deadline; none, and nobody outside: deadlock
 */
/* frame has given v, which is not the usual: go on with its caller, end the task, or trap. True:
 * the task has ended, and its memory may be gone. */
static inline bool coro__step_on(coro_loop *loop, coro_task *task, coro_frame *frame, intptr_t v)
{
    coro_frame *caller = frame->caller; /* read now: coro_call_new's frame frees itself */
    for (;;) {
        if (v > CORO__SPECIAL) {
            if (!caller) {
                coro__task_end(loop, task, frame, v);
                return true;
            }
            task->leaf = frame = caller;
            task->result = v;
            caller = frame->caller;
        } else if (v <= CORO__REFUSED) {
            if (v == CORO__REFUSED)
                coro__refused(task);
            if (v != CORO__PENDING)
                coro__ready(loop, task);
            if (v > CORO__TURN) {
                loop->look = true;
                loop->end = loop->head;
            }
            return false;
        } else if (v == CORO__LOCAL) {
            coro__trap_local(task);
        } /* else CORO__AGAIN */
        v = frame->info->run(task, frame);
    }
}

static inline bool coro__step(coro_loop *loop, coro_task *task)
{
    coro_frame *frame = task->leaf;
    return coro__step_on(loop, task, frame, frame->info->run(task, frame));
}

/* A step with somebody looking. */
CORO__COLD_PRIVATE void coro__watched_step(coro_loop *loop, coro_task *task)
{
    coro_time limit = loop->options.slow_step, start = limit ? coro__read_clock(loop) : 0;
    const coro_info *info = task->leaf->info;
    unsigned line = coro__line(task->leaf);
    coro_time took;
    coro__event(loop, CORO_EVENT_RESUME, task);
    if (!coro__step(loop, task))
        coro__event(loop, CORO_EVENT_SUSPEND, task);
    if (limit && (took = coro_time_since(coro__read_clock(loop), start)) > limit)
        coro__slow_step(loop, info, line, took);
}

/* What a step touches: the end of the task, and the frame, which follows it. (Not a function: gcc
 * takes one that only prefetches for one that does nothing.) */
#if CORO_READY_RING
#define CORO__FETCH(loop)                                                                         \
    do {                                                                                          \
        uintptr_t coro__t = (uintptr_t)(loop)->ready[((loop)->head + 16) & (loop)->mask];         \
        CORO__PREFETCH((void *)(coro__t + offsetof(coro_task, core.flags)));                      \
        CORO__PREFETCH((void *)(coro__t + sizeof(coro_task) + sizeof(coro_frame)));               \
    } while (0)
#else
#define CORO__FETCH(loop) ((void)0)
#endif /* CORO_READY_RING */

/* Run what is ready, up to the end of the round. */
static inline void coro__steps(coro_loop *loop, bool fetch)
{
    coro_count head = loop->head;
    while (head != loop->end && head != loop->tail) {
        coro_task *task;
        coro_frame *frame;
        intptr_t v;
    next:
        if (fetch)
            CORO__FETCH(loop);
        task = coro__ready_at(loop, head);
        loop->head = ++head;
        frame = task->leaf;
        v = frame->info->run(task, frame);
        if (v == CORO__TURN) {
            coro__ready(loop, task);
            if (head != loop->end)
                goto next; /* it is not empty */
            return;
        }
        if (v == CORO__PENDING)
            continue;
        if (v > CORO__SPECIAL && !frame->caller)
            coro__task_end(loop, task, frame, v);
        else
            (void)coro__step_on(loop, task, frame, v);
    }
}

/* The same in a random order, or with somebody watching. */
CORO__COLD_PRIVATE void coro__special_steps(coro_loop *loop)
{
    while (loop->head != loop->end && coro__ready_count(loop)) {
        coro_task *task;
#if CORO_READY_RING
        if (!loop->batch)
            loop->batch = coro__ready_count(loop);
        if (loop->random)
            coro__shuffle(loop, loop->batch);
        loop->batch--;
#endif /* CORO_READY_RING */
        task = coro__ready_at(loop, loop->head++);
        if (loop->watched)
            coro__watched_step(loop, task);
        else
            (void)coro__step(loop, task);
    }
}

/* How many steps until the clock must be looked at. With no timer, or a clock that stands still
 * while tasks run, up to CORO_STEPS. Else every step, until many in a row took next to no time:
 * then ever fewer, so that a fast turn does not cost a reading of the clock, and a slow one does
 * not hide a deadline. */
static inline coro_count coro__quota(const coro_loop *loop)
{
    return loop->timers && !loop->virtual_clock ? loop->window : CORO_STEPS;
}

static inline void coro__look_at_clock(coro_loop *loop, coro_count made)
{
    coro_time before = loop->now;
    if (!loop->timers)
        return;
    if (coro_time_since(coro__read_clock(loop), before) >
        (coro_time)made * (CORO_TICKS_PER_S / 1000000)) {
        loop->quick = 0;
        loop->window = 1;
    } else if (loop->quick < 64) {
        loop->quick++;
    } else if (loop->window < CORO_STEPS) {
        loop->window *= 2;
    }
    coro__fire(loop);
}

static inline void coro__park(coro_loop *loop, coro_time until)
{
    if (loop->options.driver.park)
        loop->options.driver.park(loop->options.driver.arg, loop, until);
}

/* Take in what the driver has brought. Results before deadlines: what has come has come. */
static inline void coro__take_in(coro_loop *loop)
{
    loop->look = false;
    loop->unlooked = 0;
    coro__collect(loop);
    (void)coro__read_clock(loop);
    coro__fire(loop);
}

/* Look at all that has happened outside. */
static inline void coro__look(coro_loop *loop)
{
    if (!loop->own_driver) /* a time of the driver's own clock, which virtual time is not */
        coro__park(loop, loop->virtual_clock && loop->options.driver.now
                             ? loop->options.driver.now(loop->options.driver.arg)
                             : loop->now);
    coro__take_in(loop);
}

static inline bool coro__outside(const coro_loop *loop)
{
    return loop->held || loop->irqs;
}

/* Is to sleep all that there is to do? A sleep, for no time even, looks at the outside, too. Before
 * the end, a deadlock, and a jump of time that look has to come first. */
static inline bool coro__may_sleep(const coro_loop *loop)
{
    return !loop->virtual_clock && !loop->stopped && loop->alive &&
           (loop->timers || coro__outside(loop));
}

/* Nothing is ready: sleep until something is. */
static inline void coro__sleep_until_woken(coro_loop *loop)
{
    coro_time end, until = coro__next_deadline(loop);
    if (loop->virtual_clock && !coro__outside(loop)) {
        loop->now = until; /* nobody outside: time can jump */
        coro__fire(loop);
        return;
    }
    if (loop->virtual_clock)
        until = CORO_FOREVER;
    if (loop->options.spin) {
        end = coro_time_after(coro__read_clock(loop), loop->options.spin);
        while (!coro__ready_count(loop) && coro_time_before(coro__read_clock(loop), end))
            coro__look(loop);
    }
    if (coro__ready_count(loop) || loop->stopped)
        return;
    (void)coro__set(&loop->asleep, 1);
    if (coro_loop_rung(loop)) { /* I/O, too, must have its turn when posts never end */
        (void)coro__set(&loop->asleep, 0);
        coro__look(loop);
        return;
    }
    loop->parked++;
    coro__park(loop, until);
    (void)coro__set(&loop->asleep, 0);
    coro__take_in(loop);
}

/* One round without sleeping. If it leaves nothing to run, the outside is still to be looked at. */
static inline coro_count coro__one_round(coro_loop *loop, coro_count quota)
{
    coro_count made = loop->head;
    loop->end = (coro_count)(made + quota);
    if (CORO__UNLIKELY(loop->special))
        coro__special_steps(loop);
    else if (CORO_READY_RING && loop->fetch)
        coro__steps(loop, true);
    else
        coro__steps(loop, false);
    made = (coro_count)(loop->head - made);
    loop->steps += made;
    if (CORO__UNLIKELY(loop->granting != NULL))
        coro__grants_review(loop);
    loop->unlooked += made;
    if (loop->look || loop->unlooked >= CORO_STEPS)
        coro__look(loop);
    else if (coro__ready_count(loop))
        coro__look_at_clock(loop, made);
    return made;
}

/* Nobody can ever wake these tasks. Say who waits for what, and cancel from the root, once; what
 * does not end then is abandoned. True: go on. */
CORO__COLD_PRIVATE bool coro__deadlock(coro_loop *loop)
{
    if (loop->deadlocked)
        return false;
    loop->deadlocked = true;
    coro__report(loop, NULL, CORO__T("deadlock: nothing can wake these tasks"));
    coro_dump(loop, NULL);
    (void)coro__request(&loop->root.scope.core, false);
    return true;
}

/* Give up a task: out of its group, its timers and frames back. It is in no queue any more. */
CORO__COLD_PRIVATE void coro__abandon_task(coro_loop *loop, coro_task *task)
{
    coro_group *group = coro__group_of(task);
    size_t size = coro__root_frame(task)->info->size;
    coro_frame *frame, *caller;
    coro_core *core = task->core.inner;
    task->result = -EDEADLK;
    coro__event(loop, CORO_EVENT_END, task);
    coro__unseen(loop, task, -EDEADLK);
    for (; core; core = core->kind == CORO__TASK ? NULL : core->outer)
        if (core->flags & CORO__ARMED)
            coro__timer_disarm(loop, core);
    for (frame = task->leaf; frame; frame = caller) {
        caller = frame->caller;
        if (frame->info->run == coro__heap_run) {
            task->leaf = caller;
            coro_loop_free(loop, frame, ((coro__heap *)(void *)frame)->size);
        }
    }
    coro__unlink(&task->sibling);
    group->alive--;
    loop->alive--;
    if (task->core.flags & CORO__SPAWNED)
        coro_loop_free(loop, task, size);
    else
        task->core.flags = CORO__FAILED;
}

/* Give up all tasks: first out of the queues, which may lie in frames; then out of the tree,
 * deepest first. */
CORO__COLD_PRIVATE void coro__abandon(coro_loop *loop)
{
    coro_core *core = &loop->root.scope.core;
    coro_group *group = &loop->root;
    int depth = 0;
    loop->root.scope.core.flags &= (uint16_t)~CORO__OPEN; /* on_error must not start others */
    for (; core; core = coro__walk(core, &depth)) {
        coro_task *task = core->kind == CORO__TASK ? coro__task_of(core) : NULL;
        if (task && task->waiting->head)
            coro__ring_remove(&coro__queue_of(task)->head, task);
        if (task)
            task->waiting = NULL;
    }
    while (group != &loop->root || coro__first_child(&group->scope.core)) {
        core = coro__first_child(&group->scope.core);
        coro_task *task = core ? coro__task_of(core) : group->scope.task; /* emptied: back */
        for (core = task->core.inner; core->kind != CORO__TASK; core = core->outer)
            if (coro__first_child(core))
                break;
        group = core->kind == CORO__GROUP ? (coro_group *)(void *)core : coro__group_of(task);
        if (core->kind == CORO__TASK)
            coro__abandon_task(loop, task);
    }
}

/* Locals of what the loop calls lie below the frame of this. (Not cold: gcc takes what always calls
 * something cold for cold itself, and all that it calls.) */
static CORO__NOINLINE void coro__mark_stack(coro_loop *loop)
{
    loop->stack = (uintptr_t)__builtin_frame_address(0);
}

CORO_API int coro_loop_run(coro_loop *loop)
{
    int rc = 0;
    if (loop->running)
        return -EDEADLK;
    loop->running = true;
    coro__mark_stack(loop);
    (void)coro__read_clock(loop);
    for (;;) {
        if (!loop->stopped)
            (void)coro__one_round(loop, coro__quota(loop));
        while (loop->stopped && loop->stop_after && coro__ready_count(loop))
            loop->stop_after -= coro__one_round(loop, loop->stop_after);
        if (!coro__ready_count(loop) && !coro__may_sleep(loop))
            coro__look(loop);
        if (loop->stopped || !loop->alive)
            break;
        if (coro__ready_count(loop))
            continue;
        if (loop->timers || coro__outside(loop)) {
            coro__sleep_until_woken(loop);
        } else if (!coro__deadlock(loop)) {
            coro__abandon(loop);
            break;
        }
    }
    if (loop->deadlocked) {
        rc = -EDEADLK;
        loop->deadlocked = false;
        loop->root.scope.core.flags = CORO__OPEN; /* no longer cancelled: it may be used again */
    }
    loop->stopped = false;
    loop->running = false;
    loop->stack = 0;
    return rc;
}

CORO_API int coro_loop_step(coro_loop *loop)
{
    coro_count n;
    if (loop->running)
        return -EDEADLK;
    loop->running = true;
    coro__mark_stack(loop);
    (void)coro__set(&loop->asleep, 0);
    coro__look(loop);
    n = coro__ready_count(loop);
    for (n = n < CORO_STEPS ? n : CORO_STEPS; n && coro__ready_count(loop);) {
        n -= coro__one_round(loop, n);
        if (!coro__ready_count(loop))
            coro__look(loop);
    }
    loop->running = false;
    loop->stack = 0;
    return loop->alive ? 1 : 0;
}

CORO_API coro_time coro_loop_deadline(coro_loop *loop)
{
    if (coro__ready_count(loop) || !loop->alive)
        return loop->alive ? loop->now : CORO_FOREVER;
    (void)coro__set(&loop->asleep, 1); /* from here on a post has to wake the host */
    return coro_loop_rung(loop) ? loop->now : coro__next_deadline(loop);
}

CORO_API coro_time coro_loop_now(coro_loop *loop)
{
    return coro__read_clock(loop);
}

CORO_API void coro_loop_stop(coro_loop *loop)
{
    loop->stopped = true;
    loop->stop_after = coro__ready_count(loop); /* those still run */
    loop->end = loop->head;
}

CORO_API void coro_loop_drive(coro_loop *loop, const coro_driver *driver)
{
    if (loop->options.driver.fini)
        loop->options.driver.fini(loop->options.driver.arg);
    loop->options.driver = *driver;
    loop->own_driver = false;
}

/* Options, with defaults in place. */
static inline int coro__configure(coro_loop *loop, const coro_options *options)
{
    static const coro_options none = CORO__ZERO;
    coro_options *o = &loop->options;
    *o = options ? *options : none;
    loop->virtual_clock = o->clock == CORO_VIRTUAL;
    loop->unspent = (uint8_t)(o->budget > 128 ? 0 : 128 - (o->budget ? o->budget : CORO_BUDGET));
    if (!o->report.put)
        o->report = *coro__stderr();
#if CORO_HOSTED
    if (!o->driver.park) {
        coro_driver posix = {coro__posix_now, coro__posix_park, coro__posix_wake, coro__posix_fini,
                             NULL};
        posix.arg = loop;
        loop->options.driver = posix;
        loop->own_driver = true;
    }
    if (!o->allocator.alloc && !o->arena) {
        loop->options.allocator.alloc = coro__malloc;
        loop->options.allocator.free = coro__free;
    }
    if (CORO_DEBUG && !o->slow_step && !loop->virtual_clock)
        o->slow_step = CORO_MS(100);
#endif /* CORO_HOSTED */
    if (!loop->options.driver.now && !loop->virtual_clock)
        return -ENOSYS;
    if (o->ready && (!o->ready_size || (o->ready_size & (o->ready_size - 1))))
        return -EINVAL;
    loop->watched = o->slow_step || o->on_event;
    return 0;
}

CORO_API int coro_loop_init(coro_loop *loop, const coro_options *options)
{
    static const coro_loop none = CORO__ZERO;
    int e;
    *loop = none;
    e = coro__configure(loop, options);
    if (e)
        return e;
    coro__list_init(&loop->due);
#if CORO_READY_RING
    loop->ready = loop->options.ready ? loop->options.ready : loop->small;
    loop->mask = (loop->options.ready ? loop->options.ready_size : 16) - 1;
    loop->random = loop->options.seed;
#endif /* CORO_READY_RING */
    if (loop->options.arena) {
        size_t skip = (size_t)(-(uintptr_t)loop->options.arena & (CORO_GRAIN - 1));
        loop->arena = true;
        loop->slab = (char *)loop->options.arena + skip;
        loop->slab_end = (char *)loop->options.arena + loop->options.arena_size;
        if (loop->options.arena_size < skip)
            loop->slab_end = loop->slab;
    }
    loop->slab_size = 2048;
    loop->window = 1;
    (void)coro__read_clock(loop);
#if CORO_WHEEL_BITS
    coro__list_init(&loop->fresh);
    for (int i = 0; i < CORO__LEVELS * CORO__SLOTS; i++)
        coro__list_init(&loop->slots[i / CORO__SLOTS][i % CORO__SLOTS]);
    loop->tick = coro__tick_of(loop->now);
#endif /* CORO_WHEEL_BITS */
    loop->special = loop->watched || loop->options.seed;
    loop->root.loop = loop;
    loop->root.mode = CORO_COLLECT;
    loop->root.winner = -1;
    loop->root.attention = loop->watched;
    coro__list_init(&loop->root.children);
    loop->root.scope.core.kind = CORO__GROUP;
    loop->root.scope.core.flags = CORO__OPEN;
    return 0;
}

CORO_API int coro_loop_fini(coro_loop *loop)
{
    coro__piece *slab;
    if (loop->running || loop->alive)
        return -EBUSY;
#if CORO_DEBUG
    if (loop->generators)
        coro__report(loop, NULL,
                     CORO__T("a generator was begun and never ended: coro_gen_close it"));
#endif /* CORO_DEBUG */
    if (loop->options.driver.fini)
        loop->options.driver.fini(loop->options.driver.arg);
    loop->options.driver.fini = NULL;
#if CORO_READY_RING
    if (loop->ready && loop->ready != loop->small && loop->ready != loop->options.ready)
        coro_loop_free(loop, loop->ready, (loop->mask + 1) * sizeof *loop->ready);
    loop->ready = NULL;
#endif /* CORO_READY_RING */
    while ((slab = (coro__piece *)loop->slabs) != NULL) {
        loop->slabs = slab->next;
        coro__give(loop, slab, slab->size);
    }
    for (size_t c = 0; c <= CORO_CLASSES; c++)
        loop->free[c] = NULL;
    loop->slab = loop->slab_end = NULL;
    loop->options.allocator.alloc = NULL;
    loop->root.scope.core.flags = 0; /* nothing can be spawned any more */
    return 0;
}

CORO_API int coro__run(const coro_options *options, coro_around *around, coro_task *task,
                       const coro_info *info)
{
    coro_loop loop;
    int rc, e = coro_loop_init(&loop, options);
    if (e)
        return e;
    task->core.flags = 0;
    task->core.outer = NULL;
    loop.main = task;
    rc = coro__start(&loop.root, task, info);
    if (rc == 0) {
        task->core.flags |= CORO__NOTED;
        if (around)
            around->begin(around, task);
        rc = coro_loop_run(&loop);
        if (rc == 0)
            rc = coro__task_result(task);
        if (around)
            rc = around->end(around, rc);
    }
    (void)coro_loop_fini(&loop);
    return rc;
}

/* --- looking inside ------------------------------------------------------------------------ */

/* "task 2 worker has waited 0.120 s for queue get", and the chain of its frames. */
static inline void coro__dump_task(coro__text *t, const coro_task *task, int depth)
{
    const char *what = task->waiting ? task->waiting->ops->what : NULL;
    coro_time now = task->loop->now, when = task->core.timer.when;
    coro__say(t, "%itask %u %s", depth, (unsigned)task->core.index, coro__task_name(task));
    if (!what)
        coro__say(t, " is ready");
    else if (task->core.flags & CORO__ARMED)
        coro__say(t, " waits for %s, at most %t", what, coro_time_since(when, now));
    else
        coro__say(t, " has waited %t for %s", coro_time_since(now, when), what);
    coro__say(t, coro_cancelled(task) ? ", cancelled\n" : "\n");
    for (const coro_frame *frame = task->leaf; frame; frame = frame->caller)
        coro__say(t, "%i%p%s\n", depth + 2, frame->info, coro__line(frame),
                  frame->place & 0xffffu ? "" : " (not begun)");
}

static inline void coro__dump_group(coro__text *t, const coro_group *group, int depth)
{
    static const char *const modes[] = {"all", "collect", "race"};
    coro__say(t, "%igroup %s", depth, modes[group->mode]);
    if (group->scope.frame)
        coro__say(t, " of %p", group->scope.frame->info, (unsigned)group->scope.core.index);
    coro__say(t, ": %u alive, %u failed%s\n", (unsigned)group->alive, (unsigned)group->failed,
              group->scope.core.flags & CORO__EFFECTIVE ? ", cancelled" : "");
}

CORO_API void coro_dump(coro_loop *loop, const coro_sink *sink)
{
    coro_core *core = &loop->root.scope.core;
    int depth = 0;
    coro__text t = {sink ? sink : &loop->options.report, 0, ""};
    for (; CORO_TEXTS && core; core = coro__walk(core, &depth)) {
        if (core->kind == CORO__TASK)
            coro__dump_task(&t, coro__task_of(core), depth);
        else if (core->kind == CORO__GROUP)
            coro__dump_group(&t, (coro_group *)(void *)core, depth);
    }
}

CORO_API coro_loop_stats coro_stats(const coro_loop *loop)
{
    coro_loop_stats s = {loop->alive, coro__ready_count(loop), loop->timers, loop->held,
                         loop->steps, loop->spawned,           loop->parked, loop->memory};
    return s;
}

#define CORO__EXPECT(x, text)                                                                     \
    if (!(x))                                                                                     \
        return CORO__T(text);

/* One task's part of coro_verify. */
static inline const char *coro__verify_task(const coro_task *task)
{
    const coro_core *core = task->core.inner, *inside = NULL;
    CORO__EXPECT(task->core.flags & CORO__OPEN, "a task in a group has ended")
    CORO__EXPECT(task->sibling.next->prev == &task->sibling, "a sibling ring is broken")
    CORO__EXPECT(coro_cancelled(task) == ((core->flags & CORO__EFFECTIVE) != 0),
                 "a task's copy of its innermost scope's state is stale")
    for (; core->kind != CORO__TASK; inside = core, core = core->outer) {
        CORO__EXPECT(core->flags & CORO__OPEN, "a closed scope is in a chain")
        CORO__EXPECT(!inside || core->inner == inside, "a chain is broken")
    }
    CORO__EXPECT(!task->waiting || !task->waiting->head || task->wait.next->prev == &task->wait,
                 "a wait queue is broken")
    return NULL;
}

CORO_API const char *coro_verify(coro_loop *loop)
{
    coro_core *core = &loop->root.scope.core;
    const char *wrong;
    int depth = 0;
    uint32_t tasks = 0, timers = 0, busy = coro__ready_count(loop);
    for (; core; core = coro__walk(core, &depth)) {
        bool armed = (core->flags & CORO__ARMED) != 0;
        bool cancelled = (core->flags & CORO__REQUESTED) || coro__from_outside(core);
        timers += armed;
        CORO__EXPECT(((core->flags & CORO__EFFECTIVE) != 0) == cancelled,
                     "a core's effective state is stale")
        CORO__EXPECT(!armed || core->timer.link.next->prev == &core->timer.link,
                     "a timer list is broken")
        if (core->kind == CORO__TASK) {
            tasks++;
            busy += coro__task_of(core)->waiting != NULL;
            if ((wrong = coro__verify_task(coro__task_of(core))) != NULL)
                return wrong;
        }
    }
    CORO__EXPECT(tasks == loop->alive, "tasks are missing from the tree")
    CORO__EXPECT(timers == loop->timers, "timers are missing from the wheel")
    CORO__EXPECT(busy <= tasks, "a task is in the run queue and waits as well")
    CORO__EXPECT(loop->running || busy == tasks, "a task neither waits nor is ready")
    return NULL;
}

#endif /* !CORO_SHARED || CORO_IMPLEMENTATION */
#pragma GCC diagnostic pop
#endif /* CORO_H */

/*
 * MIT License, copyright (c) 2026 the coro authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
 * NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */

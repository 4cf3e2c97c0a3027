/* test_coroutine2.c -- the second file of test_coroutine.c's tests about several files, and awaits
 * in a switch: here labels are values. */
#if !(defined __clang__ && defined __cplusplus)
#undef CORO_LABELS_AS_VALUES
#define CORO_LABELS_AS_VALUES 1
#endif /* !(defined __clang__ && defined __cplusplus) */

#include "coro.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

/* What a header would hold: the same lines are in test_coroutine.c, which defines near_by. */
struct far_away {
    CORO_FRAME;
    int n;
    bool wait;
};
CORO_DECLARE(far_away);

struct near_by {
    CORO_FRAME;
    int n;
    struct far_away sub;
};
CORO_DECLARE(near_by);

CORO_DEFINE(far_away)
{
    CORO_BEGIN();
    if (my->wait)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(my->n);
    CORO_END(my->n + 1);
}

static const coro_options virtual_time = {.clock = CORO_VIRTUAL};

#if CORO_LABELS_AS_VALUES
static char trace[512];

static void note(const char *text, int n)
{
    size_t used = strlen(trace);
    CHECK(used + strlen(text) + 16 < sizeof trace);
    snprintf(trace + used, sizeof trace - used, "%s%d ", text, n);
}

enum state { IDLE, BUSY, RESTING, FINISHED };

/* A state machine as people write it, with awaits of all kinds in the switch. */
struct machine {
    CORO_FRAME;
    enum state state;
    struct far_away sub;
    int rounds, n, i, fail;
};

CORO(machine)
{
    CORO_BEGIN();
    while (my->state != FINISHED) {
        switch (my->state) {
        case IDLE:
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
            note("idle", my->rounds);
            my->state = BUSY;
            break;
        case BUSY:
            CORO_TRY(my->n, coro_call(co, &my->sub, far_away, .n = my->n, .wait = true));
            for (my->i = 0; my->i < 2; my->i++) {
                CORO_TRY(coro_sleep(co, CORO_MS(1)));
                switch (my->i) {
                case 0:
                    CORO_IGNORE(coro_sleep(co, CORO_MS(1)));
                    break;
                default:
                    CORO_AWAIT(my->n, coro_call(co, &my->sub, far_away, .n = my->n));
                    break;
                }
            }
            note("busy", my->n);
            my->state = RESTING;
            break;
        default:
            CORO_TRY(my->rounds == 1 ? my->fail : 0);
            CORO_TRY(coro_sleep(co, 0));
            note("rest", my->rounds);
            my->state = ++my->rounds == 3 ? FINISHED : IDLE;
            break;
        }
    }
CORO_FINALLY:
    switch (my->rounds) {
    case 3:
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        note("three", CORO_ERR);
        break;
    default:
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        note("fewer", CORO_ERR);
        break;
    }
    CORO_END(my->n);
}

TEST(awaits_may_stand_in_a_switch_where_labels_are_values)
{
    CHECK_EQ(coro_run_with(&virtual_time, machine), 6);
    CHECK_STR(trace, "idle0 busy2 rest0 idle1 busy4 rest1 idle2 busy6 rest2 three0 ");
}

TEST(failed_await_in_a_switch_leaves_where_labels_are_values)
{
    CHECK_EQ(coro_run_with(&virtual_time, machine, .fail = -9), -9);
    CHECK_STR(trace, "idle0 busy2 rest0 idle1 busy4 fewer-9 ");
}

/* Called directly with a constant frame, and resumed by the loop: both must mean the same labels,
 * whatever copies of the function a compiler might like to make. */
struct copied {
    CORO_FRAME;
    int n, i;
};

CORO(copied)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->n; my->i++)
        CORO_TRY(coro_sleep(co, my->i));
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(my->i);
}

static struct copied constant_frame;

struct calls_copies {
    CORO_FRAME;
    struct copied sub;
    int a, b, c;
};

CORO(calls_copies)
{
    CORO_BEGIN();
    CORO_TRY(my->a, coro_call(co, &constant_frame, copied, .n = 3));
    CORO_TRY(my->b, coro_call(co, &my->sub, copied, .n = 4));
    CORO_TRY(my->c, coro_call(co, &constant_frame, copied, .n = 5));
    CORO_END(my->a * 100 + my->b * 10 + my->c);
}

TEST(labels_as_values_survive_copies_of_a_function)
{
    CHECK_EQ(coro_run_with(&virtual_time, calls_copies), 345);
}

/* What follows the first await only fails, so gcc moves it to where the whole program's cold code
 * is. */
struct cold_label {
    CORO_FRAME;
    bool fail;
};

CORO(cold_label)
{
    CORO_BEGIN();
    if (my->fail) {
        CORO_IGNORE(coro_sleep(co, 0));
        CORO_FAIL(-5);
    }
    CORO_TRY(coro_sleep(co, 0));
    CORO_END(0);
}

TEST(far_label_works_where_labels_are_values)
{
    CHECK_EQ(coro_run_with(&virtual_time, cold_label), 0);
    CHECK_EQ(coro_run_with(&virtual_time, cold_label, .fail = true), -5);
}
#endif /* CORO_LABELS_AS_VALUES */

/* The place in a dump is the file of the definition. */
static char dumped[4096];

static void keep_text(void *arg, const char *text)
{
    (void)arg;
    CHECK(strlen(dumped) + strlen(text) < sizeof dumped);
    strcat(dumped, text);
}

struct dumps {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(near_by) t;
};

CORO(dumps)
{
    static const coro_sink sink = {keep_text, NULL};
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, near_by, .n = 3);
    CORO_TRY(coro_sleep(co, 0));
    coro_dump(coro_loop_of(co), &sink);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(coro_task_result(&my->t));
}

TEST(chain_of_frames_names_the_file_of_each_coroutine)
{
    CHECK_EQ(coro_run_with(&virtual_time, dumps), 5);
#if CORO_NAMES
    CHECK_CONTAINS(dumped, "near_by");
    CHECK_CONTAINS(dumped, "test_coroutine.c:");
    CHECK_CONTAINS(dumped, "far_away");
    CHECK_CONTAINS(dumped, "test_coroutine2.c:");
#endif /* CORO_NAMES */
}

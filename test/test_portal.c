/* test_portal.c -- threads that call into a loop and wait. (X13, X14, X15, X19)
 *
 * The loop is a thread's of its own, the test is the other one.
 */
#include "io.h"

static coro_portal portal;
static pthread_t loop_thread;
static int opened, unseen;

static void count_unseen(void *arg, coro_task *task, int error)
{
    (void)arg;
    (void)task;
    (void)error;
    unseen++;
}

struct home {
    CORO_FRAME;
};

static coro_task *home_task;

CORO(home)
{
    CORO_BEGIN();
    CORO_TRY(coro_portal_open(co, &portal));
    CHECK_EQ(coro_portal_open(co, &portal), -EBUSY);
    CHECK_EQ(coro_portal_fini(&portal), -EBUSY);
    home_task = co;
    __atomic_store_n(&opened, 1, __ATOMIC_RELEASE);
    CORO_TRY(coro_sleep(co, CORO_FOREVER)); /* no deadlock: somebody may call */
    CORO_END(0);
}

static void *run_home(void *arg)
{
    coro_options o;
    memset(&o, 0, sizeof o);
    o.on_error = count_unseen;
    *(int *)arg = coro_run_with(&o, home);
    return NULL;
}

static int home_result;

static void open_home(void)
{
    CHECK_EQ(pthread_create(&loop_thread, NULL, run_home, &home_result), 0);
    while (!__atomic_load_n(&opened, __ATOMIC_ACQUIRE))
        sched_yield();
}

struct goes {
    CORO_FRAME;
};

CORO(goes)
{
    CORO_BEGIN();
    (void)coro_task_cancel(home_task);
    CORO_END(0);
}

static void close_home(void)
{
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, goes), 0);
    CHECK_EQ(pthread_join(loop_thread, NULL), 0);
    CHECK_EQ(home_result, -ECANCELED);
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, goes), -ESHUTDOWN);
    CHECK_EQ(coro_portal_fini(&portal), 0);
    CHECK_EQ(coro_portal_fini(&portal), 0);
}

struct visitor {
    CORO_FRAME;
    int *ended;
    coro_time d;
    int result;
};

CORO(visitor)
{
    CORO_BEGIN();
    CHECK(pthread_equal(pthread_self(), loop_thread));
    CORO_TRY(coro_sleep(co, my->d));
CORO_FINALLY:
    ++*my->ended;
    CORO_END(my->result);
}

TEST(thread_calls_into_a_loop_and_has_the_result)
{
    int ended = 0;
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, goes), -EINVAL); /* not opened yet */
    open_home();
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, visitor, .ended = &ended, .result = 7), 7);
    CHECK_EQ(coro_portal_call(&portal, CORO_S(5), visitor, .ended = &ended, .d = CORO_MS(1),
                              .result = -EPROTO), -EPROTO);
    CHECK_EQ(ended, 2);
    close_home();
    CHECK_EQ(unseen, 1);
}

enum { CALLS = 200 };

static void *call_often(void *arg)
{
    for (int i = 0; i < CALLS; i++)
        CHECK_EQ(coro_portal_call(&portal, CORO_S(5), visitor, .ended = (int *)arg, .result = i),
                 i);
    return NULL;
}

TEST(threads_that_call_into_a_loop_at_once_all_have_their_own_results)
{
    pthread_t t[4];
    int ended = 0;
    open_home();
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, call_often, &ended), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    close_home();
    CHECK_EQ(ended, 4 * CALLS);
}

struct self {
    CORO_FRAME;
    int rc;
};

CORO(self)
{
    CORO_BEGIN();
    my->rc = coro_portal_call(&portal, CORO_FOREVER, goes);
    CORO_END(my->rc);
}

TEST(thread_of_the_loop_itself_is_refused) /* X13 */
{
    open_home();
    CHECK_EQ(coro_portal_call(&portal, CORO_S(5), self), -EDEADLK);
    close_home();
}

TEST(thread_whose_time_is_over_has_its_task_cancelled_and_ended) /* X15 */
{
    int ended = 0;
    open_home();
    for (coro_time limit = CORO_MS(2); !ended; limit *= 2) /* until it has been let in */
        CHECK_EQ(coro_portal_call(&portal, limit, visitor, .ended = &ended, .d = CORO_FOREVER),
                 -ETIMEDOUT);
    CHECK_EQ(ended, 1);
    close_home();
}

static int is_stuck;

struct stuck {
    CORO_FRAME;
    int *go;
};

/* The loop's thread stands still: nobody can enter. */
CORO(stuck)
{
    CORO_BEGIN();
    __atomic_store_n(&is_stuck, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(my->go, __ATOMIC_ACQUIRE))
        sched_yield();
    CORO_END(0);
}

static void *get_stuck(void *go)
{
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, stuck, .go = (int *)go), 0);
    return NULL;
}

static const void *first_visit;

/* When there is a second caller, whose time is over then. */
static void *unstick(void *go)
{
    for (const void *last = first_visit; last == first_visit; sched_yield()) {
        pthread_mutex_lock(&portal.lock);
        last = portal.visits;
        pthread_mutex_unlock(&portal.lock);
    }
    usleep(10000);
    __atomic_store_n((int *)go, 1, __ATOMIC_RELEASE);
    return NULL;
}

TEST(thread_whose_time_is_over_before_it_is_let_in_has_run_nothing) /* X15 */
{
    pthread_t t, u;
    static int go;
    int ended = 0;
    open_home();
    CHECK_EQ(pthread_create(&t, NULL, get_stuck, &go), 0);
    while (!__atomic_load_n(&is_stuck, __ATOMIC_ACQUIRE))
        sched_yield();
    first_visit = portal.visits;
    CHECK_EQ(pthread_create(&u, NULL, unstick, &go), 0);
    CHECK_EQ(coro_portal_call(&portal, CORO_MS(1), visitor, .ended = &ended, .d = CORO_FOREVER),
             -ETIMEDOUT);
    CHECK(ended <= 1); /* 1: this thread had no turn for 10 ms */
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(pthread_join(u, NULL), 0);
    close_home();
}

static void *wait_inside(void *ended)
{
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, visitor, .ended = (int *)ended,
                              .d = CORO_FOREVER), -ESHUTDOWN);
    return NULL;
}

struct counts {
    CORO_FRAME;
};

CORO(counts)
{
    CORO_BEGIN();
    CORO_END((int)coro_stats(coro_loop_of(co)).tasks);
}

TEST(threads_that_wait_in_a_loop_that_ends_are_told) /* X14 */
{
    pthread_t t[3];
    int ended = 0;
    open_home();
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, wait_inside, &ended), 0);
    while (coro_portal_call(&portal, CORO_S(5), counts) < 5)
        sched_yield();
    CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, goes), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK_EQ(ended, 3);
    CHECK_EQ(pthread_join(loop_thread, NULL), 0);
    CHECK_EQ(coro_portal_fini(&portal), 0);
}

static void *call_until_it_is_over(void *ended)
{
    int rc = 0;
    while (rc != -ESHUTDOWN) {
        rc = coro_portal_call(&portal, CORO_S(5), visitor, .ended = (int *)ended);
        CHECK(rc == 0 || rc == -ESHUTDOWN);
    }
    return NULL;
}

TEST(threads_that_call_while_the_loop_ends_neither_hang_nor_crash) /* X14 */
{
    for (int round = 0; round < 20; round++) {
        pthread_t t[2];
        int ended = 0;
        opened = 0;
        open_home();
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, call_until_it_is_over, &ended), 0);
        CHECK_EQ(coro_portal_call(&portal, CORO_FOREVER, goes), 0);
        CHECK_EQ(pthread_join(loop_thread, NULL), 0);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
        CHECK_EQ(coro_portal_fini(&portal), 0);
    }
}

/* ---- there and back -------------------------------------------------------------------------- */

static intptr_t answer(coro_job *job, void *arg)
{
    (void)job;
    (void)arg;
    return 42;
}

struct nested {
    CORO_FRAME;
    int rc;
};

CORO(nested)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_blocking(co, answer, &my->rc));
    CORO_END(my->rc);
}

static intptr_t call_back(coro_job *job, void *arg)
{
    (void)job;
    return coro_portal_call(&portal, *(const coro_time *)arg, nested);
}

struct there {
    CORO_FRAME;
    unsigned threads;
    coro_time limit;
    coro_threads_options o;
    int rc;
};

CORO(there)
{
    CORO_BEGIN();
    my->o.threads = my->threads;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->o));
    CORO_TRY(coro_portal_open(co, &portal));
    CORO_AWAIT(my->rc, coro_blocking(co, call_back, &my->limit));
    CORO_END(my->rc < 0 ? 1 : my->rc);
}

TEST(thread_of_a_job_may_call_back_and_is_not_stuck_when_there_is_no_other) /* X19 */
{
    CHECK_EQ(coro_run(there, .threads = 2, .limit = CORO_FOREVER), 42);
    CHECK_EQ(coro_portal_fini(&portal), 0);
    CHECK_EQ(coro_run(there, .threads = 1, .limit = CORO_MS(5)), 1); /* timed out */
    CHECK_EQ(coro_portal_fini(&portal), 0);
}

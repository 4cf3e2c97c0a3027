/* test_thread.c -- blocking functions on threads, names, mailboxes, a loop per thread, files.
 * (X01-X08, X16-X23, Z14)
 */
#include "coro_io.h"
#include "test.h"
#include "world.h"

#include <semaphore.h>
#include <sys/resource.h>

/* ---- the world: descriptors and threads ------------------------------------------------------ */

static int fds_before, threads_before;

static void note_world(void)
{
    fds_before = open_descriptors();
    threads_before = open_threads();
}

/* A thread that was joined is still listed for a moment; a thread sanitizer has one of its own. */
static void check_world(void)
{
    int extra = 0;
#if defined __SANITIZE_THREAD__
    extra = 1;
#endif /* defined __SANITIZE_THREAD__ */
#if defined __has_feature
#if __has_feature(thread_sanitizer)
    extra = 1;
#endif /* __has_feature(thread_sanitizer) */
#endif /* defined __has_feature */
    CHECK_EQ(open_descriptors(), fds_before);
    for (int i = 0; i < 1000 && open_threads() > threads_before + extra; i++)
        usleep(1000);
    CHECK(open_threads() <= threads_before + extra);
}

#define RUN_CLEAN(want, ...)                                                                      \
    do {                                                                                          \
        note_world();                                                                             \
        CHECK_EQ(coro_run(__VA_ARGS__), want);                                                    \
        check_world();                                                                            \
    } while (0)

/* ---- jobs that the tests hold by the hand ---------------------------------------------------- */

struct gate {
    sem_t begun, go;
    int runs;      /* atomic */
    int cancelled; /* what the job saw at its end */
    int dropped;
    intptr_t result;
};

static struct gate gate;

static void gate_init(struct gate *g)
{
    sem_init(&g->begun, 0, 0);
    sem_init(&g->go, 0, 0);
}

static void sem_take(sem_t *s)
{
    while (sem_wait(s) < 0)
        continue;
}

static int add(int *at, int n)
{
    return __atomic_add_fetch(at, n, __ATOMIC_SEQ_CST);
}

static int look(int *at)
{
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

static intptr_t pass_gate(coro_job *job, void *arg)
{
    struct gate *g = (struct gate *)arg;
    add(&g->runs, 1);
    sem_post(&g->begun);
    sem_take(&g->go);
    g->cancelled = coro_job_cancelled(job);
    return g->result;
}

static void drop_gate(void *arg)
{
    ((struct gate *)arg)->dropped++;
}

static intptr_t count_run(coro_job *job, void *arg)
{
    (void)job;
    add((int *)arg, 1);
    return 0;
}

struct gate_user {
    CORO_FRAME;
    struct gate *g;
    coro_threads *threads;
    bool abandon;
    int *ended;
    void *arg;
    intptr_t rc;
};

CORO(gate_user)
{
    CORO_BEGIN();
    my->arg = my->g;
    if (my->abandon)
        CORO_AWAIT(my->rc, coro_blocking_abandon(co, my->threads, pass_gate, &my->arg, drop_gate));
    else if (my->threads)
        CORO_AWAIT(my->rc, coro_blocking_on(co, my->threads, pass_gate, my->g));
    else
        CORO_AWAIT(my->rc, coro_blocking(co, pass_gate, my->g));
    if (my->ended)
        add(my->ended, 1);
    CORO_END(my->rc);
}

/* Stops the loop until the job has begun: a deadline meanwhile is seen later. */
struct until_begun {
    CORO_FRAME;
};

CORO(until_begun)
{
    CORO_BEGIN();
    sem_take(&gate.begun);
    CORO_END(0);
}

/* Wait until a job has begun. */
static intptr_t take_begun(coro_job *job, void *arg)
{
    (void)job;
    sem_take((sem_t *)arg);
    return 0;
}

/* ---- results --------------------------------------------------------------------------------- */

static intptr_t give(coro_job *job, void *arg)
{
    (void)job;
    return *(intptr_t *)arg;
}

struct results {
    CORO_FRAME;
    intptr_t wanted, rc;
};

/* X06, X07 */
CORO(results)
{
    CORO_BEGIN();
    my->wanted = 42;
    CORO_AWAIT(my->rc, coro_blocking(co, give, &my->wanted));
    CHECK_EQ(my->rc, 42);
    my->wanted = -ENOTTY;
    CORO_AWAIT(my->rc, coro_blocking(co, give, &my->wanted));
    CHECK_EQ(my->rc, -ENOTTY);
    CORO_AWAIT(my->rc, coro_blocking(co, NULL, NULL));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_END(7);
}

TEST(job_gives_what_its_function_returns)
{
    RUN_CLEAN(7, results);
}

struct thread_facts {
    pthread_t id;
    sigset_t blocked;
};

static intptr_t tell_thread(coro_job *job, void *arg)
{
    struct thread_facts *f = (struct thread_facts *)arg;
    (void)job;
    f->id = pthread_self();
    return pthread_sigmask(SIG_BLOCK, NULL, &f->blocked);
}

struct facts {
    CORO_FRAME;
    struct thread_facts f;
    sigset_t ours;
};

/* X21 */
CORO(facts)
{
    CORO_BEGIN();
    CORO_TRY(coro_blocking(co, tell_thread, &my->f));
    CHECK(!pthread_equal(my->f.id, pthread_self()));
    CHECK(sigismember(&my->f.blocked, SIGINT));
    CHECK(sigismember(&my->f.blocked, SIGCHLD));
    CHECK(sigismember(&my->f.blocked, SIGPIPE));
    pthread_sigmask(SIG_BLOCK, NULL, &my->ours);
    CHECK(!sigismember(&my->ours, SIGINT));
    CORO_END(0);
}

TEST(job_runs_on_another_thread_where_all_signals_are_blocked)
{
    RUN_CLEAN(0, facts);
}

struct beside {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(gate_user) user;
    int i;
};

CORO(beside)
{
    CORO_BEGIN();
    gate_init(&gate);
    gate.result = 5;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->user, gate_user, .g = &gate);
    for (my->i = 0; my->i < 10; my->i++) /* the gate is shut all this time */
        CORO_TRY(coro_sleep(co, CORO_US(100)));
    CHECK_EQ(coro_task_status(&my->user), CORO_RUNNING);
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->user), 5);
    CHECK_EQ(gate.cancelled, 0);
    CORO_END(0);
}

TEST(loop_goes_on_while_a_job_blocks)
{
    RUN_CLEAN(0, beside);
}

struct one_after_the_other {
    CORO_FRAME;
    int i;
    int *count;
};

CORO(one_after_the_other)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 20; my->i++)
        CORO_TRY(coro_blocking(co, count_run, my->count));
    CORO_END(0);
}

struct crowd {
    CORO_FRAME;
    coro_group g;
    int i, count;
};

/* X08: no completion is lost. */
CORO(crowd)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 20; my->i++)
        coro_spawn(&my->g, one_after_the_other, .count = &my->count);
    CORO_CLOSE(&my->g);
    CORO_END(my->count);
}

TEST(job_completions_are_not_lost)
{
    RUN_CLEAN(400, crowd);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

struct in_cancelled_scope {
    CORO_FRAME;
    coro_scope s;
    int count, rc;
};

/* X04 */
CORO(in_cancelled_scope)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->s);
    coro_scope_cancel(&my->s);
    CORO_AWAIT(my->rc, coro_blocking(co, count_run, &my->count));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->s, my->rc), 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).held, 0);
    CORO_END(my->count);
}

TEST(job_is_not_submitted_in_a_cancelled_scope)
{
    RUN_CLEAN(0, in_cancelled_scope);
}

struct queued {
    CORO_FRAME;
    coro_threads_options options;
    coro_group g;
    CORO_TASK(gate_user) first, second, third;
    struct gate other, another;
    int rc;
};

/* X01 */
CORO(queued)
{
    CORO_BEGIN();
    gate_init(&gate);
    gate_init(&my->other);
    gate_init(&my->another);
    my->options.threads = 1;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->first, gate_user, .g = &gate);
    coro_start(&my->g, &my->second, gate_user, .g = &my->other);
    coro_start(&my->g, &my->third, gate_user, .g = &my->another);
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_threads_for(coro_loop_of(co), &my->options), -EBUSY);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_blocking(co, pass_gate, &my->other)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_blocking(co, pass_gate, &my->other)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    coro_task_cancel(&my->second);
    CORO_AWAIT(my->rc, coro_join(co, &my->second));
    CHECK_EQ(my->rc, -ECHILD);
    CHECK_EQ(my->second.frame.rc, -ECANCELED);
    sem_post(&gate.go);
    sem_post(&my->another.go); /* behind the one that is gone */
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->other.runs, 0);
    CHECK_EQ(my->another.runs, 1);
    CORO_END(0);
}

TEST(job_that_is_cancelled_while_queued_never_runs)
{
    RUN_CLEAN(0, queued);
}

struct running {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(gate_user) user;
    bool abandon;
    intptr_t rc;
};

/* X02, X16 */
CORO(running)
{
    CORO_BEGIN();
    gate_init(&gate);
    gate.result = 99;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->user, gate_user, .g = &gate, .abandon = my->abandon);
    CORO_TRY(coro_blocking(co, take_begun, &gate.begun));
    coro_task_cancel(&my->user);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_status(&my->user), my->abandon ? CORO_CANCELLED : CORO_RUNNING);
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->user.frame.arg != NULL, !my->abandon);
    CORO_END(my->user.frame.rc);
}

TEST(job_that_is_cancelled_while_it_runs_delivers_its_result)
{
    RUN_CLEAN(99, running);
    CHECK_EQ(gate.cancelled, 1);
}

/* X02, X03, X17: joined at the loop's end. */
TEST(abandoned_job_ends_the_await_at_once_and_is_joined_at_the_end)
{
    RUN_CLEAN(-ECANCELED, running, .abandon = true);
    CHECK_EQ(gate.cancelled, 1);
    CHECK_EQ(gate.dropped, 1);
}

struct owned {
    CORO_FRAME;
    coro_threads_options options;
    coro_group g;
    CORO_TASK(gate_user) first, second;
    void *arg;
    intptr_t rc;
};

/* Not abandoned, whether it ran or not: the argument stays the caller's. */
CORO(owned)
{
    CORO_BEGIN();
    gate_init(&gate);
    gate.result = 6;
    my->options.threads = 1;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->first, gate_user, .g = &gate, .abandon = true);
    coro_start(&my->g, &my->second, gate_user, .g = &gate, .abandon = true);
    CORO_TRY(coro_sleep(co, 0));
    coro_task_cancel(&my->second);
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->first.frame.rc, 6);
    CHECK(my->first.frame.arg == &gate);
    CHECK_EQ(my->second.frame.rc, -ECANCELED);
    CHECK(my->second.frame.arg == &gate);
    CHECK_EQ(gate.runs, 1);
    CHECK_EQ(gate.dropped, 0);
    CORO_END(0);
}

TEST(job_that_is_not_abandoned_leaves_its_argument_alone)
{
    RUN_CLEAN(0, owned);
}

static intptr_t run_until_told(coro_job *job, void *arg)
{
    sem_post((sem_t *)arg);
    while (!coro_job_cancelled(job))
        usleep(200);
    return 8;
}

struct over_time {
    CORO_FRAME;
    coro_group g;
    intptr_t rc;
};

CORO(over_time)
{
    CORO_BEGIN();
    gate_init(&gate);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, until_begun);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1),
                                   coro_blocking(co, run_until_told, &gate.begun)));
    CORO_CLOSE(&my->g);
    CORO_END(my->rc);
}

TEST(job_that_is_over_its_time_is_told_and_delivers_its_result)
{
    RUN_CLEAN(8, over_time);
}

struct stuck {
    CORO_FRAME;
    coro_threads_options options;
    coro_group g;
    void *arg;
    intptr_t rc;
};

CORO(stuck)
{
    CORO_BEGIN();
    gate_init(&gate);
    my->options.limit = CORO_MS(5);
    my->arg = &gate;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, until_begun);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1),
                                   coro_blocking_abandon(co, NULL, pass_gate, &my->arg, NULL)));
    CORO_CLOSE(&my->g);
    CHECK(!my->arg);
    CORO_END(my->rc);
}

static char said[256];

static void say(void *arg, const char *text)
{
    (void)arg;
    strncat(said, text, sizeof said - strlen(said) - 1);
}

/* X17, Z14, X03 */
TEST(loop_ends_in_time_although_an_abandoned_job_is_stuck_and_says_so)
{
    coro_options options = CORO__ZERO;
    time_t start = time(NULL);
    options.report.put = say;
    note_world();
    CHECK_EQ(coro_run_with(&options, stuck), -ETIMEDOUT);
    CHECK(time(NULL) - start < 3);
    CHECK_CONTAINS(said, "abandoned jobs have not");
    sem_post(&gate.go); /* its end harms nobody */
    check_world();
}

/* ---- how many -------------------------------------------------------------------------------- */

static pthread_barrier_t meeting;

static intptr_t meet(coro_job *job, void *arg)
{
    (void)job;
    (void)arg;
    pthread_barrier_wait(&meeting);
    return 0;
}

struct meeter {
    CORO_FRAME;
};

CORO(meeter)
{
    CORO_BEGIN();
    CORO_TRY(coro_blocking(co, meet, NULL));
    CORO_END(0);
}

struct four {
    CORO_FRAME;
    coro_group g;
    int i, round;
};

/* X20 */
CORO(four)
{
    CORO_BEGIN();
    pthread_barrier_init(&meeting, NULL, 4);
    for (my->round = 0; my->round < 20; my->round++) {
        coro_group_open(co, &my->g, CORO_ALL);
        for (my->i = 0; my->i < 4; my->i++)
            coro_spawn(&my->g, meeter);
        CORO_CLOSE(&my->g);
    }
    CORO_END(0);
}

TEST(four_jobs_have_four_threads)
{
    RUN_CLEAN(0, four);
}

static int at_once, most_at_once;

static intptr_t crowd_in(coro_job *job, void *arg)
{
    int n = add(&at_once, 1);
    int most = look(&most_at_once);
    (void)job;
    (void)arg;
    while (n > most && !__atomic_compare_exchange_n(&most_at_once, &most, n, false,
                                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
    usleep(500);
    add(&at_once, -1);
    return 0;
}

struct crowder {
    CORO_FRAME;
};

CORO(crowder)
{
    CORO_BEGIN();
    CORO_TRY(coro_blocking(co, crowd_in, NULL));
    CORO_END(0);
}

struct sixteen {
    CORO_FRAME;
    coro_group g;
};

CORO(sixteen)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 16; i++)
        coro_spawn(&my->g, crowder);
    CORO_CLOSE(&my->g);
    CHECK(look(&most_at_once) <= 4);
    CORO_END(0);
}

/* X05 */
TEST(sixteen_jobs_have_no_more_than_four_threads)
{
    RUN_CLEAN(0, sixteen);
}

struct full {
    CORO_FRAME;
    coro_threads_options options;
    coro_group g;
    CORO_TASK(gate_user) user[3];
    int count, rc;
};

CORO(full)
{
    CORO_BEGIN();
    gate_init(&gate);
    my->options.threads = 1;
    my->options.queue = 1;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->user[0], gate_user, .g = &gate);
    CORO_TRY(coro_sleep(co, 0));
    sem_take(&gate.begun);
    coro_start(&my->g, &my->user[1], gate_user, .g = &gate);
    coro_start(&my->g, &my->user[2], gate_user, .g = &gate);
    CORO_AWAIT(my->rc, coro_join(co, &my->user[2]));
    CHECK_EQ(my->rc, -EAGAIN);
    CORO_AWAIT(my->rc, coro_blocking(co, count_run, &my->count));
    CHECK_EQ(my->rc, -EAGAIN);
    sem_post(&gate.go);
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CORO_AWAIT(my->rc, coro_blocking(co, count_run, &my->count));
    CHECK_EQ(my->rc, 0);
    CORO_END(my->count);
}

TEST(job_beyond_the_limit_of_the_queue_has_eagain)
{
    RUN_CLEAN(1, full);
}

/* ---- threads that loops share ---------------------------------------------------------------- */

static coro_threads shared;

struct sharer {
    CORO_FRAME;
    int i, count;
};

CORO(sharer)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 100; my->i++)
        CORO_TRY(coro_blocking_on(co, &shared, count_run, &my->count));
    CORO_END(my->count);
}

static void *run_sharer(void *arg)
{
    *(int *)arg = coro_run(sharer);
    return NULL;
}

TEST(threads_can_be_shared_by_loops_on_several_threads)
{
    pthread_t thread[3];
    int result[3];
    note_world();
    CHECK_EQ(coro_threads_fini(&shared), 0);
    CHECK_EQ(coro_threads_init(&shared, NULL), 0);
    CHECK_EQ(coro_threads_init(&shared, NULL), -EBUSY);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, run_sharer, &result[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        CHECK_EQ(result[i], 100);
    }
    CHECK_EQ(coro_threads_fini(&shared), 0);
    CHECK_EQ(coro_threads_fini(&shared), 0);
    check_world();
}

struct awaited {
    CORO_FRAME;
    coro_group g;
    int rc;
};

/* X18 */
CORO(awaited)
{
    CORO_BEGIN();
    gate_init(&gate);
    CORO_AWAIT(my->rc, coro_blocking_on(co, &shared, count_run, NULL));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_TRY(coro_threads_init(&shared, NULL));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, gate_user, .g = &gate, .threads = &shared);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_threads_fini(&shared), -EBUSY);
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CORO_END(coro_threads_fini(&shared));
}

TEST(threads_do_not_end_while_a_job_is_awaited)
{
    RUN_CLEAN(0, awaited);
}

struct abandons_shared {
    CORO_FRAME;
    coro_group g;
    void *arg;
    int rc;
};

CORO(abandons_shared)
{
    CORO_BEGIN();
    my->arg = &gate;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, until_begun);
    CORO_AWAIT(my->rc,
               coro_within(co, CORO_MS(1),
                           coro_blocking_abandon(co, &shared, pass_gate, &my->arg, drop_gate)));
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_END(0);
}

/* X03: the loop is gone when the job ends. */
TEST(abandoned_job_on_shared_threads_may_outlive_the_loop)
{
    note_world();
    gate_init(&gate);
    CHECK_EQ(coro_threads_init(&shared, NULL), 0);
    CHECK_EQ(coro_run(abandons_shared), 0);
    sem_post(&gate.go);
    CHECK_EQ(coro_threads_fini(&shared), 0);
    CHECK_EQ(gate.runs, 1);
    CHECK_EQ(gate.cancelled, 1);
    CHECK_EQ(gate.dropped, 1);
    check_world();
}

/* ---- every allocation may fail --------------------------------------------------------------- */

static int allocations_left;

static void *alloc(void *arg, size_t size)
{
    (void)arg;
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void dealloc(void *arg, void *memory, size_t size)
{
    (void)arg;
    (void)size;
    free(memory);
}

TEST(job_survives_every_failing_allocation)
{
    int rc = -1, n;
    note_world();
    for (n = 0; n < 20 && rc < 0; n++) {
        coro_options options = CORO__ZERO;
        options.allocator.alloc = alloc;
        options.allocator.free = dealloc;
        allocations_left = n;
        rc = coro_run_with(&options, one_after_the_other, .count = &gate.runs);
        CHECK(rc == 0 || rc == -ENOMEM);
    }
    CHECK_EQ(rc, 0);
    CHECK(n > 1);
    check_world();
}

/* ---- names ----------------------------------------------------------------------------------- */

struct names {
    CORO_FRAME;
    coro_address to[4];
    char text[64], long_name[300];
    int n, before;
};

/* X23 */
CORO(names)
{
    CORO_BEGIN();
    my->before = open_threads();
    CORO_TRY(my->n, coro_resolve(co, "127.0.0.1", "80", my->to, 4));
    CHECK_EQ(my->n, 1);
    CHECK_STR(coro_address_print(&my->to[0], my->text, sizeof my->text), "127.0.0.1:80");
    CORO_TRY(my->n, coro_resolve(co, "::1", NULL, my->to, 4));
    CHECK_STR(coro_address_print(&my->to[0], my->text, sizeof my->text), "[::1]:0");
    CHECK_EQ(open_threads(), my->before); /* no thread was needed */
    memset(my->long_name, 'a', sizeof my->long_name - 1);
    CORO_AWAIT(my->n, coro_resolve(co, my->long_name, "80", my->to, 4));
    CHECK_EQ(my->n, -EINVAL);
    CORO_AWAIT(my->n, coro_resolve(co, "", "80", my->to, 4));
    CHECK_EQ(my->n, -EINVAL);
    CORO_AWAIT(my->n, coro_resolve(co, "127.0.0.1", "99999", my->to, 4));
    CHECK_EQ(my->n, -EINVAL);
    CORO_AWAIT(my->n, coro_resolve(co, "127.0.0.1", "80", my->to, 0));
    CHECK_EQ(my->n, -EINVAL);
    memset(my->to, 0, sizeof my->to);
    CORO_TRY(my->n, coro_resolve(co, "localhost", "80", my->to, 4));
    CHECK(my->n >= 1 && my->n <= 4);
    CHECK_EQ(coro_address_port(&my->to[0]), 80);
    CORO_TRY(my->n, coro_resolve(co, "localhost", "80", my->to, 1));
    CHECK_EQ(my->n, 1);
    CORO_END(0);
}

TEST(names_are_resolved_to_addresses)
{
    need_localhost();
    RUN_CLEAN(0, names);
#if !defined CORO_SHARED
    CHECK_EQ(coro__resolve_error(EAI_NONAME), -ENOENT);
    CHECK_EQ(coro__resolve_error(EAI_AGAIN), -EAGAIN);
    CHECK_EQ(coro__resolve_error(EAI_MEMORY), -ENOMEM);
    CHECK_EQ(coro__resolve_error(EAI_FAMILY), -EAFNOSUPPORT);
    CHECK_EQ(coro__resolve_error(EAI_SERVICE), -EINVAL);
    CHECK_EQ(coro__resolve_error(EAI_FAIL), -EIO);
#endif /* !defined CORO_SHARED */
}

struct name_dropped {
    CORO_FRAME;
    coro_address to[4];
    int i, rc;
};

CORO(name_dropped)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 50; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->i % 2 ? CORO_US(my->i * 10) : 0,
                                       coro_resolve(co, "localhost", "80", my->to, 4)));
        CHECK(my->rc == -ETIMEDOUT || my->rc >= 1);
    }
    CORO_END(0);
}

TEST(lookup_that_nobody_waits_for_any_more_leaves_nothing)
{
    need_localhost();
    RUN_CLEAN(0, name_dropped);
}

/* ---- mailboxes ------------------------------------------------------------------------------- */

struct letter {
    int from, number;
    char text[20];
};
typedef CORO_MAILBOX(struct letter, 4) letterbox;

static letterbox box;
enum { LETTERS = 700, WRITERS = 3 };

struct writer {
    CORO_FRAME;
    struct letter l;
    int from;
};

CORO(writer)
{
    CORO_BEGIN();
    my->l.from = my->from;
    for (my->l.number = 0; my->l.number < LETTERS; my->l.number++)
        CORO_TRY(coro_mailbox_put(co, &box, &my->l));
    CORO_END(0);
}

static void *run_writer(void *arg)
{
    CHECK_EQ(coro_run(writer, .from = (int)(intptr_t)arg), 0);
    return NULL;
}

struct reader {
    CORO_FRAME;
    struct letter l;
    int next[WRITERS + 1], n;
    bool got;
    int *total;
};

CORO(reader)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_mailbox_get(co, &box, &my->l));
        if (!my->got)
            break;
        CHECK(my->l.number >= my->next[my->l.from]); /* in order, from each */
        my->next[my->l.from] = my->l.number + 1;
        my->n++;
        if (my->total && add(my->total, 1) == LETTERS * WRITERS)
            coro_mailbox_close(&box);
    }
    CORO_END(my->n);
}

static int total;

static void *run_reader(void *arg)
{
    *(int *)arg = coro_run(reader, .total = &total);
    return NULL;
}

TEST(mailbox_carries_everything_from_several_loops_to_several_loops)
{
    pthread_t writers[WRITERS], readers[2];
    int got[2];
    note_world();
    CHECK_EQ(coro_mailbox_init(&box), 0);
    CHECK_EQ(coro_mailbox_init(&box), -EBUSY);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&readers[i], NULL, run_reader, &got[i]), 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_create(&writers[i], NULL, run_writer, (void *)(intptr_t)i), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    CHECK_EQ(got[0] + got[1], LETTERS * WRITERS);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    check_world();
}

TEST(mailbox_can_be_used_by_plain_threads)
{
    struct letter l = CORO__ZERO;
    CHECK_EQ(coro_mailbox_init(&box), 0);
    CHECK_EQ(coro_mailbox_try_get(&box, &l), -EAGAIN);
    for (l.number = 0; l.number < 4; l.number++)
        CHECK_EQ(coro_mailbox_try_put(&box, &l), 0);
    CHECK_EQ(coro_mailbox_try_put(&box, &l), -EAGAIN);
    CHECK_EQ(coro_mailbox_depth(&box), 4);
    CHECK_EQ(coro_mailbox_try_get(&box, &l), 1);
    CHECK_EQ(l.number, 0);
    coro_mailbox_close(&box);
    coro_mailbox_close(&box);
    CHECK_EQ(coro_mailbox_try_put(&box, &l), -EPIPE);
    for (int i = 1; i < 4; i++) {
        CHECK_EQ(coro_mailbox_try_get(&box, &l), 1);
        CHECK_EQ(l.number, i);
    }
    CHECK_EQ(coro_mailbox_try_get(&box, &l), 0);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
}

struct getter {
    CORO_FRAME;
    struct letter l;
    int rc;
};

CORO(getter)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_mailbox_get(co, &box, &my->l));
    CORO_END(my->rc);
}

struct putter {
    CORO_FRAME;
    struct letter l;
    int rc;
};

CORO(putter)
{
    CORO_BEGIN();
    my->l.number = 77;
    CORO_AWAIT(my->rc, coro_mailbox_put(co, &box, &my->l));
    CORO_END(my->rc);
}

struct mail_cancels {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(getter) get[3];
    CORO_TASK(putter) put[2];
    struct letter l;
    int rc, i;
};

/* Cancelled before: nothing is taken. An item that is theirs already is delivered. */
CORO(mail_cancels)
{
    CORO_BEGIN();
    CORO_TRY(coro_mailbox_init(&box));
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->get[i], getter);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_mailbox_fini(&box), -EBUSY);
    coro_task_cancel(&my->get[1]);
    my->l.number = 1;
    CHECK_EQ(coro_mailbox_try_put(&box, &my->l), 0);
    coro_task_cancel(&my->get[0]); /* too late */
    my->l.number = 2;
    CHECK_EQ(coro_mailbox_try_put(&box, &my->l), 0);
    CORO_AWAIT(my->rc, coro_join(co, &my->get[2]));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->get[0].frame.rc, 1);
    CHECK_EQ(my->get[0].frame.l.number, 1);
    CHECK_EQ(my->get[1].frame.rc, -ECANCELED);
    CHECK_EQ(my->get[2].frame.l.number, 2);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_mailbox_get(co, &box, &my->l)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    for (my->i = 0; my->i < 4; my->i++)
        CORO_TRY(coro_mailbox_put(co, &box, &my->l));
    coro_start(&my->g, &my->put[0], putter);
    coro_start(&my->g, &my->put[1], putter);
    CORO_TRY(coro_sleep(co, 0));
    coro_task_cancel(&my->put[0]);
    coro_mailbox_close(&box);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->put[0].frame.rc, -ECANCELED);
    CHECK_EQ(my->put[1].frame.rc, -EPIPE);
    CHECK_EQ(coro_mailbox_depth(&box), 4);
    CHECK_EQ(coro_stats(coro_loop_of(co)).held, 0);
    CORO_END(coro_mailbox_fini(&box));
}

TEST(mailbox_waits_can_be_cancelled_and_lose_nothing)
{
    RUN_CLEAN(0, mail_cancels);
}

/* ---- a loop on each thread ------------------------------------------------------------------- */

static int lanes, lanes_cancelled;
static pthread_barrier_t all_run;

struct lane {
    CORO_FRAME;
    int amount;
};

CORO(lane)
{
    CORO_BEGIN();
    add(&lanes, my->amount++);
    CHECK_EQ(my->amount, 6); /* a copy of its own */
    pthread_barrier_wait(&all_run);
    CORO_END(3);
}

TEST(run_threads_runs_a_loop_on_each_thread)
{
    note_world();
    pthread_barrier_init(&all_run, NULL, 4);
    CHECK_EQ(coro_run_threads(4, lane, .amount = 5), 0);
    CHECK_EQ(lanes, 20);
    check_world();
}

struct failing_lane {
    CORO_FRAME;
    struct letter l;
    int number, rc;
};

CORO(failing_lane)
{
    CORO_BEGIN();
    my->number = add(&lanes, 1);
    pthread_barrier_wait(&all_run);
    if (my->number == 2)
        CORO_FAIL(-ENOTTY);
    CORO_AWAIT(my->rc, coro_mailbox_get(co, &box, &my->l));
    CHECK_EQ(my->rc, -ECANCELED);
    add(&lanes_cancelled, 1);
    CORO_END(my->rc);
}

TEST(run_threads_gives_the_first_error_and_cancels_the_others)
{
    note_world();
    CHECK_EQ(coro_mailbox_init(&box), 0);
    pthread_barrier_init(&all_run, NULL, 3);
    CHECK_EQ(coro_run_threads(3, failing_lane), -ENOTTY);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    CHECK_EQ(lanes_cancelled, 2);
    check_world();
}

static char shared_address[64];
static int served;
enum { CALLS = 20 };

struct caller {
    CORO_FRAME;
    coro_fd conn;
    char c;
    int i;
};

CORO(caller)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < CALLS; my->i++) {
        CORO_TRY(coro_connect(co, &my->conn, shared_address));
        CORO_TRY(coro_read(co, &my->conn, &my->c, 1));
        coro_close(&my->conn);
    }
    CORO_FAIL(-EOWNERDEAD); /* ends the servers */
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct shared_server {
    CORO_FRAME;
    coro_fd listener, conn;
    coro_group g;
    coro_address a;
    bool first;
};

CORO(shared_server)
{
    CORO_BEGIN();
    my->first = add(&lanes, 1) == 1;
    if (my->first) {
        CORO_TRY(coro_listen_shared(&my->listener, "127.0.0.1:0", 0));
        CORO_TRY(coro_fd_local(&my->listener, &my->a));
        coro_address_print(&my->a, shared_address, sizeof shared_address);
        pthread_barrier_wait(&all_run);
    } else {
        pthread_barrier_wait(&all_run);
        CORO_TRY(coro_listen_shared(&my->listener, shared_address, 0));
    }
    pthread_barrier_wait(&all_run);
    coro_group_open(co, &my->g, CORO_ALL);
    if (my->first)
        coro_spawn(&my->g, caller);
    for (;;) {
        CORO_TRY(coro_accept(co, &my->listener, &my->conn));
        CORO_TRY(coro_write(co, &my->conn, "x", 1));
        coro_close(&my->conn);
        add(&served, 1);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_close(&my->conn);
    coro_close(&my->listener);
    CORO_END(0);
}

TEST(listen_shared_lets_each_thread_accept_at_one_address)
{
    note_world();
    pthread_barrier_init(&all_run, NULL, 2);
    CHECK_EQ(coro_run_threads(2, shared_server), -EOWNERDEAD);
    CHECK(served >= CALLS - 1 && served <= CALLS);
    check_world();
}

/* ---- files ----------------------------------------------------------------------------------- */

struct files {
    CORO_FRAME;
    coro_file f, other;
    struct stat st;
    char path[64], text[32];
    int n;
};

CORO(files)
{
    CORO_BEGIN();
    snprintf(my->path, sizeof my->path, "/tmp/coro_test_file.%d", (int)getpid());
    CORO_AWAIT(my->n, coro_file_read(co, &my->f, my->text, 1, 0));
    CHECK_EQ(my->n, -EBADF);
    CORO_AWAIT(my->n, coro_file_open(co, &my->f, "/nowhere/at/all", O_RDONLY, 0));
    CHECK_EQ(my->n, -ENOENT);
    CORO_TRY(coro_file_open(co, &my->f, my->path, O_RDWR | O_CREAT | O_EXCL, 0600));
    CORO_AWAIT(my->n, coro_file_open(co, &my->f, my->path, O_RDWR, 0));
    CHECK_EQ(my->n, -EBUSY);
    CORO_TRY(my->n, coro_file_write(co, &my->f, "hello, world", 12, 0));
    CHECK_EQ(my->n, 12);
    CORO_TRY(my->n, coro_file_read(co, &my->f, my->text, sizeof my->text, 7));
    CHECK_EQ(my->n, 5);
    CHECK_STR(my->text, "world");
    CORO_TRY(coro_file_sync(co, &my->f));
    CORO_TRY(coro_file_stat(co, &my->f, &my->st));
    CHECK_EQ(my->st.st_size, 12);
    CHECK(fcntl(my->f.number1 - 1, F_GETFD) & FD_CLOEXEC);
    CORO_TRY(my->n, coro_file_read(co, &my->f, my->text, 5, 100));
    CHECK_EQ(my->n, 0);
CORO_FINALLY:
    unlink(my->path);
    CORO_END(coro_file_close(&my->f));
}

TEST(file_is_written_and_read_on_threads)
{
    RUN_CLEAN(0, files);
}

struct full_disk {
    CORO_FRAME;
    coro_file f;
    struct rlimit before, five;
    char path[64];
    int n;
};

CORO(full_disk)
{
    CORO_BEGIN();
    snprintf(my->path, sizeof my->path, "/tmp/coro_test_file.%d", (int)getpid());
    CORO_TRY(coro_file_open(co, &my->f, my->path, O_RDWR | O_CREAT | O_EXCL, 0600));
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &my->before), 0);
    my->five = my->before;
    my->five.rlim_cur = 5;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &my->five), 0);
    CORO_AWAIT(my->n, coro_file_write(co, &my->f, "hello, world", 12, 0));
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &my->before), 0); /* what a test says goes to a file */
    CHECK_EQ(my->n, -EFBIG);
CORO_FINALLY:
    unlink(my->path);
    CORO_END(coro_file_close(&my->f));
}

TEST(file_write_that_fails_behind_its_first_bytes_has_failed)
{
    signal(SIGXFSZ, SIG_IGN);
    RUN_CLEAN(0, full_disk);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

struct no_thread {
    CORO_FRAME;
    coro_threads_options options;
    int count, rc;
};

/* X05 */
CORO(no_thread)
{
    CORO_BEGIN();
    my->options.stack = SIZE_MAX / 4 * 3; /* no machine has that */
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    CORO_AWAIT(my->rc, coro_blocking(co, count_run, &my->count));
    CHECK_EQ(my->rc, -EAGAIN);
    CHECK_EQ(my->count, 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).held, 0);
    CORO_END(0);
}

TEST(job_for_which_no_thread_can_be_started_has_eagain)
{
    RUN_CLEAN(0, no_thread);
}

struct virtual_time {
    CORO_FRAME;
    coro_group g;
    coro_time start;
    int count;
};

/* Time stands still while a job runs. */
CORO(virtual_time)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    gate_init(&gate);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, gate_user, .g = &gate);
    coro_spawn(&my->g, until_begun);
    CORO_TRY(coro_sleep(co, 0));
    sem_post(&gate.go);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_now(co), my->start);
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
    CORO_END(0);
}

TEST(job_stops_virtual_time)
{
    coro_options options = CORO__ZERO;
    options.clock = CORO_VIRTUAL;
    CHECK_EQ(coro_run_with(&options, virtual_time), 0);
}

#if CORO_STACK_CHECK
struct local_argument {
    CORO_FRAME;
};

CORO(local_argument)
{
    int here = 0;
    CORO_BEGIN();
    CORO_TRY(coro_blocking(co, count_run, &here));
    CORO_END(0);
}

static void run_local_argument(void *arg)
{
    (void)arg;
    coro_run(local_argument);
}

TEST(job_with_the_address_of_a_local_traps)
{
    CHECK_TRAP(run_local_argument, NULL, "local");
}
#endif /* CORO_STACK_CHECK */

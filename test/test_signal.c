/* test_signal.c -- signals as something to wait for; coro_run; forks. (I53-I59, Z09-Z11, Z17) */
#include "coro_io.h"
#include "test.h"

#include <stdlib.h>
#include <sys/wait.h>

static volatile int heard; /* by a handler of the program's own */

static void own_handler(int n)
{
    heard = n;
}

static void install(int n, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    CHECK_EQ(sigaction(n, &action, NULL), 0);
}

static bool blocked(int n)
{
    sigset_t now;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    return sigismember(&now, n) == 1;
}

static bool is_default(int n)
{
    struct sigaction now;
    CHECK_EQ(sigaction(n, NULL, &now), 0);
    return now.sa_handler == SIG_DFL;
}

/* How a child that runs f ends: as wait(2) says. */
static int in_a_child(void (*f)(void))
{
    int status = 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        f();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- watchers ---------------------------------------------------------------------------- */

struct burst {
    CORO_FRAME;
    coro_signals s;
    int rc;
};

CORO(burst)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    for (int i = 0; i < 5; i++)
        raise(SIGUSR1);
    CORO_AWAIT(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, SIGUSR1);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_signals_wait(co, &my->s)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    raise(SIGUSR1);
    CORO_AWAIT(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, SIGUSR1);
CORO_FINALLY:
    CHECK_EQ(coro_signals_close(&my->s), 0);
    CHECK_EQ(coro_signals_close(&my->s), 0);
    CORO_END(0);
}

TEST(signals_of_a_burst_are_heard_once_and_the_next_one_again) /* I53 */
{
    CHECK_EQ(coro_run(burst), 0);
    CHECK(is_default(SIGUSR1));
    CHECK(!blocked(SIGUSR1));
}

struct heard_by {
    CORO_FRAME;
    coro_signals *s;
    int n;
};

CORO(heard_by)
{
    CORO_BEGIN();
    CORO_TRY(my->n, coro_signals_wait(co, my->s));
    CORO_END(my->n);
}

struct three {
    CORO_FRAME;
    coro_group g;
    coro_signals s[3];
    CORO_TASK(heard_by) t[3];
    int n;
};

/* Two wait when it comes, the third one asks later. */
CORO(three)
{
    CORO_BEGIN();
    for (my->n = 0; my->n < 3; my->n++)
        CORO_TRY(coro_signals_open(co, &my->s[my->n], SIGUSR1, my->n == 2 ? SIGUSR2 : SIGUSR1));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], heard_by, .s = &my->s[0]);
    coro_start(&my->g, &my->t[1], heard_by, .s = &my->s[1]);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    raise(SIGUSR1);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->t[0]), SIGUSR1);
    CHECK_EQ(coro_task_result(&my->t[1]), SIGUSR1);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s[2]));
    CHECK_EQ(my->n, SIGUSR1);
    CORO_TRY(coro_signals_close(&my->s[0])); /* the others go on */
    raise(SIGUSR1);
    raise(SIGUSR2);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s[1]));
    CHECK_EQ(my->n, SIGUSR1);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s[2]));
    CHECK_EQ(my->n, SIGUSR2); /* the next number after the last one taken */
    CORO_TRY(my->n, coro_signals_wait(co, &my->s[2]));
    CHECK_EQ(my->n, SIGUSR1);
CORO_FINALLY:
    for (int i = 0; i < 3; i++)
        coro_signals_close(&my->s[i]);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(signals_are_heard_by_every_watcher_and_the_end_of_one_keeps_the_others) /* I53 I54 I56 */
{
    CHECK_EQ(coro_run(three), 0);
    CHECK(is_default(SIGUSR1) && is_default(SIGUSR2));
    CHECK(!blocked(SIGUSR1) && !blocked(SIGUSR2));
}

struct restores {
    CORO_FRAME;
    coro_signals a, b;
    int n;
};

CORO(restores)
{
    CORO_BEGIN();
    install(SIGUSR1, own_handler);
    CORO_TRY(coro_signals_open(co, &my->a, SIGUSR1));
    CORO_TRY(coro_signals_open(co, &my->b, SIGUSR1));
    CORO_TRY(coro_signals_close(&my->a));
    raise(SIGUSR1);
    CHECK_EQ(heard, 0);
    CORO_TRY(my->n, coro_signals_wait(co, &my->b));
    CHECK_EQ(my->n, SIGUSR1);
    CORO_TRY(coro_signals_close(&my->b));
    CHECK_EQ(heard, 0); /* it was taken */
    raise(SIGUSR1);
    CHECK_EQ(heard, SIGUSR1);
    CORO_END(0);
}

TEST(signals_do_what_they_did_when_the_last_watcher_has_gone) /* I54 */
{
    CHECK_EQ(coro_run(restores), 0);
}

struct unconsumed {
    CORO_FRAME;
    coro_signals a, b;
    int n;
};

CORO(unconsumed)
{
    CORO_BEGIN();
    install(SIGUSR1, own_handler);
    install(SIGUSR2, own_handler);
    CORO_TRY(coro_signals_open(co, &my->a, SIGUSR1, SIGUSR2));
    raise(SIGUSR1);
    raise(SIGUSR2);
    CORO_TRY(my->n, coro_signals_wait(co, &my->a)); /* both are read here, one is taken */
    CHECK_EQ(my->n, SIGUSR1);
    CORO_TRY(coro_signals_close(&my->a));
    CHECK_EQ(heard, SIGUSR2);
    heard = 0;
    CORO_TRY(coro_signals_open(co, &my->a, SIGUSR1));
    CORO_TRY(coro_signals_open(co, &my->b, SIGUSR1));
    raise(SIGUSR1);
    CORO_TRY(coro_signals_close(&my->a)); /* b may still take it */
    CHECK_EQ(heard, 0);
    CORO_TRY(coro_signals_close(&my->b));
    CHECK_EQ(heard, SIGUSR1);
    CORO_END(0);
}

TEST(signals_caught_and_not_taken_are_raised_anew) /* I55 */
{
    CHECK_EQ(coro_run(unconsumed), 0);
}

struct bad {
    CORO_FRAME;
    coro_signals s;
    int rc;
};

CORO(bad)
{
    CORO_BEGIN();
    CHECK_EQ(coro_signals_open(co, &my->s, 0), -EINVAL);
    CHECK_EQ(coro_signals_open(co, &my->s, -1), -EINVAL);
    CHECK_EQ(coro_signals_open(co, &my->s, 65), -EINVAL);
    CHECK_EQ(coro_signals_open(co, &my->s, SIGKILL), -EINVAL);
    CHECK_EQ(coro_signals_open(co, &my->s, SIGUSR1, SIGSTOP), -EINVAL);
    CHECK_EQ(coro_signals_open(co, &my->s, SIGSEGV), -EINVAL);
    CHECK(is_default(SIGUSR1) && !blocked(SIGUSR1));
    CORO_AWAIT(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, -EBADF);
    CHECK_EQ(coro_signals_close(&my->s), 0);
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    CHECK_EQ(coro_signals_open(co, &my->s, SIGUSR1), -EBUSY);
CORO_FINALLY:
    coro_signals_close(&my->s);
    CORO_END(0);
}

TEST(signals_that_are_none_or_cannot_be_watched_are_refused) /* I57 */
{
    CHECK_EQ(coro_run(bad), 0);
}

struct ends {
    CORO_FRAME;
    coro_group g;
    coro_signals s;
    CORO_TASK(heard_by) t;
    int rc;
};

CORO(ends)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    coro_start(&my->g, &my->t, heard_by, .s = &my->s);
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, -EBUSY);
    coro_task_cancel(&my->t);
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, -ECHILD);
    raise(SIGUSR1); /* the cancelled one has not taken it away */
    CORO_TRY(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, SIGUSR1);
    coro_start(&my->g, &my->t, heard_by, .s = &my->s);
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_signals_close(&my->s));
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, -EBADF);
CORO_FINALLY:
    coro_signals_close(&my->s);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(signals_wait_can_be_cancelled_and_is_ended_by_close)
{
    CHECK_EQ(coro_run(ends), 0);
}

struct forgets {
    CORO_FRAME;
    coro_signals *s;
};

CORO(forgets)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, my->s, SIGUSR1));
    CORO_END(0);
}

TEST(signals_are_as_before_when_the_loop_ends_before_the_watcher) /* I56 */
{
    static coro_signals s;
    install(SIGUSR1, own_handler);
    CHECK_EQ(coro_run(forgets, .s = &s), 0);
    CHECK(!blocked(SIGUSR1));
    raise(SIGUSR1);
    CHECK_EQ(heard, SIGUSR1);
    CHECK_EQ(coro_signals_close(&s), 0);
}

struct elsewhere {
    CORO_FRAME;
    coro_signals s;
    int rc;
};

CORO(elsewhere)
{
    CORO_BEGIN();
    my->rc = coro_signals_open(co, &my->s, SIGUSR2, SIGUSR1);
    coro_signals_close(&my->s);
    CORO_END(my->rc);
}

struct one_loop {
    CORO_FRAME;
    coro_signals s;
    int n;
};

CORO(one_loop)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    CHECK_EQ(coro_run(elsewhere), -EBUSY); /* a loop inside of this one's step */
    CHECK(is_default(SIGUSR2));
    raise(SIGUSR1);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s));
CORO_FINALLY:
    coro_signals_close(&my->s);
    CORO_END(my->n);
}

TEST(signals_are_watched_by_one_loop_at_a_time)
{
    CHECK_EQ(coro_run(one_loop), SIGUSR1);
    CHECK(is_default(SIGUSR1));
}

/* ---- coro_run ---------------------------------------------------------------------------- */

struct killer {
    pid_t whom;
    int n;
};

static void *send_signal(void *arg)
{
    const struct killer *k = (const struct killer *)arg;
    CHECK_EQ(kill(k->whom, k->n), 0);
    return NULL;
}

struct server {
    CORO_FRAME;
    coro_scope shield;
    int signal;
    int *cleaned;
    struct killer k;
    pthread_t thread;
};

CORO(server)
{
    CORO_BEGIN();
    my->k.whom = getpid();
    my->k.n = my->signal;
    CHECK_EQ(pthread_create(&my->thread, NULL, send_signal, &my->k), 0);
    CORO_TRY(coro_sleep(co, CORO_S(60)));
CORO_FINALLY:
    pthread_join(my->thread, NULL);
    coro_shield_open(co, &my->shield, CORO_S(1));
    CORO_IGNORE(coro_sleep(co, CORO_MS(1)));
    (void)coro_scope_close(co, &my->shield, 0);
    ++*my->cleaned;
    CORO_END(0);
}

TEST(coro_run_is_cancelled_by_the_first_signal_and_cleans_up) /* Z09 Z10 Z11 */
{
    int cleaned = 0;
    CHECK_EQ(coro_run(server, .signal = SIGINT, .cleaned = &cleaned), -EINTR);
    CHECK(is_default(SIGINT) && is_default(SIGTERM));
    CHECK_EQ(coro_run(server, .signal = SIGTERM, .cleaned = &cleaned), -EINTR);
    CHECK(is_default(SIGINT) && is_default(SIGTERM));
    CHECK_EQ(cleaned, 2);
}

struct stuck {
    CORO_FRAME;
    int first, second;
};

/* Never comes back to the loop. */
CORO(stuck)
{
    CORO_BEGIN();
    raise(my->first);
    raise(my->second);
    CORO_END(0);
}

static void run_stuck(void)
{
    coro_run(stuck, .first = SIGINT, .second = SIGTERM);
}

static void run_late(void)
{
    coro_run(stuck, .first = SIGINT, .second = SIGCHLD);
}

TEST(coro_run_is_killed_by_the_second_signal_even_when_it_is_stuck) /* Z09 */
{
    int status = in_a_child(run_stuck);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);
}

TEST(coro_run_does_not_swallow_a_signal_that_comes_too_late) /* Z10 */
{
    int status = in_a_child(run_late);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
}

struct plain {
    CORO_FRAME;
    int rc, signal;
    bool await;
};

CORO(plain)
{
    CORO_BEGIN();
    if (my->signal)
        raise(my->signal);
    if (my->await)
        CORO_IGNORE(coro_sleep(co, CORO_S(60)));
    CORO_END(my->rc);
}

TEST(coro_run_reports_what_its_task_ended_with) /* Z10 */
{
    static const coro_options fast = {.clock = CORO_VIRTUAL};
    CHECK_EQ(coro_run_with(&fast, plain, .rc = 6, .await = true), 6);
    CHECK_EQ(coro_run(plain, .rc = 5), 5);
    CHECK_EQ(coro_run(plain, .rc = -EPIPE), -EPIPE);
    CHECK_EQ(coro_run(plain, .rc = -ECANCELED), -ECANCELED);
    CHECK_EQ(coro_run(plain, .rc = 7, .signal = SIGINT, .await = true), 7);
    CHECK(is_default(SIGINT) && is_default(SIGTERM));
}

TEST(coro_run_leaves_signals_alone_that_are_somebodys) /* Z11 */
{
    install(SIGINT, own_handler);
    install(SIGTERM, SIG_IGN);
    CHECK_EQ(coro_run(plain, .rc = 1, .signal = SIGINT), 1);
    CHECK_EQ(heard, SIGINT);
    CHECK_EQ(coro_run(plain, .rc = 2, .signal = SIGTERM), 2);
    CHECK(!is_default(SIGINT) && !is_default(SIGTERM));
}

struct takes_over {
    CORO_FRAME;
    coro_signals s;
    int n;
};

CORO(takes_over)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGINT));
    raise(SIGINT);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->n, SIGINT);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_signals_close(&my->s));
    raise(SIGINT);
    CORO_TRY(coro_sleep(co, CORO_S(60)));
CORO_FINALLY:
    coro_signals_close(&my->s);
    CORO_END(0);
}

TEST(coro_run_leaves_a_signal_to_the_watcher_of_it) /* Z11 */
{
    CHECK_EQ(coro_run(takes_over), -EINTR);
    CHECK(is_default(SIGINT) && !blocked(SIGINT));
}

struct keeps {
    CORO_FRAME;
    coro_signals s;
    coro_scope shield;
    int n;
};

/* SIGTERM is watched; SIGINT is coro_run's. */
CORO(keeps)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGTERM));
    raise(SIGINT);
    CORO_TRY(coro_sleep(co, CORO_S(60)));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    raise(SIGTERM); /* would be the second one */
    CORO_TRY(my->n, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->n, SIGTERM);
    (void)coro_scope_close(co, &my->shield, 0);
    coro_signals_close(&my->s);
    CORO_END(0);
}

TEST(coro_run_s_first_signal_leaves_watched_ones_alone)
{
    CHECK_EQ(coro_run(keeps), -EINTR);
    CHECK(is_default(SIGINT));
}

TEST(coro_run_threads_is_cancelled_by_a_signal)
{
    CHECK_EQ(coro_run_threads(1, plain, .rc = -ECANCELED, .signal = SIGINT, .await = true), -EINTR);
    CHECK(is_default(SIGINT) && is_default(SIGTERM));
}

static int parks;

static coro_time world_now(void *arg)
{
    (void)arg;
    return parks;
}

static void world_park(void *arg, coro_loop *loop, coro_time until)
{
    (void)arg;
    (void)loop;
    (void)until;
    parks++;
}

TEST(coro_run_keeps_the_driver_that_it_is_given)
{
    const coro_options o = {.driver = {world_now, world_park, NULL, NULL, NULL}};
    CHECK_EQ(coro_run_with(&o, plain, .rc = 4), 4);
    CHECK(parks > 0);
}

static int nested_rc;

struct nests {
    CORO_FRAME;
};

CORO(nests)
{
    CORO_BEGIN();
    nested_rc = coro_run(plain, .rc = 3);
    CHECK(!is_default(SIGINT)); /* it is still ours */
    raise(SIGINT);
    CORO_TRY(coro_sleep(co, CORO_S(60)));
    CORO_END(0);
}

TEST(coro_run_inside_of_another_leaves_the_signals_to_that)
{
    CHECK_EQ(coro_run(nests), -EINTR);
    CHECK_EQ(nested_rc, 3);
}

/* ---- forks -------------------------------------------------------------------------------- */

struct child {
    CORO_FRAME;
    coro_fd in, out;
    coro_signals s;
    int raw[2];
    char c;
    int n;
};

CORO(child)
{
    CORO_BEGIN();
    CHECK_EQ(pipe2(my->raw, O_CLOEXEC), 0);
    CORO_TRY(coro_fd_adopt(&my->in, my->raw[0]));
    CORO_TRY(coro_fd_adopt(&my->out, my->raw[1]));
    CORO_AWAIT(my->n, coro_within(co, CORO_MS(1), coro_read(co, &my->in, &my->c, 1)));
    CHECK_EQ(my->n, -ETIMEDOUT);
    CORO_TRY(coro_write(co, &my->out, "x", 1));
    CORO_TRY(my->n, coro_read(co, &my->in, &my->c, 1));
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    raise(SIGUSR1);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s));
    CORO_TRY(coro_signals_close(&my->s));
CORO_FINALLY:
    coro_close(&my->in);
    coro_close(&my->out);
    CORO_END(my->n);
}

struct forks {
    CORO_FRAME;
    int status;
    pid_t pid;
};

static void run_waiting(void)
{
    coro_run(plain, .signal = SIGINT, .await = true);
}

/* A child of coro_run's process has nothing to do with its signals, and may have its own. */
CORO(forks)
{
    CORO_BEGIN();
    my->pid = fork();
    if (my->pid == 0) {
        raise(SIGINT);
        _exit(1);
    }
    CHECK_EQ(waitpid(my->pid, &my->status, 0), my->pid);
    CHECK(WIFSIGNALED(my->status));
    CHECK_EQ(WTERMSIG(my->status), SIGINT);
    my->pid = fork();
    if (my->pid == 0) {
        run_waiting();
        _exit(is_default(SIGINT) && is_default(SIGTERM) ? 42 : 1);
    }
    CHECK_EQ(waitpid(my->pid, &my->status, 0), my->pid);
    CHECK_EQ(WEXITSTATUS(my->status), 42);
    CORO_TRY(coro_sleep(co, 0));
    CORO_END(9);
}

TEST(coro_run_has_nothing_to_do_with_the_signals_of_a_forked_child) /* I59 */
{
    CHECK_EQ(coro_run(forks), 9);
}

struct parent {
    CORO_FRAME;
    coro_group g;
    coro_fd in, out;
    coro_signals s;
    CORO_TASK(heard_by) t;
    int raw[2];
    char c;
    int n, status;
    pid_t pid;
};

/* Everything is in use when it forks: timer, descriptor, signal. */
CORO(parent)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(pipe2(my->raw, O_CLOEXEC), 0);
    CORO_TRY(coro_fd_adopt(&my->in, my->raw[0]));
    CORO_TRY(coro_fd_adopt(&my->out, my->raw[1]));
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1));
    coro_start(&my->g, &my->t, heard_by, .s = &my->s);
    CORO_AWAIT(my->n, coro_within(co, CORO_MS(1), coro_read(co, &my->in, &my->c, 1)));
    CHECK_EQ(my->n, -ETIMEDOUT);
    my->pid = fork();
    if (my->pid == 0)
        _exit(coro_run(child) == SIGUSR1 ? 42 : 1);
    CHECK_EQ(waitpid(my->pid, &my->status, 0), my->pid);
    CHECK_EQ(WEXITSTATUS(my->status), 42);
    CHECK_EQ(coro_task_result(&my->t), -EINPROGRESS);
    CORO_TRY(coro_write(co, &my->out, "y", 1));
    CORO_TRY(my->n, coro_read(co, &my->in, &my->c, 1));
    CHECK_EQ(my->c, 'y');
    raise(SIGUSR1);
    CORO_TRY(my->n, coro_join(co, &my->t));
    CHECK_EQ(my->n, SIGUSR1);
CORO_FINALLY:
    coro_signals_close(&my->s);
    coro_close(&my->in);
    coro_close(&my->out);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(signals_and_loops_of_a_forked_child_are_its_own) /* I59 Z17 */
{
    CHECK_EQ(coro_run(parent), 0);
}

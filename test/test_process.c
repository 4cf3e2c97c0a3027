/* test_process.c -- children: spawning, waiting, killing, their output. (I60-I70) */
#include "coro_io.h"
#include "test.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *script[] = {"/bin/sh", "-c", NULL, NULL};

/* A command that runs a shell script; it is spawned before the next one is made. */
static coro_command shell(const char *text)
{
    coro_command c = {NULL, NULL, NULL, 0, 0, 0, false, NULL, 0, NULL, NULL, 0};
    script[2] = text;
    c.argv = script;
    return c;
}

/* Not even a zombie. */
static void check_no_children(void)
{
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}

/* ---- spawn and wait ------------------------------------------------------------------------ */

struct waiter {
    CORO_FRAME;
    coro_process *p;
    int rc;
};

CORO(waiter)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_process_wait(co, my->p));
    CORO_END(my->rc);
}

struct once {
    CORO_FRAME;
    const char *text;
    coro_command c;
    coro_process p;
    int rc;
};

CORO(once)
{
    CORO_BEGIN();
    my->c = shell(my->text);
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    CHECK_EQ(coro_process_spawn(&my->p, &my->c), -EBUSY);
    CORO_TRY(my->rc, coro_process_wait(co, &my->p));
    CORO_AWAIT(my->rc, coro_process_wait(co, &my->p)); /* as often as one likes */
    CHECK_EQ(coro_process_kill(&my->p, SIGTERM), -ESRCH);
CORO_FINALLY:
    coro_process_fini(&my->p);
    coro_process_fini(&my->p);
    CORO_END(my->rc);
}

TEST(process_wait_tells_the_exit_code_or_the_signal) /* I62 I63 */
{
    CHECK_EQ(coro_run(once, .text = "exit 0"), 0);
    CHECK_EQ(coro_run(once, .text = "exit 7"), 7);
    CHECK_EQ(coro_run(once, .text = "exit 255"), 255);
    CHECK_EQ(coro_run(once, .text = "kill -KILL $$"), 256 + SIGKILL);
    check_no_children();
}

static void spawn_fails(const char *name, const char *dir, int rc)
{
    const char *argv[] = {name, NULL};
    coro_process p = CORO__ZERO;
    coro_command c = shell("");
    c.argv = argv;
    c.dir = dir;
    c.stdin_ = c.stdout_ = c.stderr_ = CORO_PIPE;
    c.group = true;
    CHECK_EQ(coro_process_spawn(&p, &c), rc);
    CHECK_EQ(p.pid, 0);
    check_no_children();
}

TEST(process_spawn_tells_why_it_failed_and_leaves_nothing) /* I66 I70 */
{
    const char *none[] = {NULL};
    coro_process p = CORO__ZERO;
    coro_command c = {none, NULL, NULL, 0, 0, 0, false, NULL, 0, NULL, NULL, 0};
    spawn_fails("no-such-program-anywhere", NULL, -ENOENT);
    spawn_fails("/no/such/program", NULL, -ENOENT);
    spawn_fails("", NULL, -ENOENT);
    spawn_fails("/etc/passwd", NULL, -EACCES);
    spawn_fails("/bin/sh", "/no/such/folder", -ENOENT);
    CHECK_EQ(coro_process_spawn(&p, &c), -EINVAL);
    c = shell("exit");
    c.stdin_ = 200;
    CHECK_EQ(coro_process_spawn(&p, &c), -EBADF);
    CHECK_EQ(coro_process_kill(&p, SIGTERM), -ESRCH);
    check_no_children();
}

struct several {
    CORO_FRAME;
    coro_group g;
    coro_command c;
    coro_process p, q;
    CORO_TASK(waiter) t[3];
    pid_t own;
    int rc;
};

CORO(several)
{
    CORO_BEGIN();
    my->own = fork(); /* somebody else's child */
    if (my->own == 0)
        _exit(3);
    my->c = shell("read x; exit 4");
    my->c.stdin_ = CORO_PIPE;
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    CORO_TRY(coro_process_spawn(&my->q, &my->c));
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->t[i], waiter, .p = i == 2 ? &my->q : &my->p);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_process_wait(co, &my->p)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    coro_close(&my->p.in);
    coro_close(&my->q.in);
    CORO_AWAIT(my->rc, coro_process_wait(co, &my->p));
    CHECK_EQ(my->rc, 4);
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coro_task_result(&my->t[i]), 4);
    CHECK_EQ(waitpid(my->own, &my->rc, 0), my->own);
    CHECK_EQ(WEXITSTATUS(my->rc), 3);
CORO_FINALLY:
    coro_process_fini(&my->p);
    coro_process_fini(&my->q);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(process_wait_tells_all_who_wait_and_reaps_nobody_elses_child) /* I60 I62 */
{
    CHECK_EQ(coro_run(several), 0);
    check_no_children();
}

struct stolen {
    CORO_FRAME;
    coro_command c;
    coro_group g;
    CORO_TASK(waiter) t;
    coro_process p;
    int rc;
};

CORO(stolen)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_process_wait(co, &my->p));
    CHECK_EQ(my->rc, -EINVAL);
    coro_group_open(co, &my->g, CORO_COLLECT);
    my->c = shell("read x");
    my->c.stdin_ = CORO_PIPE;
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    coro_start(&my->g, &my->t, waiter, .p = &my->p);
    CORO_TRY(coro_sleep(co, 0));
    coro_close(&my->p.in);
    CHECK_EQ(waitpid(my->p.pid, NULL, 0), my->p.pid);
    CHECK_EQ(coro_process_kill(&my->p, SIGTERM), -ESRCH);
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, -ECHILD);
CORO_FINALLY:
    coro_process_fini(&my->p);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(process_whose_status_was_taken_by_somebody_else_ends_the_wait) /* I61 I63 */
{
    CHECK_EQ(coro_run(stolen), 0);
    check_no_children();
}

TEST(process_ends_the_wait_although_sigchld_is_ignored) /* I61 */
{
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(coro_run(once, .text = "exit 3"), -ECHILD);
    spawn_fails("no-such-program-anywhere", NULL, -ENOENT);
}

struct early {
    CORO_FRAME;
    coro_command c;
    coro_process p;
    char x;
    int rc;
};

/* It has ended before anybody waits; a grandchild holds the pipe. */
CORO(early)
{
    CORO_BEGIN();
    my->c = shell("sleep 60 & exit 3");
    my->c.stdout_ = CORO_PIPE;
    my->c.group = true;
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    CHECK_EQ(coro_process_kill(&my->p, 0), 0);
    CHECK_EQ(coro_process_kill(&my->p, 1000), -EINVAL);
    CORO_TRY(my->rc, coro_process_wait(co, &my->p));
    CHECK_EQ(my->rc, 3);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_read(co, &my->p.out, &my->x, 1)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(kill(-my->p.pid, SIGKILL), 0);
    CORO_AWAIT(my->rc, coro_read(co, &my->p.out, &my->x, 1));
    CHECK_EQ(my->rc, 0);
CORO_FINALLY:
    coro_process_fini(&my->p);
    CORO_END(0);
}

TEST(process_wait_ends_although_a_grandchild_holds_stdout) /* I64 */
{
    CHECK_EQ(coro_run(early), 0);
    check_no_children();
}

struct killed {
    CORO_FRAME;
    coro_group g;
    coro_command c;
    coro_process p;
    CORO_TASK(waiter) t;
    int rc;
};

CORO(killed)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    my->c = shell("sleep 60");
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    CHECK_EQ(coro_process_kill(&my->p, SIGTERM), 0);
    CORO_TRY(my->rc, coro_process_wait(co, &my->p));
    CHECK_EQ(my->rc, 256 + SIGTERM);
    coro_process_fini(&my->p);
    my->c = shell("sleep 60");
    my->c.group = true;
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    coro_start(&my->g, &my->t, waiter, .p = &my->p);
    CORO_TRY(coro_sleep(co, 0));
    coro_process_fini(&my->p); /* kills and reaps, and tells who waits */
    CORO_TRY(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, 256 + SIGKILL);
CORO_FINALLY:
    coro_process_fini(&my->p);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(process_is_killed_by_kill_and_by_fini)
{
    CHECK_EQ(coro_run(killed), 0);
    check_no_children();
}

struct moves {
    CORO_FRAME;
    coro_command c;
    coro_process p, q;
    int rc;
};

CORO(moves)
{
    CORO_BEGIN();
    my->c = shell("sleep 60");
    CORO_TRY(coro_process_spawn(&my->q, &my->c));
    my->p = my->q; /* that is fine */
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_process_wait(co, &my->p)));
    my->q = my->p;
    coro_process_kill(&my->q, SIGKILL);
    CORO_AWAIT(my->rc, coro_process_wait(co, &my->q));
    CORO_END(0);
}

struct another {
    CORO_FRAME;
    coro_process *p;
    int rc;
};

CORO(another)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_process_wait(co, my->p)));
    CORO_END(my->rc);
}

TEST(process_may_be_waited_for_in_a_loop_after_another)
{
    static coro_process p;
    coro_command c = shell("read x; exit 6");
    c.stdin_ = CORO_PIPE;
    CHECK_EQ(coro_process_spawn(&p, &c), 0);
    CHECK_EQ(coro_run(another, .p = &p), -ETIMEDOUT);
    CHECK_EQ(coro_run(another, .p = &p), -ETIMEDOUT);
    coro_close(&p.in);
    CHECK_EQ(coro_run(waiter, .p = &p), 6);
    coro_process_fini(&p);
    check_no_children();
}

/* ---- what the child finds -------------------------------------------------------------------- */

struct collect {
    CORO_FRAME;
    coro_command c;
    struct coro_process_task run;
    int rc;
};

static char text[4096];
static coro_output out = {text, sizeof text - 1, 0, 0};

CORO(collect)
{
    CORO_BEGIN();
    out.length = 0;
    my->c.out = &out;
    CORO_AWAIT(my->rc, coro_process_run(co, &my->run, &my->c));
    text[out.length] = 0;
    CORO_END(my->rc);
}

TEST(process_starts_with_default_signals_and_no_mask) /* I67 */
{
    sigset_t set;
    if (access("/proc/self/status", R_OK) < 0)
        TEST_SKIP("/proc");
    coro_command c = shell("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -s '\\t\\n' '  '");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK(strstr(text, "SigBlk: 0000000000000000 SigIgn: ") == text);
    /* 32 and 33 are libc's own: it lets nobody set them, and make hands them down ignored. */
    CHECK_EQ(strtoull(text + 33, NULL, 16) & ~0x180000000ull, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    CHECK(sigismember(&set, SIGUSR1));
}

TEST(process_has_no_descriptors_but_its_own) /* I67 */
{
    int leaky = dup(1);
    coro_command c = shell("for n in 0 1 2 3 4 5 6 7 8 9; do"
                           " true <&$n && printf $n; done; :");
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK_STR(text, "012");
    CHECK_EQ(fcntl(leaky, F_GETFD), 0);
    close(leaky);
}

TEST(process_has_the_environment_and_the_folder_that_it_is_given)
{
    static const char *const env[] = {"CORO_X=here", NULL};
    coro_command c = shell("echo $CORO_X $HOME; pwd");
    setenv("HOME", "/nowhere", 1);
    c.env = env;
    c.dir = "/";
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK_STR(text, "here\n/\n");
    c = shell("echo $HOME; cat");
    c.stdin_ = CORO_NULL;
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK_STR(text, "/nowhere\n");
}

TEST(process_output_may_have_stderr_in_it_or_apart)
{
    static char more[100];
    coro_output err = {more, sizeof more - 1, 0, 0};
    coro_command c = shell("echo one; echo two >&2; echo three");
    c.stderr_ = CORO_STDOUT;
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK_STR(text, "one\ntwo\nthree\n");
    c = shell("echo one; echo two >&2; echo three");
    c.err = &err;
    CHECK_EQ(coro_run(collect, .c = c), 0);
    CHECK_STR(text, "one\nthree\n");
    CHECK_STR(more, "two\n");
}

/* What is in an unnamed file. */
static const char *contents(FILE *f, char *to, size_t size)
{
    ssize_t n = pread(fileno(f), to, size - 1, 0);
    to[n > 0 ? n : 0] = 0;
    return to;
}

TEST(process_stdout_and_stderr_may_be_swapped) /* I68 */
{
    FILE *a = tmpfile(), *b = tmpfile();
    int out_was = dup(1), err_was = dup(2), rc;
    char x[20], y[20];
    coro_command c = shell("echo out; echo err >&2");
    dup2(fileno(a), 1);
    dup2(fileno(b), 2);
    c.stdout_ = 2;
    c.stderr_ = 1;
    {
        coro_process p = CORO__ZERO;
        rc = coro_process_spawn(&p, &c);
        waitpid(p.pid, NULL, 0);
        coro_process_fini(&p);
    }
    dup2(out_was, 1);
    dup2(err_was, 2);
    close(out_was);
    close(err_was);
    CHECK_EQ(rc, 0);
    CHECK_STR(contents(a, x, sizeof x), "err\n");
    CHECK_STR(contents(b, y, sizeof y), "out\n");
    fclose(a);
    fclose(b);
}

TEST(process_gets_its_pipes_when_ours_are_closed) /* I68 */
{
    int was[3], rc, status = 0;
    char x[40] = "";
    coro_process p = CORO__ZERO;
    coro_command c = shell("read x; echo got $x; echo err >&2");
    for (int i = 0; i < 3; i++) {
        was[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    c.stdin_ = c.stdout_ = CORO_PIPE;
    c.stderr_ = CORO_STDOUT;
    rc = coro_process_spawn(&p, &c);
    if (rc == 0 && write(coro_fd_number(&p.in), "it\n", 3) == 3) {
        waitpid(p.pid, &status, 0);
        if (read(coro_fd_number(&p.out), x, sizeof x - 1) < 0)
            x[0] = 0;
    }
    coro_process_fini(&p);
    for (int i = 0; i < 3; i++) {
        dup2(was[i], i);
        close(was[i]);
    }
    CHECK_EQ(rc, 0);
    CHECK_STR(x, "got it\nerr\n");
}

/* ---- coro_process_run ------------------------------------------------------------------------ */

enum { MUCH = 256 * 1024 + 7 };
static char sent[MUCH], received[MUCH + 100];

struct both_ways {
    CORO_FRAME;
    coro_command c;
    coro_output out;
    struct coro_process_task run;
    int rc;
};

CORO(both_ways)
{
    CORO_BEGIN();
    my->out.data = received;
    my->out.size = sizeof received;
    for (int i = 0; i < MUCH; i++)
        sent[i] = (char)(i % 251);
    my->c = shell("cat");
    my->c.input = sent;
    my->c.input_size = sizeof sent;
    my->c.out = &my->out;
    CORO_TRY(my->rc, coro_process_run(co, &my->run, &my->c));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->out.length, MUCH);
    CHECK(memcmp(sent, received, MUCH) == 0);
    my->c = shell("exec <&-; echo no");
    my->c.input = sent;
    my->c.input_size = sizeof sent;
    my->out.length = 0;
    my->out.size = 2;
    my->c.out = &my->out;
    CORO_TRY(my->rc, coro_process_run(co, &my->run, &my->c));
    CHECK_EQ(my->rc, 0); /* it did not want to read: that is no error */
    CHECK_EQ(my->out.length, 2);
    CHECK_EQ(my->out.lost, 1);
    my->c = shell("exit 9");
    CORO_TRY(my->rc, coro_process_run(co, &my->run, &my->c));
    CHECK_EQ(my->rc, 9);
    my->c = shell("");
    my->c.dir = "/no/such/folder";
    CORO_AWAIT(my->rc, coro_process_run(co, &my->run, &my->c));
    CHECK_EQ(my->rc, -ENOENT);
    CORO_END(0);
}

TEST(process_run_feeds_and_collects_much_without_deadlock) /* I65 */
{
    CHECK_EQ(coro_run(both_ways), 0);
    check_no_children();
}

struct cancels {
    CORO_FRAME;
    const char *text;
    coro_group g;
    coro_fd ready;
    int raw[2];
    coro_command c;
    CORO_TASK(coro_process_task) t;
    char x[10];
    int n;
    coro_time start;
};

/* The whole tree holds the other end of the pipe: when we read the end, all are gone. */
CORO(cancels)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(pipe2(my->raw, O_CLOEXEC), 0);
    CORO_TRY(coro_fd_adopt(&my->ready, my->raw[0]));
    my->c = shell(my->text);
    my->c.stdout_ = my->raw[1];
    my->c.grace = CORO_MS(20);
    coro_start(&my->g, &my->t, coro_process_task, .command = my->c);
    CORO_TRY(my->n, coro_read_exact(co, &my->ready, my->x, 6));
    close(my->raw[1]);
    coro_task_cancel(&my->t);
    CORO_AWAIT(my->n, coro_join(co, &my->t));
    CHECK_EQ(my->n, -ECHILD); /* cancelled */
    check_no_children();
    CORO_TRY(my->n, coro_read(co, &my->ready, my->x, 1));
    CHECK_EQ(my->n, 0);
CORO_FINALLY:
    coro_close(&my->ready);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(process_run_that_is_cancelled_ends_the_child_with_sigterm) /* I69 */
{
    CHECK_EQ(coro_run(cancels, .text = "echo ready; exec sleep 60"), 0);
}

TEST(process_run_that_is_cancelled_ends_the_whole_tree) /* I69 */
{
    CHECK_EQ(coro_run(cancels, .text = "sleep 60 & sleep 60 & echo ready; wait"), 0);
}

TEST(process_run_that_is_cancelled_kills_what_ignores_sigterm) /* I69 */
{
    CHECK_EQ(coro_run(cancels, .text = "trap '' TERM; echo ready; while :; do sleep 60; done"), 0);
}

TEST(process_run_that_is_cancelled_kills_what_its_child_leaves_behind) /* I69 */
{
    CHECK_EQ(coro_run(cancels, .text = "(trap '' TERM; echo ready; exec sleep 60) & wait"), 0);
}

struct limited {
    CORO_FRAME;
    coro_command c;
    coro_scope limit;
    struct coro_process_task run;
    int rc;
};

CORO(limited)
{
    CORO_BEGIN();
    my->c = shell("exec sleep 60");
    my->c.stdout_ = my->c.stdin_ = CORO_PIPE;
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(5), &my->run, coro_process_task,
                                        .command = my->c));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    check_no_children();
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, 0, &my->run, coro_process_task,
                                        .command = my->c)); /* born cancelled */
    CHECK_EQ(my->rc, -ETIMEDOUT);
    check_no_children();
    my->c.dir = "/no/such/folder"; /* it is not even tried */
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, 0, &my->run, coro_process_task,
                                        .command = my->c));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_END(0);
}

TEST(process_run_under_a_deadline_leaves_no_process_and_no_pipe) /* I69 I70 */
{
    CHECK_EQ(coro_run(limited), 0);
}

struct any_moment {
    CORO_FRAME;
    coro_command c;
    coro_scope limit;
    struct coro_process_task run;
    int rc, i;
};

CORO(any_moment)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 25; my->i++) {
        my->c = shell("cat >&2; exit 5");
        my->c.input = sent;
        my->c.input_size = sizeof sent;
        my->c.err = &out;
        my->c.grace = CORO_MS(50);
        CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_US(100) * my->i, &my->run,
                                            coro_process_task, .command = my->c));
        CHECK(my->rc == -ETIMEDOUT || my->rc == 5);
        check_no_children();
    }
    CORO_END(0);
}

TEST(process_run_cancelled_at_any_moment_leaves_nothing) /* I69 I70 */
{
    CHECK_EQ(coro_run(any_moment), 0);
}

static int count_open(void)
{
    int n = 0;
    for (int i = 0; i < 200; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

/* With room for n descriptors more, for every n: it works, or leaves nothing. */
TEST(process_run_short_of_descriptors_leaves_nothing) /* I66 I70 Z19 */
{
    struct rlimit limit;
    int rc = -EMFILE, before = count_open();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int n = 0; rc < 0; n++) {
        coro_command c = shell("echo x; echo y >&2");
        struct rlimit less = limit;
        less.rlim_cur = (rlim_t)(before + n);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &less), 0);
        c.input = "";
        c.stderr_ = CORO_PIPE;
        rc = coro_run(collect, .c = c);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        CHECK(rc == 0 || rc == -EMFILE || rc == -EINVAL);
        CHECK_EQ(count_open(), before);
        check_no_children();
    }
    CHECK_STR(text, "x\n");
}

/* ---- terminals and shared descriptors -------------------------------------------------------- */

struct terminal {
    CORO_FRAME;
    coro_fd master;
    coro_command c;
    coro_process p;
    char name[64], x[64];
    size_t n;
    int slave, rc;
};

CORO(terminal)
{
    CORO_BEGIN();
    CORO_TRY(coro_fd_adopt(&my->master, open_terminal()));
    CHECK_EQ(ptsname_r(coro_fd_number(&my->master), my->name, sizeof my->name), 0);
    my->slave = open(my->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    my->c = shell("test -t 1 && echo on a terminal");
    my->c.stdin_ = my->c.stdout_ = my->c.stderr_ = my->slave;
    CORO_TRY(coro_process_spawn(&my->p, &my->c));
    close(my->slave);
    CORO_TRY(my->rc, coro_process_wait(co, &my->p));
    CHECK_EQ(my->rc, 0);
    do
        CORO_TRY(my->rc, coro_read(co, &my->master, my->x + my->n, sizeof my->x - 1 - my->n));
    while (my->n += (size_t)my->rc, my->rc > 0);
    CHECK_STR(my->x, "on a terminal\r\n");
CORO_FINALLY:
    coro_process_fini(&my->p);
    coro_close(&my->master);
    CORO_END(0);
}

TEST(process_on_a_terminal_is_read_to_the_end) /* I71 */
{
    CHECK_EQ(coro_run(terminal), 0);
}

TEST(descriptors_shared_with_others_are_blocking_again_after_close) /* I72 */
{
    int ends[2], copy;
    coro_fd h = CORO__ZERO;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    copy = fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
    CHECK_EQ(coro_fd_adopt(&h, copy), 0);
    CHECK(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    CHECK_EQ(coro_close(&h), 0);
    CHECK(!(fcntl(ends[0], F_GETFL) & O_NONBLOCK));
    close(ends[0]);
    close(ends[1]);
}

static void run_moved(void *arg)
{
    (void)arg;
    coro_run(moves);
}

TEST(process_moved_after_its_first_wait_traps)
{
    CHECK_TRAP(run_moved, NULL, "was moved after its first wait");
}

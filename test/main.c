/* main.c -- runs the tests that registered themselves: see test.h. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif /* _XOPEN_SOURCE */

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_SECONDS 5.0
#define SLOW_MS       50        /* above it, a test is named when TEST_TIMES=1 */
#define FD_SCAN       256       /* descriptors looked at for leaks */
#define SHOWN_BYTES   65536L    /* of a failed test's output */

/* How a test's process ends when its body came to its end. Not 0: a test that calls exit(0), or
 * code that does, must not count as passed. */
#define PASSED_STATUS  42
#define SKIPPED_STATUS 43

static struct test *all_tests;
static volatile pid_t running;              /* the test's process, for the alarm */
static volatile sig_atomic_t timed_out;

static void die(const char *what)
{
    fprintf(stderr, "tests: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- checks, called by the tests -------------------------------------------------------- */

void test_add(struct test *t)
{
    struct test **link = &all_tests;
    while (*link) {
        int order = strcmp((*link)->file, t->file);
        if (order > 0 || (order == 0 && (*link)->line > t->line))
            break;
        link = &(*link)->next;
    }
    t->next = *link;
    *link = t;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(NULL);
    _exit(1);       /* not exit(): what the broken test has left behind is not its point */
}

void test_skip(const char *file, int line, const char *what)
{
    const char *strict = getenv("STRICT");
    if (strict && *strict)
        test_fail(file, line, "skipped: no %s", what);
    fputs(what, stderr);
    _exit(SKIPPED_STATUS);
}

void test_check_eq(long long got, long long want, const char *got_text, const char *want_text,
                   const char *file, int line)
{
    if (got != want)
        test_fail(file, line, "CHECK_EQ(%s, %s): got %lld, want %lld", got_text, want_text,
                  got, want);
}

void test_check_str(const char *got, const char *want, const char *got_text,
                    const char *want_text, const char *file, int line)
{
    if (got == want || (got && want && strcmp(got, want) == 0))
        return;
    test_fail(file, line, "CHECK_STR(%s, %s):\n got  \"%s\"\n want \"%s\"", got_text, want_text,
              got ? got : "(null)", want ? want : "(null)");
}

void test_check_contains(const char *haystack, const char *needle, const char *haystack_text,
                         const char *needle_text, const char *file, int line)
{
    if (haystack && needle && strstr(haystack, needle))
        return;
    test_fail(file, line, "CHECK_CONTAINS(%s, %s):\n no   \"%s\"\n in   \"%s\"", haystack_text,
              needle_text, needle ? needle : "(null)", haystack ? haystack : "(null)");
}

/* ---- processes with their output in a file ---------------------------------------------- */

/* Everything that was written to `out`, cut to what is worth showing; to be freed. */
static char *contents(FILE *out)
{
    off_t end = lseek(fileno(out), 0, SEEK_END);
    size_t size = end < 0 ? 0 : end > SHOWN_BYTES ? (size_t)SHOWN_BYTES : (size_t)end;
    char *text = (char *)malloc(size + 1);
    if (!text)
        die("malloc");
    rewind(out);
    size = fread(text, 1, size, out);
    text[size] = 0;
    return text;
}

/* In the child: stderr, and stdout too if told so, go to `out`. */
static void redirect(FILE *out, bool stdout_too)
{
    int fd = fileno(out);
    if ((stdout_too && dup2(fd, STDOUT_FILENO) < 0) || dup2(fd, STDERR_FILENO) < 0)
        die("dup2");
    close(fd);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    return status;
}

static const char *describe(int status, char *buffer, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(buffer, size, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(buffer, size, "ended with exit status %d", WEXITSTATUS(status));
    return buffer;
}

void test_check_trap(void (*function)(void *), void *arg, const char *text,
                     const char *function_text, const char *file, int line)
{
    char how[128];
    FILE *out = tmpfile();
    if (!out)
        die("tmpfile");
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        redirect(out, false);
        function(arg);
        _exit(0);
    }
    int status = wait_for(pid);
    char *said = contents(out);
    fclose(out);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        test_fail(file, line, "CHECK_TRAP(%s): did not abort but %s, having said:\n%s",
                  function_text, describe(status, how, sizeof how), said);
    if (!strstr(said, text))
        test_fail(file, line, "CHECK_TRAP(%s): aborted without saying:\n%s\nbut having said:\n%s",
                  function_text, text, said);
    free(said);
}

/* ---- one test --------------------------------------------------------------------------- */

static void scan_fds(bool open[FD_SCAN])
{
    for (int fd = 0; fd < FD_SCAN; fd++)
        open[fd] = fcntl(fd, F_GETFD) != -1;
}

/* Runs in the test's own process and never returns. */
__attribute__((noreturn))
static void run_body(const struct test *t)
{
    static bool before[FD_SCAN], after[FD_SCAN];
    scan_fds(before);
    t->body();
    scan_fds(after);
    for (int fd = 0; fd < FD_SCAN; fd++)
        if (after[fd] && !before[fd])
            test_fail(t->file, t->line, "descriptor %d was left open", fd);
    exit(PASSED_STATUS);        /* not _exit(): leak checkers and coverage work at exit */
}

static void on_alarm(int signo)
{
    (void)signo;
    timed_out = 1;
    kill(-running, SIGKILL);    /* the whole group: the test may have started processes */
}

static double time_limit(void)
{
    const char *slow = getenv("TEST_SLOW");
    double factor = slow ? strtod(slow, NULL) : 1.0;
    return LIMIT_SECONDS * (factor > 0 ? factor : 1.0);
}

static void set_alarm(double seconds)
{
    struct itimerval timer;
    memset(&timer, 0, sizeof timer);
    timer.it_value.tv_sec = (time_t)seconds;
    timer.it_value.tv_usec = (suseconds_t)((seconds - (double)timer.it_value.tv_sec) * 1e6);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static long long now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Runs one test in a process of its own; returns how that ended. */
static int run_process(const struct test *t, FILE *out)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        setpgid(0, 0);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        close(null);
        redirect(out, true);
        signal(SIGINT, SIG_DFL); /* a shell's background jobs have it ignored */
        signal(SIGQUIT, SIG_DFL);
        run_body(t);
    }
    setpgid(pid, pid);          /* in both, so that it is done whoever comes first */
    running = pid;
    timed_out = 0;
    set_alarm(time_limit());
    int status = wait_for(pid);
    set_alarm(0);
    kill(-pid, SIGKILL);        /* what the test has left running */
    return status;
}

static void report_skipped(const struct test *t, FILE *out)
{
    char *what = contents(out);
    printf("skipped: no %s: %s\n", what, t->name);
    free(what);
}

static void report(const struct test *t, int status, FILE *out, const char *program)
{
    char how[128];
    if (timed_out)
        snprintf(how, sizeof how, "still running after %g s", time_limit());
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        snprintf(how, sizeof how, "failed");
    else
        describe(status, how, sizeof how);
    printf("FAIL %s (%s:%d): %s\n", t->name, t->file, t->line, how);

    char *text = contents(out);
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (line_start)
            printf("    ");
        putchar(*p);
        line_start = *p == '\n';
    }
    if (!line_start)
        putchar('\n');
    free(text);
    printf("    again: %s %s\n", program, t->name);
}

static bool run_test(const struct test *t, const char *program)
{
    const char *times = getenv("TEST_TIMES");
    FILE *out = tmpfile();
    if (!out)
        die("tmpfile");
    long long start = now_ms();
    int status = run_process(t, out);
    long long took = now_ms() - start;
    int how = !timed_out && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    bool passed = how == PASSED_STATUS || how == SKIPPED_STATUS;
    if (how == SKIPPED_STATUS)
        report_skipped(t, out);
    else if (!passed)
        report(t, status, out, program);
    else if (times && strcmp(times, "1") == 0 && took > SLOW_MS)
        printf("slow: %s took %lld ms\n", t->name, took);
    fclose(out);
    return passed;
}

/* ---- all tests -------------------------------------------------------------------------- */

static bool is_name(const char *word)
{
    for (const struct test *t = all_tests; t; t = t->next)
        if (strcmp(t->name, word) == 0)
            return true;
    return false;
}

/* Is the test asked for? A word that is a test's whole name means that test alone. */
static bool chosen(const struct test *t, char **words)
{
    if (!*words)
        return true;
    for (; *words; words++)
        if (is_name(*words) ? strcmp(t->name, *words) == 0 : strstr(t->name, *words) != NULL)
            return true;
    return false;
}

/* Two tests of one name could not be told apart in any report. */
static void refuse_twins(void)
{
    for (const struct test *t = all_tests; t; t = t->next)
        for (const struct test *u = t->next; u; u = u->next)
            if (strcmp(t->name, u->name) == 0) {
                fprintf(stderr, "%s:%d: a test named %s is already in %s:%d\n", u->file, u->line,
                        u->name, t->file, t->line);
                exit(2);
            }
}

#if defined(TEST_COVERAGE) && TEST_COVERAGE
#ifdef __cplusplus
extern "C"
#endif /* __cplusplus */
void __gcov_dump(void);

/* A trap is covered code too: write the counters before dying of it. */
static void on_abort(int signo)
{
    __gcov_dump();
    signal(signo, SIG_DFL);
    raise(signo);
}
#endif /* TEST_COVERAGE */

static void set_up(void)
{
    static const struct rlimit no_core = {0, 0};
    struct sigaction action;
    int fd;
    do /* who started us may have closed 0, 1 or 2: what is opened next must not be one of them */
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close(fd);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
#if defined(TEST_COVERAGE) && TEST_COVERAGE
    action.sa_handler = on_abort;
    sigaction(SIGABRT, &action, NULL);
#endif /* TEST_COVERAGE */
    setrlimit(RLIMIT_CORE, &no_core);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

int main(int argc, char **argv)
{
    char *filter = getenv("TEST_FILTER");
    char *from_environment[2] = {filter, NULL};
    char **words = argv + 1;
    int passed = 0, failed = 0;
    bool list = false, here = false;

    set_up();
    refuse_twins();
    if (argc > 1 && strncmp(argv[1], "--", 2) == 0) {
        list = strcmp(argv[1], "--list") == 0;
        here = strcmp(argv[1], "--here") == 0;
        if (!list && !here) {
            fprintf(stderr, "usage: %s [--list | --here] [word]...\n", argv[0]);
            return 2;
        }
        words++;
    }
    if (!*words && filter && *filter)
        words = from_environment;

    for (const struct test *t = all_tests; t; t = t->next) {
        if (!chosen(t, words))
            continue;
        if (list)
            puts(t->name);
        else if (here)
            run_body(t);
        else if (run_test(t, argv[0]))
            passed++;
        else
            failed++;
    }
    if (list)
        return 0;
    if (passed + failed == 0)
        printf("no test has such a name\n");
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

/* together.c -- runs commands, several at a time, as `xargs -P` does; with retries, time-outs, a
 * log for each.
 *
 *     together [-j n] [-r retries] [-t seconds] [-k] [-l folder] [command...]
 *
 * Each line of standard input is a command for the shell; or, if a command is given, a word for it,
 * in the place of {}, or at its end. -j: so many at once (4). -r: one that fails is tried again so
 * many times. -t: one that takes longer is ended, and has failed. The first failure stops the rest;
 * -k: it does not. -l: what command 7 writes goes to folder/7.log. All that a command has started
 * ends with it when it is stopped: at a failure, a time-out, Ctrl-C. What ignores SIGTERM is killed
 * a second later; a second Ctrl-C does not wait for that.
 *
 * Exit status: 0, all went well; 1, a command failed; 2, wrong usage; 130, stopped by a signal.
 * `together -` is without options; without anything it shows itself. */
#include "coro_io.h"
#include "coro_sync.h"
#include <stdio.h>

#define AT_ONCE 4                 /* commands, by default */
#define AT_ONCE_MOST 10000        /* and at most */
#define LINE_MOST 65535           /* bytes of a line; so many are read ahead, too */
#define RETRY_BASE CORO_MS(100)   /* the wait before the first retry is up to this, then doubles */
#define GRACE CORO_S(1)           /* from SIGTERM to SIGKILL */
#define BAR_EVERY CORO_MS(100)
#define BAR_WIDTH 30

/* Lines that were read, and not yet begun. */
struct input {
    char text[LINE_MOST + 1];
    size_t from, to;
    bool ended;
};

/* All that the tasks share. */
struct work {
    const char *const *words; /* of the command; one of them has {} */
    unsigned at_once;
    int retries;
    coro_time limit; /* of each try */
    bool keep;       /* going, after a failure */
    const char *logs;
    struct input in;
    unsigned known, begun, running, most, done, failed, stopped; /* commands */
};

/* ---- lines ------------------------------------------------------------------------------- */

/* What standard input has now; it is readable, and blocks otherwise. */
static int input_fill(struct work *w)
{
    struct input *in = &w->in;
    ssize_t n;
    memmove(in->text, in->text + in->from, in->to - in->from);
    in->to -= in->from;
    in->from = 0;
    if (in->to == LINE_MOST)
        return -EMSGSIZE;
    n = read(0, in->text + in->to, LINE_MOST - in->to);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    in->ended = n == 0;
    if (in->ended && in->to)
        in->text[in->to + (size_t)n++] = '\n'; /* the last line may lack it */
    for (ssize_t i = 0; i < n; i++)
        w->known += in->text[in->to + (size_t)i] == '\n';
    in->to += (size_t)n;
    return 0;
}

/* The next line that was read, as a string in the buffer; null: there is none. */
static const char *input_line(struct work *w)
{
    struct input *in = &w->in;
    char *line, *end;
    do {
        line = in->text + in->from;
        end = (char *)memchr(line, '\n', in->to - in->from);
        if (!end)
            return NULL;
        *end = 0;
        in->from = (size_t)(end + 1 - in->text);
        w->known -= !*line; /* empty ones are no commands */
    } while (!*line);
    return line;
}

/* The command for a line: its words, and their text, in one piece of memory. Null: no memory. */
static char **words_for(const char *const *words, const char *line)
{
    size_t count = 0, size = 0, length = strlen(line);
    char **made, *to;
    for (; words[count]; count++) {
        size += strlen(words[count]) + 1;
        for (const char *p = words[count]; (p = strstr(p, "{}")) != NULL; p += 2)
            size += length;
    }
    made = (char **)malloc((count + 1) * sizeof *made + size);
    if (!made)
        return NULL;
    to = (char *)(made + count + 1);
    for (size_t i = 0; i < count; i++) {
        const char *from = words[i], *mark;
        made[i] = to;
        for (; (mark = strstr(from, "{}")) != NULL; from = mark + 2) {
            memcpy(to, from, (size_t)(mark - from));
            to += mark - from;
            memcpy(to, line, length);
            to += length;
        }
        memcpy(to, from, strlen(from) + 1);
        to += strlen(from) + 1;
    }
    made[count] = NULL;
    return made;
}

/* ---- a command --------------------------------------------------------------------------- */

struct job {
    CORO_FRAME;
    struct work *w;
    char **words; /* ours, to be freed */
    unsigned number;
    coro_command command;
    struct coro_process_task run;
    coro_scope limit;
    coro_backoff backoff;
    coro_file log;
    char path[4096];
    int status, again;
};

/* What may go well next time: it ran, and failed, or took too long. */
static bool worth_a_retry(int rc)
{
    return rc == -EIO || rc == -ETIMEDOUT;
}

static void say_failure(const struct job *my)
{
    const char *bar = isatty(2) ? "\r\033[K" : "";
    fprintf(stderr, "%stogether: command %u: ", bar, my->number);
    if (my->status >= 256)
        fprintf(stderr, "signal %d", my->status - 256);
    else if (my->status >= 0)
        fprintf(stderr, "exit code %d", my->status);
    else
        fprintf(stderr, "%s", my->status == -ETIMEDOUT ? "took too long" : strerror(-my->status));
    for (char **word = my->words; *word; word++)
        fprintf(stderr, "%s%s", word == my->words ? ": " : " ", *word);
    fprintf(stderr, "\n");
}

CORO(job)
{
    CORO_BEGIN();
    if (++my->w->running > my->w->most)
        my->w->most = my->w->running;
    my->backoff = (coro_backoff){.tries = my->w->retries + 1, .base = RETRY_BASE,
                                 .transient = worth_a_retry};
    my->command = (coro_command){.argv = (const char *const *)my->words, .stdin_ = CORO_NULL,
                                 .grace = GRACE};
    if (my->w->logs) {
        if (snprintf(my->path, sizeof my->path, "%s/%u.log", my->w->logs, my->number) >=
            (int)sizeof my->path)
            CORO_FAIL(my->status = -ENAMETOOLONG);
        CORO_AWAIT(my->status, coro_file_open(co, &my->log, my->path,
                                              O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666));
        if (my->status < 0)
            CORO_FAIL(my->status);
        my->command.stdout_ = coro_file_number(&my->log);
        my->command.stderr_ = CORO_STDOUT;
    }
    do {
        CORO_AWAIT(my->status, coro_call_within(co, &my->limit, my->w->limit, &my->run,
                                                coro_process_task, .command = my->command));
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff,
                                              my->status > 0 ? -EIO : my->status));
    } while (my->again);
CORO_FINALLY:
    my->w->running--;
    if (CORO_ERR == 0) {
        my->w->done++;
    } else if (CORO_ERR == -ECANCELED) {
        my->w->stopped++;
    } else {
        my->w->failed++;
        say_failure(my);
    }
    coro_file_close(&my->log);
    free(my->words);
    CORO_END(0);
}

/* ---- all of them ------------------------------------------------------------------------- */

/* On a terminal. The lines read ahead are what is known to come; a + if there may be more. */
struct bar {
    CORO_FRAME;
    const struct work *w;
};

CORO(bar)
{
    CORO_BEGIN();
    for (;;) {
        unsigned ended = my->w->done + my->w->failed;
        int filled = my->w->known ? (int)((uint64_t)ended * BAR_WIDTH / my->w->known) : 0;
        fprintf(stderr, "\r[%.*s%*s] %u/%u%s, %u running, %u failed\033[K", filled,
                "##############################", BAR_WIDTH - filled, "", ended, my->w->known,
                my->w->in.ended ? "" : "+", my->w->running, my->w->failed);
        CORO_TRY(coro_sleep(co, BAR_EVERY));
    }
CORO_FINALLY:
    fprintf(stderr, "\r\033[K");
    CORO_END(0);
}

struct together {
    CORO_FRAME;
    struct work *w;
    coro_group show, jobs;
    const char *line;
    char **words;
};

static int job_begin(struct together *my)
{
    int rc;
    char **words = words_for(my->w->words, my->line);
    if (!words)
        return -ENOMEM;
    rc = coro_spawn(&my->jobs, job, .w = my->w, .words = words, .number = ++my->w->begun);
    if (rc < 0)
        free(words);
    return rc;
}

CORO(together)
{
    CORO_BEGIN();
    coro_group_open(co, &my->show, CORO_ALL);
    if (isatty(2))
        coro_spawn(&my->show, bar, .w = my->w);
    coro_group_open(co, &my->jobs, my->w->keep ? CORO_COLLECT : CORO_ALL);
    coro_group_limit(&my->jobs, my->w->at_once);
    for (;;) {
        CORO_TRY(coro_group_wait_room(co, &my->jobs));
        my->line = input_line(my->w);
        if (my->line) {
            CORO_TRY(job_begin(my));
        } else if (my->w->in.ended) {
            break;
        } else {
            CORO_TRY(coro_wait_fd(co, 0, POLLIN)); /* our input's other users go on blocking */
            CORO_TRY(input_fill(my->w));
        }
    }
CORO_FINALLY:
    CORO_CLOSE(&my->jobs); /* Ctrl-C cancels this task, and so all commands */
    coro_group_cancel(&my->show);
    CORO_CLOSE(&my->show);
    CORO_END(0);
}

/* ---- the command line, and the show ------------------------------------------------------ */

static const char *const shell[] = {"sh", "-c", "{}", NULL};

static void show(struct work *w, const char *what, const char *lines)
{
    int rc;
    w->words = shell;
    w->limit = w->limit ? w->limit : CORO_FOREVER;
    w->in.to = strlen(lines);
    memcpy(w->in.text, lines, w->in.to);
    w->in.ended = true;
    rc = coro_run(together, .w = w);
    printf("%s: %u went well, %u failed%s\n", what, w->done, w->failed,
           rc < 0 ? ", the rest was stopped" : "");
}

static int show_all(void)
{
    static struct work some = {.at_once = 3}, first = {.at_once = 3}, slow = {.at_once = 3},
                       all = {.at_once = 3, .keep = true}, again = {.at_once = 1, .retries = 3};
    char lines[200], name[40];
    show(&some, "six, three at once", "sleep .1\nsleep .1\nsleep .1\nsleep .1\ntrue\ntrue\n");
    show(&first, "the second one fails", "sleep 60\nfalse\nsleep 60\nsleep 60\n");
    show(&all, "all the same", "true\nfalse\ntrue\nkill -9 $$\ntrue\n");
    slow.limit = CORO_MS(50);
    show(&slow, "too slow", "sleep 60 & sleep 60\n");
    snprintf(name, sizeof name, "/tmp/together.%d", (int)getpid());
    snprintf(lines, sizeof lines, "rmdir %s 2>&- || { mkdir %s; exit 1; }\n", name, name);
    show(&again, "at the second try", lines);
    return some.most != 3 || some.failed || first.done || all.failed != 2 ||
           slow.failed != 1 || again.failed;
}

static int usage(void)
{
    fprintf(stderr, "usage: together [-j n] [-r retries] [-t seconds] [-k] [-l folder] "
                    "[command...]\n");
    return 2;
}

/* The command's words, with {} at the end if it is nowhere. */
static bool set_words(struct work *w, char **from, int n)
{
    const char **words = (const char **)calloc((size_t)n + 2, sizeof *words);
    bool marked = false;
    if (!words)
        return false;
    for (int i = 0; i < n; i++) {
        words[i] = from[i];
        marked = marked || strstr(from[i], "{}");
    }
    if (!marked)
        words[n] = "{}";
    w->words = words;
    return true;
}

/* The commands are not in the terminal's foreground: when it goes, nobody else ends them. */
static void hang_up(int signal)
{
    (void)signal;
    raise(SIGTERM);
}

int main(int argc, char **argv)
{
    static struct work w = {.words = shell, .at_once = AT_ONCE, .limit = CORO_FOREVER};
    int option, rc;
    if (argc == 1)
        return show_all();
    while ((option = getopt(argc, argv, "+j:r:t:kl:")) != -1) {
        char *end = NULL;
        double n = optarg ? strtod(optarg, &end) : 0;
        bool good = optarg && *optarg && !*end && n >= 0; /* a number */
        if (option == 'j' && good && n >= 1 && n <= AT_ONCE_MOST)
            w.at_once = (unsigned)n;
        else if (option == 'r' && good && n < 1e6)
            w.retries = (int)n;
        else if (option == 't' && good && n > 0 && n < 1e9)
            w.limit = (coro_time)(n * 1e9);
        else if (option == 'k')
            w.keep = true;
        else if (option == 'l')
            w.logs = optarg;
        else
            return usage();
    }
    if (optind < argc && strcmp(argv[optind], "-") == 0)
        optind++;
    if (optind < argc && !set_words(&w, argv + optind, argc - optind))
        return usage();
    if (signal(SIGHUP, hang_up) == SIG_IGN)
        signal(SIGHUP, SIG_IGN); /* nohup */
    rc = coro_run(together, .w = &w);
    if (w.words != shell)
        free((void *)(uintptr_t)w.words);
    if (rc < 0 && rc != -EINTR && !w.failed)
        fprintf(stderr, "together: %s\n", strerror(-rc));
    return rc == -EINTR ? 130 : rc < 0 || w.failed;
}

/* Output:
 *   six, three at once: 6 went well, 0 failed
 *   the second one fails: 0 went well, 1 failed, the rest was stopped
 *   all the same: 3 went well, 2 failed
 *   too slow: 0 went well, 1 failed, the rest was stopped
 *   at the second try: 1 went well, 0 failed
 */

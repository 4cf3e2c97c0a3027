/* run.c -- three commands at once, each with a second to end in. Their output is collected; the one
 * that takes too long is ended, with all that it has started. */
#include "coro_io.h"
#include <stdio.h>

static const char *const count[] = {"sh", "-c", "sort | uniq -c | tr -s ' '", NULL};
static const char *const fail[] = {"sh", "-c", "echo what was that >&2; exit 3", NULL};
static const char *const hang[] = {"sh", "-c", "echo still here; sleep 60 & sleep 60", NULL};

struct job {
    CORO_FRAME;
    coro_command command;
    coro_scope limit;
    struct coro_process_task run;
    coro_output out;
    char text[200];
    int status;
};

CORO(job)
{
    CORO_BEGIN();
    my->out.data = my->text;
    my->out.size = sizeof my->text;
    my->command.out = &my->out;
    my->command.stderr_ = CORO_STDOUT;
    CORO_TRY(my->status, coro_call_within(co, &my->limit, CORO_S(1), &my->run, coro_process_task,
                                          .command = my->command));
    CORO_END(my->status);
}

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(job) jobs[3];
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->jobs[0], job, .command = {.argv = count, .input = "b\na\nb\n",
                                                      .input_size = 6});
    coro_start(&my->g, &my->jobs[1], job, .command = {.argv = fail});
    coro_start(&my->g, &my->jobs[2], job, .command = {.argv = hang});
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 3; i++) {
        int status = coro_task_result(&my->jobs[i]);
        printf("command %d: ", i);
        if (status == -ETIMEDOUT)
            printf("took too long");
        else if (status < 0)
            printf("error %d", -status);
        else if (status >= 256)
            printf("killed by signal %d", status - 256);
        else
            printf("exit code %d", status);
        printf(", wrote:\n%.*s", (int)my->jobs[i].frame.out.length, my->jobs[i].frame.text);
    }
    CORO_END(0);
}

/* An interrupt cancels the app, which ends the commands. */
int main(void)
{
    return coro_run(app) < 0;
}

/* Output:
 *   command 0: exit code 0, wrote:
 *    1 a
 *    2 b
 *   command 1: exit code 3, wrote:
 *   what was that
 *   command 2: took too long, wrote:
 *   still here
 */

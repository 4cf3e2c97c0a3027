/* later.c -- start a task, do something else, and wait for it when its result is needed. */
#include "coro.h"
#include <stdio.h>

struct report {
    CORO_FRAME;
};

CORO(report)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(300)));
    CORO_END(12); /* pages */
}

struct mail {
    CORO_FRAME;
    int *sent;
};

CORO(mail)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(500)));
    ++*my->sent;
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(report) report; /* with a handle, to be joined */
    int pages, sent;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->report, report);
    coro_spawn(&my->g, mail, .sent = &my->sent); /* no handle: nobody will ask for its result */
    CORO_TRY(coro_sleep(co, CORO_MS(100)));      /* something else */
    printf("meanwhile: the report is %s\n",
           coro_task_status(&my->report) == CORO_RUNNING ? "being made" : "done");
    CORO_TRY(my->pages, coro_join(co, &my->report));
    printf("the report has %d pages, %d mails are sent\n", my->pages, my->sent);
CORO_FINALLY:
    CORO_CLOSE(&my->g); /* what was started is never forgotten: the mail is waited for */
    printf("at the end %d mail is sent\n", my->sent);
    CORO_END(my->pages + my->sent);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 13;
}

/* Output:
 *   meanwhile: the report is being made
 *   the report has 12 pages, 0 mails are sent
 *   at the end 1 mail is sent
 */

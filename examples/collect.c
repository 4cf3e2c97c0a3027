/* collect.c -- ten checks, some of which fail: all run to their end, and errors are collected. */
#include "coro.h"
#include <stdio.h>

struct check {
    CORO_FRAME;
    int n;
};

CORO(check)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(10 - my->n)));
    if (my->n % 4 == 1)
        CORO_FAIL(my->n == 5 ? -EIO : -ECONNREFUSED);
    CORO_END(my->n * my->n);
}

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(check) checks[10];
    int sum;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < 10; i++)
        coro_start(&my->g, &my->checks[i], check, .n = i);
    CORO_CLOSE(&my->g); /* no failure cancels anybody, or becomes ours */

    for (int i = 0; i < 10; i++) {
        int rc = coro_task_result(&my->checks[i]);
        if (rc >= 0)
            my->sum += rc;
        else
            printf("check %d: %s\n", i, rc == -EIO ? "input/output error" : "refused");
    }
    printf("%u failed, the others' sum is %d\n", (unsigned)my->g.failed, my->sum);
    printf("the first to fail was check %u\n", (unsigned)my->g.errors[0].index);
    CORO_END(my->sum);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 178;
}

/* Output:
 *   check 1: refused
 *   check 5: input/output error
 *   check 9: refused
 *   3 failed, the others' sum is 178
 *   the first to fail was check 9
 */

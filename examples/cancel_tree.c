/* cancel_tree.c -- cancelling a task cancels its children and theirs; the innermost end first. */
#include "coro.h"
#include <stdio.h>

struct node {
    CORO_FRAME;
    int name;  /* 1; its children are 11 and 12; theirs 111 ... 122 */
    int *left; /* how many are alive */
    coro_group g;
};

CORO(node)
{
    CORO_BEGIN();
    ++*my->left;
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 1; i <= 2 && my->name < 100; i++)
        coro_spawn(&my->g, node, .name = my->name * 10 + i, .left = my->left);
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    --*my->left;
    printf("%d %s\n", my->name, CORO_ERR == -ECANCELED ? "is cancelled" : "ends");
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(node) root;
    int left, rc;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->root, node, .name = 1, .left = &my->left);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    printf("%d tasks\n", my->left);
    coro_task_cancel(&my->root);
    CORO_AWAIT(my->rc, coro_join(co, &my->root)); /* -ECANCELED would mean that we are cancelled */
    printf("joined: %s; %d tasks\n", my->rc == -ECHILD ? "it was cancelled" : "?",
           my->left);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->rc == -ECHILD ? my->left : -EPROTO);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 0;
}

/* Output:
 *   7 tasks
 *   111 is cancelled
 *   112 is cancelled
 *   11 is cancelled
 *   121 is cancelled
 *   122 is cancelled
 *   12 is cancelled
 *   1 is cancelled
 *   joined: it was cancelled; 0 tasks
 */

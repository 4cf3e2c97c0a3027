/* size.c -- compiled for each target by tools/size.sh, never run. The sizes are read from the
 * object file's symbol table, as the sizes of these arrays. */
#include "coro.h"

/* The least task there is: its frame holds nothing of its own. */
struct nothing {
    CORO_FRAME;
};

CORO(nothing)
{
    CORO_BEGIN();
    CORO_END(0);
}

extern char size_of_coro_task[], size_of_coro_scope[], size_of_coro_group[], size_of_coro_loop[],
    size_of_coro_waitq[], size_of_coro_frame[], size_of_coro_gen[], size_of_coro_irq[],
    size_of_sleeping_task[];

char size_of_coro_task[sizeof(coro_task)];
char size_of_coro_scope[sizeof(coro_scope)];
char size_of_coro_group[sizeof(coro_group)];
char size_of_coro_loop[sizeof(coro_loop)];
char size_of_coro_waitq[sizeof(coro_waitq)];
char size_of_coro_frame[sizeof(coro_frame)];
char size_of_coro_gen[sizeof(coro_gen)];
char size_of_coro_irq[sizeof(coro_irq)];
char size_of_sleeping_task[sizeof(struct nothing_task)];    /* the task and its frame */

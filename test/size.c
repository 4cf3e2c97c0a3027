/* size.c -- compiled for each target by tools/size.sh, never run. The sizes are read from the
 * object file's symbol table, as the sizes of these arrays; and those of code from its sections. */

/* 0: coro.h alone. 1: and coro_sync.h. 2: a program that uses the least of both. */
#ifndef SIZE_OF
#define SIZE_OF 1
#endif /* !SIZE_OF */

#include "coro.h"
#if SIZE_OF
#include "coro_sync.h"
#endif /* SIZE_OF */

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

#if SIZE_OF == 1
extern char size_of_coro_line[], size_of_coro_event[], size_of_coro_promise[], size_of_coro_once[],
    size_of_coro_mutex[], size_of_coro_cond[], size_of_coro_rwlock[], size_of_coro_sem[],
    size_of_coro_barrier[], size_of_coro_queue[], size_of_coro_ring[], size_of_coro_topic[],
    size_of_coro_sub[], size_of_coro_case[], size_of_coro_backoff[], size_of_coro_rate[],
    size_of_coro_breaker[], size_of_coro_pool[];

char size_of_coro_line[sizeof(coro_line)];
char size_of_coro_event[sizeof(coro_event)];
char size_of_coro_promise[sizeof(coro_promise)];
char size_of_coro_once[sizeof(coro_once)];
char size_of_coro_mutex[sizeof(coro_mutex)];
char size_of_coro_cond[sizeof(coro_cond)];
char size_of_coro_rwlock[sizeof(coro_rwlock)];
char size_of_coro_sem[sizeof(coro_sem)];
char size_of_coro_barrier[sizeof(coro_barrier)];
char size_of_coro_queue[sizeof(coro_queue)];        /* without its items */
char size_of_coro_ring[sizeof(coro_ring)];          /* likewise */
char size_of_coro_topic[sizeof(coro_topic)];        /* likewise */
char size_of_coro_sub[sizeof(coro_sub)];
char size_of_coro_case[sizeof(coro_case)];
char size_of_coro_backoff[sizeof(coro_backoff)];
char size_of_coro_rate[sizeof(coro_rate)];
char size_of_coro_breaker[sizeof(coro_breaker)];
char size_of_coro_pool[sizeof(coro_pool)];          /* without its resources */
#endif /* SIZE_OF == 1 */

#if SIZE_OF == 2
/* Two tasks: a queue, a mutex, and a select of that queue and an event. */
typedef CORO_QUEUE(int, 4) numbers;

struct shared {
    numbers q;
    coro_event quit;
    coro_mutex lock;
    int sum;
};

struct adder {
    CORO_FRAME;
    struct shared *shared;
    coro_case cases[2];
    int i, item;
};

CORO(adder)
{
    CORO_BEGIN();
    coro_case_get(&my->cases[0], &my->shared->q, &my->item);
    coro_case_event(&my->cases[1], &my->shared->quit);
    for (;;) {
        CORO_TRY(my->i, coro_select(co, my->cases, 2));
        if (my->i == 1)
            break;
        CORO_TRY(coro_mutex_lock(co, &my->shared->lock));
        my->shared->sum += my->item;
        coro_mutex_unlock(co, &my->shared->lock);
    }
CORO_FINALLY:
    coro_mutex_unlock(co, &my->shared->lock);
    CORO_END(0);
}

struct program {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(adder) t;
    struct shared shared;
    int i;
};

CORO(program)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, adder, .shared = &my->shared);
    for (my->i = 0; my->i < 10; my->i++)
        CORO_TRY(coro_queue_put(co, &my->shared.q, &my->i));
    coro_event_set(&my->shared.quit);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    static coro_options options; /* a program has a driver here */
    static coro_loop loop;
    static CORO_TASK(program) t;
    if (coro_loop_init(&loop, &options) || coro_start(&loop.root, &t, program))
        return 1;
    return coro_loop_run(&loop);
}
#endif /* SIZE_OF == 2 */

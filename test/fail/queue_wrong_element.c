// A pointer to something else than the queue's elements.
//
// gcc: in expansion of macro 'CORO__TO_ELEMENT'
// clang: CORO__TO_ELEMENT
// both: error:
// with: -O0..3
#include "coro_sync.h"

struct job {
    int id;
};
typedef CORO_QUEUE(struct job, 4) job_queue;

struct f {
    CORO_FRAME;
    job_queue q;
    struct job job;
    long number;
    bool got;
};
CORO(f)
{
    CORO_BEGIN();
    my->job.id = 1;
    CORO_TRY(coro_queue_put(co, &my->q, &my->job));
#ifdef FIXED
    CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->job));
#else
    CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->number));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}

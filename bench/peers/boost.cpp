/* boost.cpp -- the stackful way, through Boost. Built three times:
 *
 *   boost-context  Boost.Context under a ring of pointers, as in limit_core.c: a loop resumes the
 *                  tasks, which go back to it, as the library's coroutines are meant to be used
 *   boost-direct   (-DWITH_DIRECT=1) the same, from one task's stack to the next one's: the limit of
 *                  what a stackful library can do, half the number of switches
 *   boost-fiber    (-DWITH_FIBER=1) Boost.Fiber, a whole scheduler
 */
#include <vector>
#include "../bench.h"

#if WITH_FIBER

#include <boost/fiber/all.hpp>

typedef boost::fibers::fiber fiber;

static void yielder(long n)
{
    for (long i = 0; i < n; i++)
        boost::this_fiber::yield();
}

static double switch_bench(long n, long tasks)
{
    std::vector<fiber> all;
    double start;

    for (long i = 0; i < tasks; i++)
        all.emplace_back(yielder, n / tasks);
    start = bench_cpu();
    for (fiber &f : all)
        f.join();
    return (bench_cpu() - start) / (double)(n / tasks * tasks);
}

static double spawn(long n, long)
{
    long ended = 0;
    double start = bench_cpu();

    for (long i = 0; i < n; i++)
        fiber([&ended] { ended++; }).join();
    bench_check(ended == n, "spawn: every child ended");
    return (bench_cpu() - start) / (double)n;
}

#else

#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

typedef boost::context::fiber fiber;

struct task {
    fiber context;
};

static std::vector<task *> ring;
static uint32_t ring_head, ring_tail, ring_mask;
static task *current;

static void ready_init(long tasks)
{
    size_t size = 1;

    while (size < (size_t)tasks)
        size *= 2;
    ring.resize(size);
    ring_mask = (uint32_t)size - 1;
}

static inline void ready_push(task *t)
{
    ring[ring_tail++ & ring_mask] = t;
}

static inline task *ready_pop()
{
    return ring[ring_head++ & ring_mask];
}

/* Always inline: a switch leaves its call without a return, so that the next return is predicted
 * wrong, and there had better be none. It saves a third. */
#define SUSPEND_INLINE __attribute__((always_inline)) static inline

#if WITH_DIRECT

static task outside;
static long live;

SUSPEND_INLINE void suspend()
{
    task *self = current;

    current = ready_pop();
    if (current != self)
        std::move(current->context).resume_with([self](fiber &&from) {
            self->context = std::move(from);
            return fiber();
        });
}

static inline fiber began(fiber &&from)
{
    return std::move(from);  /* empty: whoever came here kept his own context */
}

static fiber ended(fiber &&)
{
    if (--live == 0)
        ready_push(&outside);
    current = ready_pop();
    return std::move(current->context);
}

static void run()
{
    current = &outside;
    suspend();
}

#else

static fiber loop; //X
static long live;

SUSPEND_INLINE void suspend()
{
    loop = std::move(loop).resume();
}

static inline fiber began(fiber &&from)
{
    loop = std::move(from);
    return fiber();
}

static fiber ended(fiber &&)
{
    live--;
    return std::move(loop);
}

static void run()
{
    while (live > 0) {
        current = ready_pop();
        current->context = std::move(current->context).resume();
    }
}

#endif /* WITH_DIRECT */

static boost::context::pooled_fixedsize_stack stacks(16384);

template <class Body> static void start(task *t, Body body)
{
    live++;
    t->context = fiber(std::allocator_arg, stacks, [body](fiber &&from) {
        fiber nobody = began(std::move(from));

        body();
        return ended(std::move(nobody));
    });
    ready_push(t);
}

static double timed_run(long n)
{
    double start = bench_cpu();

    run();
    return (bench_cpu() - start) / (double)n;
}

static double switch_bench(long n, long tasks)
{
    std::vector<task> all((size_t)tasks);

    ready_init(tasks + 1);
    for (task &t : all)
        start(&t, [&, n] {
            for (long left = n / tasks; left > 0; left--) {
                ready_push(current);
                suspend();
            }
        });
    return timed_run(n / tasks * tasks);
}

static double spawn(long n, long)
{
    task parent, child;
    unsigned group = 0;

    ready_init(2);
    start(&parent, [&, n] {
        for (long i = 0; i < n; i++) {
            group++;
            start(&child, [&] {
                if (--group == 0)
                    ready_push(&parent);
            });
            suspend();
        }
    });
    return timed_run(n);
}

#endif /* WITH_FIBER */

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"switch2", switch_bench, 2},
        {"switch1k", switch_bench, 1000},
        {"spawn", spawn, 0},
        {nullptr, nullptr, 0},
    };

    return bench_main(argc, argv, table);
}

/* cxx20.cpp -- bare C++20 coroutines: what the language gives, without a framework.
 *
 * The ready queue is an intrusive list of promises; frames come from operator new, as the language
 * has it; a call is a symmetric transfer there and back. The functions are noinline: a call into
 * another file is the common case, and clang's elision of the frame only works without.
 */
#if defined(__clang__) && __clang_major__ < 15
#define __cpp_impl_coroutine 201902L  /* clang has them, libstdc++'s header asks for the macro */
#endif
#include <coroutine>
#include <utility>
#include "../bench.h"

/* ---- ready queue -------------------------------------------------------------------------- */

/* The base of every promise: being at a known distance from the frame's begin, it needs no handle
 * beside it, whose load would be in the way of the next switch. */
struct ready_link {
    ready_link *next;
};

static ready_link *ready_first, *ready_last;

static inline void ready_push(ready_link *l)
{
    l->next = nullptr;
    if (ready_first)
        ready_last->next = l;
    else
        ready_first = l;
    ready_last = l;
}

/* The next link stays in a register, which halves the cost with two tasks; ready_first is read only
 * where the list had run empty, and only its being null matters to a push. */
static void ready_run()
{
    for (ready_link *l = ready_first, *next; l; l = next ? next : ready_first) {
        next = l->next;
        if (!next)
            ready_first = nullptr;
        std::coroutine_handle<ready_link>::from_promise(*l).resume();
    }
}

struct yield {
    bool await_ready() const noexcept { return false; }
    template <class P> void await_suspend(std::coroutine_handle<P> h) const noexcept
    {
        ready_push(&h.promise());
    }
    void await_resume() const noexcept {}
};

/* ---- tasks and groups --------------------------------------------------------------------- */

/* Awaiting a group waits for its last task. */
struct group {
    unsigned count = 0;
    ready_link *waiter = nullptr;

    bool await_ready() const noexcept { return count == 0; }
    template <class P> void await_suspend(std::coroutine_handle<P> h) noexcept
    {
        waiter = &h.promise();
    }
    void await_resume() const noexcept {}
};

/* Runs through the ready queue; its frame goes when it ends. */
struct task {
    struct promise_type : ready_link {
        group *in = nullptr;

        task get_return_object() { return {this}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept
        {
            if (in && --in->count == 0 && in->waiter)
                ready_push(std::exchange(in->waiter, nullptr));
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { abort(); }
    };

    promise_type *promise;

    void start(group *g = nullptr)
    {
        promise->in = g;
        if (g)
            g->count++;
        ready_push(promise);
    }
};

/* A sub-coroutine: awaiting it runs it, and goes on in its caller when it ends. */
struct routine {
    struct promise_type : ready_link {
        std::coroutine_handle<> caller;
        int value;

        struct back_to_caller {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(
                std::coroutine_handle<promise_type> h) const noexcept
            {
                return h.promise().caller;
            }
            void await_resume() const noexcept {}
        };

        routine get_return_object()
        {
            return routine(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        back_to_caller final_suspend() noexcept { return {}; }
        void return_value(int v) noexcept { value = v; }
        void unhandled_exception() noexcept { abort(); }
    };

    std::coroutine_handle<promise_type> handle;

    explicit routine(std::coroutine_handle<promise_type> h) : handle(h) {}
    routine(routine &&other) : handle(std::exchange(other.handle, nullptr)) {}
    ~routine()
    {
        if (handle)
            handle.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const noexcept
    {
        handle.promise().caller = h;
        return handle;
    }
    int await_resume() const noexcept { return handle.promise().value; }
};

/* ---- benchmarks --------------------------------------------------------------------------- */

static long total;

static task yielder(long n)
{
    for (long i = 0; i < n; i++)
        co_await yield{};
}

static double timed_run(long n)
{
    double start = bench_cpu();

    ready_run();
    return (bench_cpu() - start) / (double)n;
}

static double switch_bench(long n, long tasks)
{
    task *all = static_cast<task *>(malloc(sizeof(task) * (size_t)tasks));
    uint32_t *order = bench_shuffled(tasks);

    for (long i = 0; i < tasks; i++)
        all[i] = yielder(n / tasks);
    for (long i = 0; i < tasks; i++)
        all[tasks < 100000 ? i : order[i]].start();
    return timed_run(n / tasks * tasks);
}

__attribute__((noinline)) static routine add_one(int i)
{
    co_return i + 1;
}

static task caller_of_add_one(long n)
{
    for (long i = 0; i < n; i++) {
        total += co_await add_one((int)i);
        if (i % 100 == 99)
            co_await yield{};
    }
}

static double call(long n, long)
{
    caller_of_add_one(n).start();
    double ns = timed_run(n);

    bench_check(total == n * (n + 1) / 2, "call: the sum");
    return ns;
}

__attribute__((noinline)) static routine level(int levels, long n)
{
    if (levels > 0)
        co_return 1 + co_await level(levels - 1, n);
    for (long i = 0; i < n; i++)
        co_await yield{};
    co_return 0;
}

static task root(int levels, long n)
{
    total = 1 + co_await level(levels - 1, n);
}

static double depth(long n, long levels)
{
    root((int)levels, n).start();
    double ns = timed_run(n);

    bench_check(total == levels, "depth: every level ended");
    return ns;
}

__attribute__((noinline)) static task child()
{
    total++;
    co_return;
}

static task parent(long n, long at_once)
{
    group children;

    for (; n > 0; n -= at_once) {
        for (long i = 0; i < at_once; i++)
            child().start(&children);
        co_await children;
    }
}

static double spawn(long n, long at_once)
{
    parent(n, at_once ? at_once : n).start();
    double ns = timed_run(n);

    bench_check(total == n, "spawn: every child ended");
    return ns;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"switch2", switch_bench, 2},
        {"switch1k", switch_bench, 1000},
        {"switch100k", switch_bench, 100000},
        {"switch1m", switch_bench, 1000000},
        {"call", call, 0},
        {"depth1", depth, 1},
        {"depth10", depth, 10},
        {"depth100", depth, 100},
        {"spawn", spawn, 1},
        {"spawn_mass", spawn, 0},
        {nullptr, nullptr, 0},
    };

    return bench_main(argc, argv, table);
}

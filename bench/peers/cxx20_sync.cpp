/* cxx20_sync.cpp -- the algorithms of limit_sync.c over bare C++20 coroutines, whose ready queue is
 * that of cxx20.cpp. Nodes of those who wait are in the awaiters, that is, in the frames.
 */
#if defined(__clang__) && __clang_major__ < 15
#define __cpp_impl_coroutine 201902L  /* clang has them, libstdc++'s header asks for the macro */
#endif
#include <coroutine>
#include <utility>
#include "../bench.h"

/* ---- ready queue and tasks, as in cxx20.cpp ----------------------------------------------- */

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

static void ready_run()
{
    for (ready_link *l = ready_first, *next; l; l = next ? next : ready_first) {
        next = l->next;
        if (!next)
            ready_first = nullptr;
        std::coroutine_handle<ready_link>::from_promise(*l).resume();
    }
}

static double timed_run(long n)
{
    double start = bench_cpu();

    ready_run();
    return (bench_cpu() - start) / (double)n;
}

struct yield {
    bool await_ready() const noexcept { return false; }
    template <class P> void await_suspend(std::coroutine_handle<P> h) const noexcept
    {
        ready_push(&h.promise());
    }
    void await_resume() const noexcept {}
};

/* Runs through the ready queue; its frame goes when it ends. */
struct task {
    struct promise_type : ready_link {
        task get_return_object() { return {this}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { abort(); }
    };

    promise_type *promise;

    void start() { ready_push(promise); }
};

/* ---- lines: those who wait, oldest first -------------------------------------------------- */

struct waiter {
    waiter *next;
    ready_link *task;
    uint64_t item;
};

struct line {
    waiter *first = nullptr, *last = nullptr;

    void append(waiter *w)
    {
        w->next = nullptr;
        if (first)
            last->next = w;
        else
            first = w;
        last = w;
    }
    waiter *pop() { return std::exchange(first, first->next); }
};

/* ---- channels ----------------------------------------------------------------------------- */

struct channel {
    uint32_t put_count = 0, got_count = 0; /* items so far: free-running */
    uint32_t room;                         /* a power of two, or 0 */
    line getters, putters;
    uint64_t items[64];

    explicit channel(uint32_t n) : room(n) {}

    struct put_op : waiter {
        channel *c;

        bool await_ready() noexcept
        {
            if (c->getters.first) {
                waiter *getter = c->getters.pop();

                getter->item = item;
                ready_push(getter->task);
                return true;
            }
            if (c->put_count - c->got_count >= c->room)
                return false;
            c->items[c->put_count++ & (c->room - 1)] = item;
            return true;
        }
        template <class P> void await_suspend(std::coroutine_handle<P> h) noexcept
        {
            task = &h.promise();
            c->putters.append(this);
        }
        void await_resume() const noexcept {}
    };

    struct get_op : waiter {
        channel *c;

        bool await_ready() noexcept
        {
            waiter *putter = c->putters.first;

            if (c->put_count != c->got_count) {
                item = c->items[c->got_count++ & (c->room - 1)];
                if (putter)
                    c->items[c->put_count++ & (c->room - 1)] = putter->item;
            } else if (putter) {
                item = putter->item;
            } else {
                return false;
            }
            if (putter)
                ready_push(c->putters.pop()->task);
            return true;
        }
        template <class P> void await_suspend(std::coroutine_handle<P> h) noexcept
        {
            task = &h.promise();
            c->getters.append(this);
        }
        uint64_t await_resume() const noexcept { return item; }
    };

    put_op put(uint64_t item) { return {{nullptr, nullptr, item}, this}; }
    get_op get() { return {{nullptr, nullptr, 0}, this}; }
};

static uint64_t total;

static task produce(channel *c, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        co_await c->put(i);
}

static task consume(channel *c, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        total += co_await c->get();
}

static double channels(long n, long room)
{
    channel c((uint32_t)room);

    produce(&c, (uint64_t)n).start();
    consume(&c, (uint64_t)n).start();
    double ns = timed_run(n);

    bench_check(total == (uint64_t)n * (uint64_t)(n - 1) / 2, "channel: the sum");
    return ns;
}

/* ---- mutex, semaphore --------------------------------------------------------------------- */

struct mutex {
    bool locked = false;
    line waiting;

    struct lock_op : waiter {
        mutex *m;

        bool await_ready() noexcept { return !std::exchange(m->locked, true); }
        template <class P> void await_suspend(std::coroutine_handle<P> h) noexcept
        {
            task = &h.promise();
            m->waiting.append(this);
        }
        void await_resume() const noexcept {}
    };

    lock_op lock() { return {{}, this}; }
    void unlock()
    {
        if (waiting.first)
            ready_push(waiting.pop()->task);
        else
            locked = false;
    }
};

static task lock_and_yield(mutex *m, long n)
{
    for (long i = 0; i < n; i++) {
        co_await m->lock();
        total++;
        co_await yield{};
        m->unlock();
    }
}

static double contended(long n, long tasks)
{
    mutex m;

    for (long i = 0; i < tasks; i++)
        lock_and_yield(&m, n / tasks).start();
    double ns = timed_run(n / tasks * tasks);

    bench_check(total == (uint64_t)(n / tasks * tasks), "mutex");
    return ns;
}

static task lock_often(mutex *m, long n)
{
    for (long i = 0; i < n; i++) {
        co_await m->lock();
        total++;
        m->unlock();
        if (i % 100 == 99)
            co_await yield{};
    }
}

static double uncontended(long n, long)
{
    mutex m;

    lock_often(&m, n).start();
    return timed_run(n);
}

struct sem {
    long value;
    line waiting;

    struct acquire_op : waiter {
        sem *s;

        bool await_ready() noexcept
        {
            if (!s->value)
                return false;
            s->value--;
            return true;
        }
        template <class P> void await_suspend(std::coroutine_handle<P> h) noexcept
        {
            task = &h.promise();
            s->waiting.append(this);
        }
        void await_resume() const noexcept {}
    };

    acquire_op acquire() { return {{}, this}; }
    void release()
    {
        if (waiting.first)
            ready_push(waiting.pop()->task);
        else
            value++;
    }
};

static task acquire_often(sem *s, long n)
{
    for (long i = 0; i < n; i++) {
        co_await s->acquire();
        total++;
        s->release();
        if (i % 100 == 99)
            co_await yield{};
    }
}

static double permits(long n, long)
{
    sem s{2, {}};

    acquire_often(&s, n).start();
    return timed_run(n);
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"chan64", channels, 64},
        {"chan1", channels, 1},
        {"chan0", channels, 0},
        {"mutex2", contended, 2},
        {"mutex10", contended, 10},
        {"mutex", uncontended, 0},
        {"sem", permits, 0},
        {nullptr, nullptr, 0},
    };

    return bench_main(argc, argv, table);
}

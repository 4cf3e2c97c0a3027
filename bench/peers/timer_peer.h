/* timer_peer.h -- the clock for the timer peers: it stands still, and moves only by our hand.
 *
 * Both libraries read the time with clock_gettime, which this program replaces. So 1,000,000 random
 * timers within 10 s are armed at one moment, the clock jumps past the last of them, and a single
 * turn of the real loop fires them all, in its own order: no system call and no waiting is charged
 * to the peer, which makes it look better than in use, if anything.
 */
#ifndef TIMER_PEER_H
#define TIMER_PEER_H

#include "../bench.h"

static uint64_t peer_now = 1000 * BENCH_SECOND;

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = (time_t)(peer_now / BENCH_SECOND);
    ts->tv_nsec = (long)(peer_now % BENCH_SECOND);
    return 0;
}

#endif /* TIMER_PEER_H */

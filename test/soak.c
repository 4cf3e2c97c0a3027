/* soak.c -- usage: soak [seconds [seed [connections]]]
 * Rounds of 10,000 connections (see soak.h): 20 of them, or for so many seconds. Exit status 0: no
 * descriptor, no task and no byte is left. */
#include "soak.h"

#include <time.h>

int main(int argc, char **argv)
{
    soak_options o = {.connections = 10000, .rounds = 20, .patience = 50000};
    int wrong;
    if (argc > 1 && atoi(argv[1]) > 0) {
        o.rounds = 1;
        o.time = CORO_S(atoi(argv[1]));
    }
    o.seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : (uint32_t)time(NULL);
    o.connections = argc > 3 ? atoi(argv[3]) : o.connections;
    o.at_once = soak_most(o.connections);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %u, %s\n", (unsigned)o.seed, coro_io_backend());
    printf("%d connections a round, and before them a wave of %d at once%s\n", o.connections,
           o.at_once, o.at_once < o.connections ? ", as `ulimit -n` allows no more" : "");
    if (o.connections <= 0 || o.at_once <= 0)
        return 2;
    wrong = soak_run(&o);
    printf("%s\n", wrong ? "FAILED" : "nothing is left");
    return wrong != 0;
}

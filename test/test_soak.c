/* test_soak.c -- a quick soak; `make soak` makes the long one. */
#include "soak.h"
#include "test.h"

TEST(connections_that_come_and_go_at_random_leave_nothing)
{
    soak_options o;
    memset(&o, 0, sizeof o);
    o.seed = 1;
    o.connections = 100;
    o.at_once = 30;
    o.rounds = 2; /* tcp, and local */
    o.patience = 3000;
    o.quiet = true;
    CHECK_EQ(soak_run(&o), 0);
}

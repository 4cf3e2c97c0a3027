/* test_poll.c -- the poll backend, where it is not what the others are. */
#include "io.h"

/* test_kqueue.c -- the kqueue backend, and that the tests' own kqueue is BSD's. */
#include "io.h"

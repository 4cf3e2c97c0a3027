// coro_io.h after a header of libc: it is too late to ask for what is Linux's own.
//
// both: include it before the headers of libc, or compile with -D_GNU_SOURCE
// flags: -std=gnu11
#ifdef FIXED
#include "coro_io.h"
#endif /* FIXED */
#include <stdio.h>
#include "coro_io.h"

int main(void)
{
    return 0;
}

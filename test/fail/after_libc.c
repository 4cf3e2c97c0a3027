// coro.h after a header of libc, in strict C11: it is too late to ask for POSIX.
//
// both: include it before any system header, or compile with -std=gnu11
#ifdef FIXED
#include "coro.h"
#endif /* FIXED */
#include <stdio.h>
#include "coro.h"

int main(void)
{
    return 0;
}

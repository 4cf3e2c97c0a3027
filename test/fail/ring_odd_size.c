// A ring whose size is no power of two.
//
// gcc: is negative
// clang: negative
// both: error:
#include "coro_sync.h"

#ifdef FIXED
static CORO_RING(char, 16) r;
#else
static CORO_RING(char, 10) r;
#endif /* FIXED */

int main(void)
{
    char c = 'x';
    return coro_ring_put(&r, &c);
}

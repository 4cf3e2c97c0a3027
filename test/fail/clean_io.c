// Everything of coro_io.h, with all warnings.
//
// clean
// with: -O0..3
// with: -O2 -DCORO_IO_BACKEND=3
// with: -O2 -DCORO_CHECK=1
#include "coro_io.h"

int main(void)
{
    return 0;
}

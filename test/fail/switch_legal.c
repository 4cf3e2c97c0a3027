// With CORO_LABELS_AS_VALUES an await may stand in a switch of the user's.
//
// clean
// flags: -DCORO_LABELS_AS_VALUES=1
// with: -O1..3
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
    switch (my->n) {
    case 0:
        CORO_TRY(coro_sleep(co, 7));
        break;
    case 1:
        CORO_TRY(coro_sleep(co, 8));
        break;
    default:
        break;
    }
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}

/* coro_sync.h: workers that use all its objects, under limits, and cancel each other. */
#include "../test_sync_random.c"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_begin(data, size);
    choose = fuzz_below;
    run_seed(1 + fuzz_below(1000)); /* of the schedule */
    return 0;
}

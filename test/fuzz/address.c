/* coro_address_parse and coro_address_print: what is parsed, printed and parsed again is the same;
 * printing cuts to size, and all of it stays within its memory. */
#include "coro_io.h"
#include "fuzz.h"

#include <errno.h>

/* Any bytes as an address: those of a socket whose peer may be anybody. */
static void print_any(const uint8_t *data, size_t size)
{
    coro_address a;
    char text[256];
    memset(&a, 0, sizeof a);
    size = size < sizeof a - offsetof(coro_address, any) ? size
                                                         : sizeof a - offsetof(coro_address, any);
    memcpy(&a.any, data, size);
    a.length = (socklen_t)size;
    if (size >= sizeof a.v6 || (a.any.sa_family != AF_INET6 && size >= sizeof a.v4))
        CHECK(strlen(coro_address_print(&a, text, sizeof text)) < sizeof text);
    CHECK(coro_address_port(&a) >= 0 && coro_address_port(&a) < 65536);
}

static void check_cut(const coro_address *a, const char *whole)
{
    size_t room = 1 + fuzz_below((uint32_t)strlen(whole) + 1);
    char *text = (char *)malloc(room);
    CHECK(text != NULL);
    CHECK(coro_address_print(a, text, room) == text);
    CHECK(strlen(text) == room - 1 && memcmp(text, whole, room - 1) == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    coro_address a, again;
    char printed[256], *text = (char *)malloc(size + 1);
    int rc;
    CHECK(text != NULL);
    fuzz_begin(data, size);
    memcpy(text, data, size);
    text[size] = 0;
    rc = coro_address_parse(&a, text);
    CHECK(rc == 0 || rc == -EINVAL);
    if (rc == 0) {
        (void)coro_address_print(&a, printed, sizeof printed);
        CHECK_EQ(coro_address_parse(&again, printed), 0);
        CHECK_EQ(a.length, again.length);
        CHECK(memcmp(&a.any, &again.any, a.length) == 0);
        if (a.any.sa_family == AF_UNIX)
            CHECK_STR(printed, text);
        check_cut(&a, printed);
    }
    print_any(data, size);
    free(text);
    return 0;
}

/* fuzz.h -- what the fuzz targets share: see `make fuzz`.
 *
 * libFuzzer calls LLVMFuzzerTestOneInput with bytes that it makes up, and keeps those that reach
 * new code. A target takes its decisions from them, one after the other; behind their end they
 * follow from a fixed start, so that any input is a whole program, and always the same one. Checks
 * are those of test.h: one that fails ends the process, and libFuzzer keeps the input.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "test.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    const uint8_t *at, *end; /* what is left of the input */
    uint32_t random;         /* behind it */
} fuzz;

static inline void fuzz_begin(const uint8_t *data, size_t size)
{
    fuzz.at = data;
    fuzz.end = data + size;
    fuzz.random = 2463534242u;
}

static inline uint32_t fuzz_byte(void)
{
    if (fuzz.at < fuzz.end)
        return *fuzz.at++;
    fuzz.random ^= fuzz.random << 13;
    fuzz.random ^= fuzz.random >> 17;
    fuzz.random ^= fuzz.random << 5;
    return fuzz.random >> 24;
}

/* The next decision: 0 ... n - 1. */
static inline uint32_t fuzz_below(uint32_t n)
{
    uint32_t value = fuzz_byte();
    if (n > 256)
        value = value << 8 | fuzz_byte();
    return value % n;
}

/* ---- test.h, without its program ------------------------------------------------------------- */

void test_add(struct test *t)
{
    (void)t;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void test_check_eq(long long got, long long want, const char *got_text, const char *want_text,
                   const char *file, int line)
{
    if (got != want)
        test_fail(file, line, "%s is %lld, not %s, %lld", got_text, got, want_text, want);
}

void test_check_str(const char *got, const char *want, const char *got_text,
                    const char *want_text, const char *file, int line)
{
    if (got != want && (!got || !want || strcmp(got, want) != 0))
        test_fail(file, line, "%s is \"%s\", not %s, \"%s\"", got_text, got ? got : "(null)",
                  want_text, want ? want : "(null)");
}

#endif /* FUZZ_H */

/* test.h -- a tiny test harness: a process, a time limit and a clean set of descriptors per test.
 *
 *   #include "test.h"
 *
 *   TEST(two_and_two_are_four)
 *   {
 *       CHECK_EQ(2 + 2, 4);
 *   }
 *
 * Any number of such files is linked with main.c into one program; tests register themselves. Works
 * as C11 and as C++20, with gcc and clang. A failed check ends its test, and what the test has
 * printed is shown. The program:
 *
 *   tests                 runs everything; ends with `N passed, M failed`
 *   tests some words      runs the tests whose names contain one of the words, or are one
 *   tests --list          prints the names
 *   tests --here name     runs it in this very process, for a debugger
 *
 *   TEST_FILTER=word      the same as an argument
 *   TEST_SLOW=20          multiplies the limit of 5 s (valgrind, emulators); 0.1 shortens it
 *   TEST_TIMES=1          names the tests that took more than 50 ms
 *   STRICT=1              a test that cannot run here fails
 */
#ifndef TEST_H
#define TEST_H

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

struct test {
    const char *name;           /* as in TEST(name) */
    const char *file;           /* where it stands */
    int line;
    void (*body)(void);
    struct test *next;          /* the list of all, by file and line */
};

/* TEST -- define a test; its name is a sentence. */
#define TEST(sentence)                                                                  \
    static void test_body_##sentence(void);                                             \
    __attribute__((constructor)) static void test_add_##sentence(void)                  \
    {                                                                                   \
        static struct test self = {#sentence, __FILE__, __LINE__, test_body_##sentence, 0}; \
        test_add(&self);                                                                \
    }                                                                                   \
    static void test_body_##sentence(void)

/* CHECK -- the condition holds. This check and all others end the test when they fail. */
#define CHECK(condition)                                                                \
    ((condition) ? (void)0 : TEST_FAIL("CHECK(%s)", #condition))

/* CHECK_EQ -- two integers of any type are equal. */
#define CHECK_EQ(got, want)                                                             \
    test_check_eq((long long)(got), (long long)(want), #got, #want, __FILE__, __LINE__)

/* CHECK_STR -- two strings are equal. A null pointer equals nothing but itself. */
#define CHECK_STR(got, want)                                                            \
    test_check_str((got), (want), #got, #want, __FILE__, __LINE__)

/* CHECK_CONTAINS -- the string `needle` occurs in `haystack`. */
#define CHECK_CONTAINS(haystack, needle)                                                \
    test_check_contains((haystack), (needle), #haystack, #needle, __FILE__, __LINE__)

/* CHECK_TRAP -- function(arg), run in a child process, aborts, and says `text` on stderr. */
#define CHECK_TRAP(function, arg, text)                                                 \
    test_check_trap((function), (arg), (text), #function, __FILE__, __LINE__)

/* TEST_SKIP -- end the test: it cannot run here, for want of `what`. It counts as passed, and is
 * named; with STRICT=1 it fails. */
#define TEST_SKIP(what) test_skip(__FILE__, __LINE__, (what))

/* TEST_FAIL -- end the test as failed, with a message as for printf. */
#define TEST_FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

void test_add(struct test *t);
__attribute__((noreturn, format(printf, 3, 4)))
void test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn))
void test_skip(const char *file, int line, const char *what);
void test_check_eq(long long got, long long want, const char *got_text, const char *want_text,
                   const char *file, int line);
void test_check_str(const char *got, const char *want, const char *got_text,
                    const char *want_text, const char *file, int line);
void test_check_contains(const char *haystack, const char *needle, const char *haystack_text,
                         const char *needle_text, const char *file, int line);
void test_check_trap(void (*function)(void *), void *arg, const char *text,
                     const char *function_text, const char *file, int line);

#ifdef __cplusplus
}
#endif /* __cplusplus */

#endif /* TEST_H */

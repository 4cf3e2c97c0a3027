/* play.h -- the language of test_event.c and test_mutex.c: a play is a line of words for each
 * actor, and what is written down of them must be as told. Included after struct actor, which has
 * the members name, script, word, arg, limit, rc, and after the buffers trace and said. */
#if !defined PLAY_H
#define PLAY_H

__attribute__((format(printf, 1, 2)))
static void note_down(const char *format, ...)
{
    size_t used = strlen(trace);
    va_list args;
    va_start(args, format);
    vsnprintf(trace + used, sizeof trace - used, format, args);
    va_end(args);
}

static void keep_report(void *arg, const char *text)
{
    (void)arg;
    CHECK(strlen(said) + strlen(text) < sizeof said);
    strcat(said, text);
}

/* Take the next word of the script. */
static bool next_word(struct actor *my)
{
    const char *p = my->script + strspn(my->script, " ");
    size_t n = strcspn(p, " :<");
    char *end;
    CHECK(n < sizeof my->word);
    memcpy(my->word, p, n);
    my->word[n] = 0;
    my->arg = 0;
    my->limit = CORO_FOREVER;
    p += n;
    if (*p == ':' && p[1] >= 'a') {
        my->arg = p[1] - 'a';
        p += 2;
    } else if (*p == ':') {
        my->arg = (int)strtol(p + 1, &end, 10);
        p = end;
    }
    if (*p == '<') {
        my->limit = CORO_MS(strtol(p + 1, &end, 10));
        p = end;
    }
    my->script = p;
    return n > 0;
}

static bool is(const struct actor *my, const char *word)
{
    return strcmp(my->word, word) == 0;
}

static const char *error_name(int rc)
{
    static const struct { int error; const char *name; } names[] = {
        {EPERM, "EPERM"}, {EAGAIN, "EAGAIN"}, {EBUSY, "EBUSY"}, {EINVAL, "EINVAL"},
        {EALREADY, "EALREADY"}, {EDEADLK, "EDEADLK"}, {ETIMEDOUT, "ETIMEDOUT"},
        {EOWNERDEAD, "EOWNERDEAD"}, {ECANCELED, "ECANCELED"}, {ECHILD, "ECHILD"},
        {EOVERFLOW, "EOVERFLOW"},
    };
    static char number[16];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (rc == -names[i].error)
            return names[i].name;
    snprintf(number, sizeof number, "%d", rc);
    return number;
}

static void tell(coro_task *co, const struct actor *my)
{
    if (my->rc == 0 && (is(my, "sleep") || is(my, "cancel")))
        return;
    note_down("%s%c%lld:%s", *trace ? " " : "", my->name, (long long)(coro_now(co) / CORO_MS(1)),
              my->word);
    if (my->rc || *my->word == '?')
        note_down("=%s", error_name(my->rc));
}

#endif /* !defined PLAY_H */

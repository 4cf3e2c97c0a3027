/* world.h -- what a test must leave as it was, counted, and what not every machine has. */
#ifndef WORLD_H
#define WORLD_H

#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

/* Descriptors open in this process. A bare chroot has no list of them. */
static inline int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = dir ? -3 : 0; /* . and .., and this one */
    while (dir && readdir(dir))
        n++;
    for (int fd = 0; !dir && fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    if (dir)
        closedir(dir);
    return n;
}

/* Threads of this process; 0 where nothing tells, so that there are never more than before. */
static inline int open_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = dir ? -2 : 0; /* . and .. */
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* One end of a terminal; the other is ptsname's. A bare chroot has none. */
static inline int open_terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        TEST_SKIP("terminals");
    CHECK_EQ(grantpt(master), 0);
    CHECK_EQ(unlockpt(master), 0);
    return master;
}

/* The bare chroot does not know this name either. */
static inline void need_localhost(void)
{
    struct addrinfo *list;
    if (getaddrinfo("localhost", NULL, NULL, &list))
        TEST_SKIP("localhost in /etc/hosts");
    freeaddrinfo(list);
}

#endif /* WORLD_H */

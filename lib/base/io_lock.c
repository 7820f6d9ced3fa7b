/* Locks, and what tells processes apart that hold something: part of base/io.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/time.h"

enum { POLL_MS = 25 }; /* flock has no time-out of its own */

static bool fail_held(cx_err *err, int fd, const char *path)
{
    char text[24] = "";
    ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;

    if (pid > 0)
        return cx_fail(err, CX_BUSY, "%s: held by process %ld", path, pid);
    return cx_fail(err, CX_BUSY, "%s: held by another process", path);
}

static bool open_lock(const char *path, int *fd, cx_err *err)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    struct stat info;
    CX_AUTO(cx_fd_close) int opened = open(path, flags | O_EXCL, 0600);

    /* One that was there is not ours to give away. */
    if (opened >= 0 && !cx_give_to_owner(opened, path, err))
        return false;
    if (opened < 0)
        opened = open(path, flags, 0600);
    if (opened < 0)
        return cx_fail_errno(err, "open the lock %s", path);
    if (fstat(opened, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    if (!S_ISREG(info.st_mode))
        return cx_fail(err, CX_INVALID, "%s is no regular file", path);
    *fd = opened;
    opened = -1;
    return true;
}

/* The pid helps people only, so a full disk is no reason to fail. */
static void write_pid(int fd)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)size, 0) != size)
        return;
}

bool cx_lock(const char *path, int *fd, cx_err *err)
{
    return cx_lock_wait(path, 0, fd, err);
}

bool cx_lock_wait(const char *path, int64_t timeout_ms, int *fd, cx_err *err)
{
    CX_AUTO(cx_fd_close) int opened = -1;
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    int64_t start_ms = cx_now_ms();

    if (!open_lock(path, &opened, err))
        return false;
    while (flock(opened, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return cx_fail_errno(err, "lock %s", path);
        if (cx_now_ms() - start_ms >= timeout_ms)
            return fail_held(err, opened, path);
        if (nanosleep(&pause, NULL) < 0)
            return cx_fail_errno(err, "wait for the lock %s", path);
    }
    write_pid(opened);
    *fd = opened;
    opened = -1;
    return true;
}

void cx_boot_id(char text[40])
{
    CX_AUTO(cx_fd_close) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, 39);

    text[size > 0 ? size : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* The name of the program, in parentheses, may hold anything, so fields count from the last one:
 * state is the third field of proc(5), the start time the 22nd. A process that has ended and only
 * waits for its parent is none. */
uint64_t cx_process_started(pid_t pid)
{
    char path[64];
    char text[1024];

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);

    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (size <= 0)
        return 0;
    text[size] = '\0';

    const char *field = strrchr(text, ')');

    if (field == NULL || field[1] != ' ' || field[2] == 'Z' || field[2] == 'X')
        return 0;
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoull(field + 1, NULL, 10);
}

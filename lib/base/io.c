#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/text.h"

enum {
    READ_SIZE = 64 * 1024,
    TEMP_NAME_MAX = 180, /* of the name within the temporary one, which has NAME_MAX bytes itself */
    TEMP_RANDOM_SIZE = 8, /* bytes: no two stages ever choose the same */
};

static const char temp_mark[] = ".cxtmp-";

static void close_directory(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

/* ---- reading */

/* Opening and reading a FIFO may wait for ever, so only what the shell itself makes of <(...) is
 * read beside regular files. */
static bool open_for_reading(const char *path, int flags, int *fd, struct stat *info, cx_err *err)
{
    CX_AUTO(cx_fd_close)
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);

    if (opened < 0)
        return cx_fail_errno(err, "open %s", path);
    if (fstat(opened, info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    if (S_ISDIR(info->st_mode))
        return cx_fail(err, CX_INVALID, "%s is a folder", path);
    if (!S_ISREG(info->st_mode) && strncmp(path, "/dev/", strlen("/dev/")) != 0)
        return cx_fail(err, CX_INVALID, "%s is no regular file", path);
    if (!S_ISREG(info->st_mode) && fcntl(opened, F_SETFL, 0) < 0)
        return cx_fail_errno(err, "open %s", path);
    *fd = opened;
    opened = -1;
    return true;
}

/* Reads to the end. What was added is taken away again when it fails. */
static bool read_to_end(int fd, const char *name, size_t size_max, size_t expected, cx_buffer *data,
                        cx_err *err)
{
    size_t before = data->size;

    for (size_t step = expected < size_max ? expected + 1 : READ_SIZE;;) {
        ssize_t got = read(fd, cx_buffer_reserve(data, step), step);

        step = READ_SIZE;
        if (got < 0)
            cx_fail_errno(err, "read %s", name);
        else if ((size_t)got > size_max - (data->size - before))
            cx_fail(err, CX_TOO_LARGE, "%s has more than %zu bytes", name, size_max);
        else if (got > 0) {
            data->size += (size_t)got;
            data->data[data->size] = '\0';
            if (data->capacity - data->size > 1) /* fill what is there before it grows */
                step = data->capacity - data->size - 1;
            continue;
        } else {
            data->data[data->size] = '\0';
            return true;
        }
        data->size = before;
        data->data[before] = '\0';
        return false;
    }
}

/* ---- paths */

/* The folder of a path, as open(2) wants it, and the name in it. */
static bool split_path(const char *path, char **folder, const char **name, cx_err *err)
{
    const char *slash = strrchr(path, '/');

    *name = slash == NULL ? path : slash + 1;
    if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
        return cx_fail(err, CX_INVALID, "'%s' names no file", path);
    if (slash == NULL)
        *folder = cx_strdup(".");
    else
        *folder = cx_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return true;
}

static bool sync_parent(const char *path, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = NULL;
    const char *name;

    return split_path(path, &folder, &name, err) && cx_sync_folder(folder, err);
}

bool cx_give_to_owner(int fd, const char *path, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = NULL;
    const char *name;
    struct stat info;

    if (geteuid() != 0)
        return true;
    if (!split_path(path, &folder, &name, err))
        return false;
    if (stat(folder, &info) < 0)
        return cx_fail_errno(err, "stat %s", folder);
    if (info.st_uid != 0 && fchown(fd, info.st_uid, info.st_gid) < 0)
        return cx_fail_errno(err, "give %s to the owner of its folder", path);
    return true;
}

static bool give_folder_to_owner(const char *path, cx_err *err)
{
    CX_AUTO(cx_fd_close)
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return geteuid() != 0 || cx_fail_errno(err, "open %s", path);
    return cx_give_to_owner(fd, path, err);
}

static bool make_folder(const char *path, mode_t mode, bool *changed, cx_err *err)
{
    struct stat info;

    if (mkdir(path, mode) == 0) {
        *changed = true;
        return give_folder_to_owner(path, err) && sync_parent(path, err);
    }
    /* Not only EEXIST: what is on a read-only file system or in a foreign folder may be there. */
    int number = errno;

    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return true;
        return cx_fail(err, CX_EXISTS, "%s is there and is no folder", path);
    }
    errno = number;
    return cx_fail_errno(err, "make folder %s", path);
}

/* ---- stages */

static bool is_temp_name(const char *name)
{
    const char *mark = NULL;

    if (name[0] != '.')
        return false;
    for (const char *at = strstr(name, temp_mark); at != NULL; at = strstr(at + 1, temp_mark))
        mark = at;
    if (mark == NULL || mark == name)
        return false;

    const char *rest = mark + strlen(temp_mark);
    size_t digits = strspn(rest, "0123456789");

    if (digits == 0 || rest[digits] != '-')
        return false;
    rest += digits + 1;
    return strlen(rest) == 2 * TEMP_RANDOM_SIZE && strspn(rest, "0123456789abcdef") == strlen(rest);
}

static char *temp_name(const char *name)
{
    uint8_t random[TEMP_RANDOM_SIZE];

    cx_random(random, sizeof(random));

    CX_AUTO(cx_free) char *digits = cx_hex((cx_bytes){random, sizeof(random)});

    return cx_format(".%.*s%s%ld-%s", TEMP_NAME_MAX, name, temp_mark, (long)getpid(), digits);
}

static bool fail_to_create(cx_err *err, const char *path)
{
    bool missing = errno == ENOENT || errno == ENOTDIR;

    cx_fail_errno(err, "create %s", path);
    if (missing)
        err->code = CX_CANT_CREATE;
    return false;
}

/* Gives the staged file its name; it stays linked under the temporary one. */
static bool link_stage(cx_stage *stage, cx_err *err)
{
    if (fsync(stage->fd) < 0)
        return cx_fail_errno(err, "fsync %s", stage->path);
    if (linkat(stage->dir_fd, stage->temp, stage->dir_fd, stage->name, 0) < 0) {
        if (errno == EEXIST)
            return cx_fail(err, CX_EXISTS, "%s is there already", stage->path);
        return cx_fail_errno(err, "create %s", stage->path);
    }
    if (unlinkat(stage->dir_fd, stage->temp, 0) < 0)
        return cx_fail_errno(err, "remove the temporary name of %s", stage->path);
    cx_free(&stage->temp);
    if (fsync(stage->dir_fd) < 0)
        return cx_fail_errno(err, "fsync the folder of %s", stage->path);
    return true;
}

/* ---- public */

bool cx_read_file(const char *path, size_t size_max, cx_buffer *data, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = -1;
    struct stat info;

    if (strcmp(path, "-") == 0)
        return read_to_end(STDIN_FILENO, "stdin", size_max, READ_SIZE, data, err);
    if (!open_for_reading(path, 0, &fd, &info, err))
        return false;
    if (S_ISREG(info.st_mode) && (uintmax_t)info.st_size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "%s has %jd bytes, at most %zu are allowed", path,
                       (intmax_t)info.st_size, size_max);
    return read_to_end(fd, path, size_max, (size_t)info.st_size, data, err);
}

/* The buffer gets its room at once, so that growing leaves no copy of the secret behind; the one of
 * a failed attempt is wiped. */
bool cx_read_secret_file(const char *path, size_t size_max, cx_buffer *data, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = -1;
    struct stat info;
    size_t before = data->size;

    if (!open_for_reading(path, O_NOFOLLOW, &fd, &info, err))
        return false;
    if (!S_ISREG(info.st_mode))
        return cx_fail(err, CX_INVALID, "%s is no regular file", path);
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        cx_fail(err, CX_PERMISSION, "%s may be used by others than its owner (mode %04o)", path,
                (unsigned)info.st_mode & 07777U);
        return cx_hint(err, "chmod 600 %s", path);
    }
    if ((uintmax_t)info.st_size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "%s has %jd bytes, at most %zu are allowed", path,
                       (intmax_t)info.st_size, size_max);

    size_t size = (size_t)info.st_size;
    uint8_t *to = cx_buffer_reserve(data, size + 1);
    size_t done = 0;

    while (done <= size) {
        ssize_t got = read(fd, to + done, size + 1 - done);

        if (got < 0 || (got == 0 && done < size) || done + (size_t)got > size) {
            if (got < 0)
                cx_fail_errno(err, "read %s", path);
            else
                cx_fail(err, CX_BUSY, "%s changed while it was read", path);
            sodium_memzero(to, size + 1);
            data->data[before] = '\0';
            return false;
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    data->size += size;
    data->data[data->size] = '\0';
    return true;
}

bool cx_replace(const char *path, mode_t mode, cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;

    return cx_stage_open(path, mode, &stage, err) && cx_write_all(stage->fd, bytes, path, err) &&
           cx_stage_commit(stage, err);
}

bool cx_create(const char *path, mode_t mode, cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;

    return cx_stage_open(path, mode, &stage, err) && cx_write_all(stage->fd, bytes, path, err) &&
           link_stage(stage, err);
}

bool cx_stage_open(const char *path, mode_t mode, cx_stage **stage, cx_err *err)
{
    CX_AUTO(cx_stage_close) cx_stage *made = NULL;
    CX_AUTO(cx_free) char *folder = NULL;
    const char *name;

    if (!split_path(path, &folder, &name, err))
        return false;
    made = cx_alloc(1, sizeof(*made));
    *made = (cx_stage){.fd = -1, .dir_fd = -1, .name = cx_strdup(name), .path = cx_strdup(path)};
    made->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made->dir_fd < 0)
        return fail_to_create(err, path);

    CX_AUTO(cx_free) char *temp = temp_name(name);

    made->fd = openat(made->dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (made->fd < 0)
        return fail_to_create(err, path);
    made->temp = CX_TAKE(temp);
    if (!cx_give_to_owner(made->fd, path, err))
        return false;
    *stage = CX_TAKE(made);
    return true;
}

bool cx_stage_commit(cx_stage *stage, cx_err *err)
{
    if (fsync(stage->fd) < 0)
        return cx_fail_errno(err, "fsync %s", stage->path);
    if (renameat(stage->dir_fd, stage->temp, stage->dir_fd, stage->name) < 0)
        return cx_fail_errno(err, "replace %s", stage->path);
    cx_free(&stage->temp);
    /* The new name is only on disk when the folder is. */
    if (fsync(stage->dir_fd) < 0)
        return cx_fail_errno(err, "fsync the folder of %s", stage->path);
    return true;
}

bool cx_stage_commit_all(cx_stage *const *stages, size_t count, cx_err *err)
{
    if (count == 0)
        return true;
    if (syncfs(stages[0]->fd) < 0)
        return cx_fail_errno(err, "flush the file system of %s", stages[0]->path);
    for (size_t i = 0; i < count; i++) {
        cx_stage *stage = stages[i];

        if (renameat(stage->dir_fd, stage->temp, stage->dir_fd, stage->name) < 0)
            return cx_fail_errno(err, "replace %s", stage->path);
        cx_free(&stage->temp);
    }
    if (syncfs(stages[0]->dir_fd) < 0)
        return cx_fail_errno(err, "flush the file system of %s", stages[0]->path);
    return true;
}

void cx_stage_close(cx_stage **owner)
{
    cx_stage *stage = *owner;

    if (stage == NULL)
        return;
    if (stage->temp != NULL)
        unlinkat(stage->dir_fd, stage->temp, 0);
    cx_fd_close(&stage->fd);
    cx_fd_close(&stage->dir_fd);
    cx_free(&stage->temp);
    cx_free(&stage->name);
    cx_free(&stage->path);
    cx_free(owner);
}

bool cx_write_all(int fd, cx_bytes bytes, const char *name, cx_err *err)
{
    while (bytes.size > 0) {
        ssize_t written = write(fd, bytes.data, bytes.size);

        if (written < 0 && errno != EINTR)
            return cx_fail_errno(err, "write %s", name);
        if (written > 0)
            bytes = (cx_bytes){bytes.data + written, bytes.size - (size_t)written};
    }
    return true;
}

bool cx_make_folders(const char *path, mode_t mode, bool *changed, cx_err *err)
{
    CX_AUTO(cx_free) char *part = cx_strdup(path);
    bool made = false;
    size_t end = 0;

    if (path[0] == '\0')
        return cx_fail(err, CX_INVALID, "the name of a folder is empty");
    for (;;) {
        end += strspn(path + end, "/");
        if (path[end] == '\0')
            break;
        end += strcspn(path + end, "/");
        part[end] = '\0';
        if (!make_folder(part, mode, &made, err))
            return false;
        part[end] = path[end];
    }
    if (changed != NULL)
        *changed = made;
    return true;
}

bool cx_sync_folder(const char *path, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return cx_fail_errno(err, "open folder %s", path);
    if (fsync(fd) < 0)
        return cx_fail_errno(err, "fsync folder %s", path);
    return true;
}

bool cx_remove_file(const char *path, cx_err *err)
{
    if (unlink(path) < 0)
        return errno == ENOENT ? true : cx_fail_errno(err, "remove %s", path);
    return sync_parent(path, err);
}

bool cx_sweep_stages(const char *folder, cx_err *err)
{
    CX_AUTO(close_directory) DIR *directory = opendir(folder);
    bool swept = false;

    if (directory == NULL)
        return errno == ENOENT ? true : cx_fail_errno(err, "open folder %s", folder);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;) {
        if (!is_temp_name(entry->d_name))
            continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) < 0 && errno != ENOENT)
            return cx_fail_errno(err, "remove %s/%s", folder, entry->d_name);
        swept = true;
    }
    if (errno != 0)
        return cx_fail_errno(err, "read folder %s", folder);
    if (swept && fsync(dirfd(directory)) < 0)
        return cx_fail_errno(err, "fsync folder %s", folder);
    return true;
}

bool cx_exists(const char *path)
{
    struct stat info;

    return lstat(path, &info) == 0;
}

char *cx_path_join(const char *folder, const char *name)
{
    size_t size = strlen(folder);

    while (size > 1 && folder[size - 1] == '/')
        size--;
    if (size == 0)
        return cx_strdup(name);
    return cx_format("%.*s%s%s", (int)size, folder, folder[size - 1] == '/' ? "" : "/",
                     name + strspn(name, "/"));
}

void cx_fd_close(int *fd)
{
    int number = errno; /* destructors run between a failure and its report */

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = number;
}

/* A folder as destination: part of repo/dest.h. An object is a file; what waits for a flush is a file
 * with a temporary name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "repo/dest_kind.h"

enum {
    LATER_MAX = 128, /* files: two descriptors each */
    LATER_BYTES_MAX =
        128 * 1024 * 1024, /* of which the digests are compared while they are cached */
    FOLDER_DEPTH_MAX = 8,  /* below a repository there are 5 levels */
};

struct later {
    cx_stage *stage;
    size_t size;
    uint8_t sha256[CX_SHA256_SIZE];
};

struct dir {
    char *root;
    pthread_mutex_t mutex; /* of what waits for a flush */
    struct later later[LATER_MAX];
    size_t later_count;
    size_t later_bytes;
};

static void close_directory(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

static void unlock(pthread_mutex_t **owner)
{
    pthread_mutex_unlock(*owner);
}

static char *path_of(const struct dir *dir, const char *key)
{
    return key[0] == '\0' ? cx_strdup(dir->root) : cx_path_join(dir->root, key);
}

bool cx_dest_dir_open(const char *path, void **self, cx_err *err)
{
    struct dir *dir;

    if (path[0] == '\0')
        return cx_fail(err, CX_USAGE, "the name of the folder is empty");
    dir = cx_alloc(1, sizeof *dir);
    dir->root = cx_strdup(path);
    pthread_mutex_init(&dir->mutex, NULL);
    *self = dir;
    return true;
}

static void close_dir(void *self)
{
    struct dir *dir = self;

    for (size_t i = 0; i < dir->later_count; i++)
        cx_stage_close(&dir->later[i].stage);
    pthread_mutex_destroy(&dir->mutex);
    cx_free(&dir->root);
    cx_free(&dir);
}

static bool prepare(void *self, cx_err *err)
{
    const struct dir *dir = self;

    return cx_make_folders(dir->root, 0700, NULL, err);
}

/* Folders are made when a file has no place yet; one whose file waits for a flush is flushed with it. */
static bool open_stage(const char *path, bool is_later, cx_stage **stage, cx_err *err)
{
    CX_AUTO(cx_free) char *folder = NULL;

    if (cx_stage_open(path, 0600, stage, err))
        return true;
    if (err->code != CX_CANT_CREATE)
        return false;
    folder = cx_strndup(path, (size_t)(strrchr(path, '/') - path));
    if ((!is_later || (mkdir(folder, 0700) < 0 && errno != EEXIST)) &&
        !cx_make_folders(folder, 0700, NULL, err))
        return false;
    return cx_stage_open(path, 0600, stage, err);
}

/* What the file system gives back is what was written: a bad disk or memory is found now and not at
 * the restore. */
static bool check_file(const char *path, size_t size, const uint8_t sha256[CX_SHA256_SIZE],
                       cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer read = {0};
    uint8_t digest[CX_SHA256_SIZE];

    if (!cx_read_file(path, size, &read, err))
        return false;
    cx_sha256(cx_buffer_bytes(&read), digest);
    if (read.size != size || memcmp(digest, sha256, sizeof digest) != 0)
        return cx_fail(err, CX_CORRUPT, "%s: other bytes come back than were written", path);
    return true;
}

static bool flush_locked(struct dir *dir, cx_err *err)
{
    cx_stage *stages[LATER_MAX];
    bool done;

    for (size_t i = 0; i < dir->later_count; i++)
        stages[i] = dir->later[i].stage;
    done = cx_stage_commit_all(stages, dir->later_count, err);
    for (size_t i = 0; i < dir->later_count; i++) {
        struct later *later = &dir->later[i];

        done = done && check_file(later->stage->path, later->size, later->sha256, err);
        cx_stage_close(&later->stage);
    }
    dir->later_count = dir->later_bytes = 0;
    return done;
}

static bool flush(void *self, cx_err *err)
{
    struct dir *dir = self;
    CX_AUTO(unlock) pthread_mutex_t *locked = &dir->mutex;

    pthread_mutex_lock(locked);
    return flush_locked(dir, err);
}

static bool put_later(struct dir *dir, const char *path, cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;
    struct later later = {.size = bytes.size};

    if (!open_stage(path, true, &stage, err) || !cx_write_all(stage->fd, bytes, path, err))
        return false;
    /* Starts the writing now, so that the flush has less to wait for. */
    (void)sync_file_range(stage->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    cx_sha256(bytes, later.sha256);
    later.stage = CX_TAKE(stage);

    CX_AUTO(unlock) pthread_mutex_t *locked = &dir->mutex;

    pthread_mutex_lock(locked);
    dir->later[dir->later_count++] = later;
    dir->later_bytes += bytes.size;
    if (dir->later_count < LATER_MAX && dir->later_bytes < LATER_BYTES_MAX)
        return true;
    return flush_locked(dir, err);
}

static bool put(void *self, const char *key, cx_bytes bytes, cx_put how, cx_err *err)
{
    struct dir *dir = self;
    CX_AUTO(cx_free) char *path = path_of(dir, key);
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;
    uint8_t sha256[CX_SHA256_SIZE];

    if (how == CX_PUT_LATER)
        return put_later(dir, path, bytes, err);
    if (how == CX_PUT_NEW) {
        /* The folder first: cx_create has no second try. */
        if (!open_stage(path, false, &stage, err))
            return false;
        cx_stage_close(&stage);
        return cx_create(path, 0600, bytes, err);
    }
    cx_sha256(bytes, sha256);
    return open_stage(path, false, &stage, err) && cx_write_all(stage->fd, bytes, path, err) &&
           cx_stage_commit(stage, err) && check_file(path, bytes.size, sha256, err);
}

static bool get(void *self, const char *key, size_t size_max, cx_buffer *bytes, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(self, key);

    return cx_read_file(path, size_max, bytes, err);
}

static int64_t milliseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static bool stat_object(void *self, const char *key, cx_object *object, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(self, key);
    struct stat info;

    if (lstat(path, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    *object = (cx_object){key, info.st_size, milliseconds(info.st_mtim)};
    return true;
}

static bool remove_object(void *self, const char *key, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(self, key);
    char *slash;

    if (!cx_remove_file(path, err))
        return false;
    /* A backup's own folder goes with its last file; another's file in it keeps it. */
    slash = strrchr(path, '/');
    *slash = '\0';
    if (strlen(path) > strlen(((const struct dir *)self)->root))
        (void)rmdir(path);
    return true;
}

static bool list_folder(const struct dir *dir, const char *prefix, int depth, cx_object_each *each,
                        void *arg, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(dir, prefix);
    CX_AUTO(close_directory) DIR *directory = opendir(path);

    if (directory == NULL)
        return errno == ENOENT ? true : cx_fail_errno(err, "open folder %s", path);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;) {
        struct stat info;

        if (entry->d_name[0] == '.') /* temporary names, too */
            continue;
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno == ENOENT) /* removed meanwhile */
                continue;
            return cx_fail_errno(err, "stat %s/%s", path, entry->d_name);
        }

        CX_AUTO(cx_free)
        char *key = cx_format("%s%s%s", prefix, entry->d_name, S_ISDIR(info.st_mode) ? "/" : "");

        if (S_ISDIR(info.st_mode)) {
            if (depth < FOLDER_DEPTH_MAX && !list_folder(dir, key, depth + 1, each, arg, err))
                return false;
        } else if (S_ISREG(info.st_mode)) {
            cx_object object = {key, info.st_size, milliseconds(info.st_mtim)};

            if (!each(&object, arg, err))
                return false;
        }
    }
    if (errno != 0)
        return cx_fail_errno(err, "read folder %s", path);
    return true;
}

static bool list(void *self, const char *prefix, cx_object_each *each, void *arg, cx_err *err)
{
    return list_folder(self, prefix, 1, each, arg, err);
}

static bool folders(void *self, const char *prefix, cx_list *names, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(self, prefix);
    CX_AUTO(close_directory) DIR *directory = opendir(path);

    if (directory == NULL)
        return errno == ENOENT ? true : cx_fail_errno(err, "open folder %s", path);
    for (const struct dirent *entry; (errno = 0, entry = readdir(directory)) != NULL;) {
        struct stat info;

        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(info.st_mode))
            cx_list_add(names, entry->d_name);
    }
    if (errno != 0)
        return cx_fail_errno(err, "read folder %s", path);
    return true;
}

static bool sweep_folder(const struct dir *dir, const char *prefix, int depth, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(dir, prefix);
    CX_AUTO(cx_list_free) cx_list names = {0};

    if (!cx_sweep_stages(path, err))
        return false;
    if (depth == FOLDER_DEPTH_MAX)
        return true;
    if (!folders((void *)(uintptr_t)dir, prefix, &names, err))
        return false;
    for (size_t i = 0; i < names.count; i++) {
        CX_AUTO(cx_free) char *below = cx_format("%s%s/", prefix, names.items[i]);

        if (!sweep_folder(dir, below, depth + 1, err))
            return false;
    }
    return true;
}

/* At the top there is at most the probe of `now`. */
static bool sweep(void *self, const char *prefix, cx_err *err)
{
    const struct dir *dir = self;

    return cx_sweep_stages(dir->root, err) && sweep_folder(dir, prefix, 1, err);
}

/* Of a file made for it: the folder may be on another machine, whose clock decides. */
static bool now(void *self, int64_t *wall_ms, cx_err *err)
{
    CX_AUTO(cx_free) char *path = path_of(self, "probe");
    CX_AUTO(cx_stage_close) cx_stage *stage = NULL;
    struct stat info;

    if (!cx_stage_open(path, 0600, &stage, err))
        return false;
    if (fstat(stage->fd, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);
    *wall_ms = milliseconds(info.st_mtim);
    return true;
}

const cx_dest_kind cx_dest_dir_kind = {
    .close = close_dir,
    .prepare = prepare,
    .put = put,
    .flush = flush,
    .get = get,
    .stat = stat_object,
    .remove = remove_object,
    .list = list,
    .folders = folders,
    .sweep = sweep,
    .now = now,
};

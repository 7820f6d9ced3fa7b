#include "repo/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"

struct folder { /* whose attributes come last: writing into it would change them */
    char *path;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
};

struct cx_extract {
    int top;
    char *name;
    bool is_root;
    struct folder *folders;
    size_t folder_count, folder_capacity;
    int parent; /* of the last entry, */
    char *parent_path;
    int file; /* the entry under way, when it is a file */
    char *path;
    struct folder attributes; /* of the entry under way; its path is not used */
};

static int open_beneath(int top, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, top, path, &how, sizeof how);
}

bool cx_extract_open(const char *folder, cx_extract **extract, cx_err *err)
{
    cx_extract *made;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return cx_fail_errno(err, "open folder %s", folder);
    made = cx_alloc(1, sizeof *made);
    *made = (cx_extract){
        .top = fd, .name = cx_strdup(folder), .is_root = geteuid() == 0, .parent = -1, .file = -1};
    *extract = made;
    return true;
}

void cx_extract_close(cx_extract **owner)
{
    cx_extract *extract = CX_TAKE(*owner);

    if (extract == NULL)
        return;
    for (size_t i = 0; i < extract->folder_count; i++)
        cx_free(&extract->folders[i].path);
    cx_free(&extract->folders);
    cx_fd_close(&extract->top);
    cx_fd_close(&extract->parent);
    cx_fd_close(&extract->file);
    cx_free(&extract->parent_path);
    cx_free(&extract->path);
    cx_free(&extract->name);
    cx_free(&extract);
}

static bool fail(const cx_extract *extract, const char *path, cx_err *err)
{
    if (errno == ELOOP || errno == EXDEV || errno == ENOTDIR)
        return cx_fail(err, CX_INVALID, "%s/%s: the way to it leads through a link", extract->name,
                       path);
    if (errno == EEXIST)
        return cx_fail(err, CX_INVALID, "%s/%s is there twice", extract->name, path);
    return cx_fail_errno(err, "restore %s/%s", extract->name, path);
}

/* Each part of the way that is missing is made: a single file can be restored without its folders. */
static bool make_parents(cx_extract *extract, const char *parent, cx_err *err)
{
    CX_AUTO(cx_free) char *part = cx_strdup(parent);
    CX_AUTO(cx_fd_close) int fd = dup(extract->top);

    for (char *at = part; at != NULL && fd >= 0;) {
        char *slash = strchr(at, '/');

        if (slash != NULL)
            *slash = '\0';
        if (mkdirat(fd, at, 0700) < 0 && errno != EEXIST)
            return fail(extract, parent, err);

        int next = open_beneath(fd, at, O_RDONLY | O_DIRECTORY, 0);

        cx_fd_close(&fd);
        fd = next;
        at = slash == NULL ? NULL : slash + 1;
    }
    if (fd < 0)
        return fail(extract, parent, err);
    cx_fd_close(&extract->parent);
    extract->parent = fd;
    fd = -1;
    return true;
}

/* Opens the folder of the path; most entries are in the same one as the last. */
static bool open_parent(cx_extract *extract, const char *path, const char **name, cx_err *err)
{
    const char *slash = strrchr(path, '/');
    CX_AUTO(cx_free)
    char *parent = slash == NULL ? cx_strdup("") : cx_strndup(path, (size_t)(slash - path));

    *name = slash == NULL ? path : slash + 1;
    if (extract->parent_path != NULL && strcmp(extract->parent_path, parent) == 0)
        return true;
    cx_free(&extract->parent_path);
    cx_fd_close(&extract->parent);
    extract->parent = parent[0] == '\0'
                          ? dup(extract->top)
                          : open_beneath(extract->top, parent, O_RDONLY | O_DIRECTORY, 0);
    if (extract->parent < 0 && errno == ENOENT && !make_parents(extract, parent, err))
        return false;
    if (extract->parent < 0)
        return fail(extract, path, err);
    extract->parent_path = CX_TAKE(parent);
    return true;
}

/* ---- attributes */

static void find_owner(const cx_tar_entry *entry, struct folder *attributes)
{
    const struct passwd *user = entry->user == NULL ? NULL : getpwnam(entry->user);
    const struct group *group = entry->group == NULL ? NULL : getgrnam(entry->group);

    attributes->uid = user != NULL ? user->pw_uid : (uid_t)entry->uid;
    attributes->gid = group != NULL ? group->gr_gid : (gid_t)entry->gid;
}

static struct folder attributes_of(const cx_extract *extract, const cx_tar_entry *entry)
{
    struct folder attributes = {
        .mode = entry->mode,
        .mtime = {.tv_sec = (time_t)entry->mtime_seconds, .tv_nsec = (long)entry->mtime_ns}};

    if (extract->is_root)
        find_owner(entry, &attributes);
    else /* who can't give a file away makes no program of another's rights of it */
        attributes.mode &= 01777;
    return attributes;
}

/* The owner first: changing it takes the set-id bits away. */
static bool set_attributes(const cx_extract *extract, int fd, const struct folder *attributes)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, attributes->mtime};

    return (!extract->is_root || fchown(fd, attributes->uid, attributes->gid) == 0) &&
           fchmod(fd, attributes->mode) == 0 && futimens(fd, times) == 0;
}

/* ---- entries */

static bool begin_folder(cx_extract *extract, const char *path, const char *name, cx_err *err)
{
    if (mkdirat(extract->parent, name, 0700) < 0) {
        struct stat info;

        /* Made before as the way to something. */
        if (errno != EEXIST || fstatat(extract->parent, name, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISDIR(info.st_mode)) {
            errno = EEXIST;
            return fail(extract, path, err);
        }
    }
    if (extract->folder_count == extract->folder_capacity) {
        extract->folder_capacity =
            extract->folder_capacity == 0 ? 64 : extract->folder_capacity * 2;
        extract->folders =
            cx_realloc(extract->folders, extract->folder_capacity, sizeof *extract->folders);
    }
    extract->folders[extract->folder_count] = extract->attributes;
    extract->folders[extract->folder_count++].path = cx_strdup(path);
    return true;
}

static bool begin_link(cx_extract *extract, const cx_tar_entry *entry, const char *name,
                       cx_err *err)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, extract->attributes.mtime};

    if (symlinkat(entry->target, extract->parent, name) < 0)
        return fail(extract, entry->path, err);
    if (extract->is_root && fchownat(extract->parent, name, extract->attributes.uid,
                                     extract->attributes.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(extract, entry->path, err);
    return utimensat(extract->parent, name, times, AT_SYMLINK_NOFOLLOW) == 0 ||
           fail(extract, entry->path, err);
}

bool cx_extract_begin(cx_extract *extract, const cx_tar_entry *entry, cx_err *err)
{
    const char *name;

    if (!cx_tar_check_path(entry->path, err) || !open_parent(extract, entry->path, &name, err))
        return false;
    extract->attributes = attributes_of(extract, entry);
    cx_free(&extract->path);
    extract->path = cx_strdup(entry->path);
    if (entry->kind == CX_TAR_FOLDER)
        return begin_folder(extract, entry->path, name, err);
    if (entry->kind == CX_TAR_LINK)
        return begin_link(extract, entry, name, err);
    extract->file =
        openat(extract->parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return extract->file >= 0 || fail(extract, entry->path, err);
}

bool cx_extract_data(cx_extract *extract, cx_bytes piece, cx_err *err)
{
    return cx_write_all(extract->file, piece, extract->path, err);
}

bool cx_extract_end(cx_extract *extract, cx_err *err)
{
    bool done;

    if (extract->file < 0)
        return true;
    done = set_attributes(extract, extract->file, &extract->attributes) ||
           fail(extract, extract->path, err);
    cx_fd_close(&extract->file);
    return done;
}

bool cx_extract_finish(cx_extract *extract, cx_err *err)
{
    /* From the inside out. */
    for (size_t i = extract->folder_count; i-- > 0;) {
        const struct folder *folder = &extract->folders[i];
        CX_AUTO(cx_fd_close)
        int fd = open_beneath(extract->top, folder->path, O_RDONLY | O_DIRECTORY, 0);

        if (fd < 0 || !set_attributes(extract, fd, folder))
            return fail(extract, folder->path, err);
    }
    if (syncfs(extract->top) < 0)
        return cx_fail_errno(err, "flush the file system of %s", extract->name);
    return true;
}

/* What this host's files tell. Only named files and folders are looked at, links in them are not
 * followed, and keys are never opened. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/io.h"
#include "base/proc.h"
#include "base/time.h"
#include "bundle.h"
#include "pki/show.h"
#include "window.h"

enum {
    LOG_MAX = 16 * 1024 * 1024, /* bytes of the end of one log */
    HEAD_MAX = 16 * 1024,       /* and of its beginning */
    LOG_FILES_MAX = 1000,
    NAMES_MAX = 10000, /* in one folder that are looked at */
    JOURNAL_LINES_MAX = 50000,
    DEPTH_MAX = 3, /* log_dir/runs/RUN/report.md */
    SMALL_MAX = 1024 * 1024,
};

static bool is_late(bundle_collector *collector, const char *what)
{
    cx_err late;

    if (cx_now_ms() < collector->deadline_ms)
        return false;
    cx_fail(&late, CX_TIMEOUT, "the collector's time is over");
    bundle_failed(collector, what, &late);
    return true;
}

/* ---- logs */

static bool read_at(int fd, int64_t offset, size_t size, const char *name, cx_buffer *content,
                    cx_err *err)
{
    while (size > 0) {
        ssize_t got = pread(fd, cx_buffer_reserve(content, size), size, offset);

        if (got < 0)
            return cx_fail_errno(err, "read %s", name);
        if (got == 0)
            break;
        content->size += (size_t)got;
        offset += got;
        size -= (size_t)got;
    }
    return true;
}

/* Up to the last line end in it. */
static void cut_to_lines(cx_buffer *head)
{
    while (head->size > 0 && head->data[head->size - 1] != '\n')
        head->size--;
}

/* The young part of a log and its first lines. */
static bool read_log(const bundle_source *source, int fd, int64_t size, const char *name,
                     cx_buffer *content, int64_t *cut_bytes, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer tail = {0};
    int64_t offset = size > LOG_MAX ? size - LOG_MAX : 0;
    bundle_window window;
    size_t from;

    if (!read_at(fd, offset, (size_t)(size - offset), name, &tail, err))
        return false;
    window = bundle_log_window(cx_buffer_bytes(&tail), source->since_wall_ms, HEAD_MAX, LOG_MAX);
    from = window.from;
    if (offset > 0) {
        if (!read_at(fd, 0, HEAD_MAX, name, content, err))
            return false;
        cut_to_lines(content);
        if (from == 0) { /* the first line of the end is only a part of one */
            const uint8_t *line = memchr(tail.data, '\n', tail.size);

            from = line == NULL ? 0 : (size_t)(line - tail.data) + 1;
        }
    } else {
        cx_buffer_add(content, tail.data, window.head);
    }
    *cut_bytes = offset + (int64_t)from - (int64_t)content->size;
    if (*cut_bytes > 0)
        cx_buffer_addf(content, "[%lld bytes left out]\n", (long long)*cut_bytes);
    cx_buffer_add(content, tail.data + from, tail.size - from);
    return true;
}

static bool add_log(bundle_source *source, bundle_collector *collector, int folder_fd,
                    const char *name, const char *path, cx_err *err)
{
    CX_AUTO(cx_fd_close)
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    struct stat status;
    int64_t cut_bytes = 0;
    cx_err why = {0};

    if (fd < 0 && errno == ELOOP) {
        bundle_skip(collector->sink, path, "a link");
        return true;
    }
    if (fd < 0 || fstat(fd, &status) < 0) {
        cx_fail_errno(&why, "%s", name);
        bundle_failed(collector, path, &why);
        return true;
    }
    if (!S_ISREG(status.st_mode))
        return true;
    if ((int64_t)status.st_mtime * 1000 < source->since_wall_ms) {
        bundle_skip(collector->sink, path, "older than --duration");
        return true;
    }
    if (!read_log(source, fd, status.st_size, name, &content, &cut_bytes, &why)) {
        bundle_failed(collector, path, &why);
        return true;
    }
    return bundle_add(collector, path, cx_buffer_bytes(&content), cut_bytes, err);
}

/* Rotated away and packed, or no log at all. */
static bool is_no_log(const char *name)
{
    static const char *const endings[] = {".gz",  ".xz",  ".zst", ".bz2", ".db",
                                          ".key", ".pid", ".tar", ".age", ".tgz"};
    size_t size = strlen(name);

    for (size_t i = 0; i < CX_COUNT(endings); i++)
        if (size > strlen(endings[i]) && strcmp(name + size - strlen(endings[i]), endings[i]) == 0)
            return true;
    return name[0] == '.';
}

static void close_folder(DIR **owner)
{
    if (*owner != NULL)
        closedir(*owner);
    *owner = NULL;
}

/* A name twice in one folder is impossible, so order costs only the sorting. */
static bool names_in(int fd, const char *path, cx_list *names, cx_err *err)
{
    CX_AUTO(close_folder) DIR *folder = fdopendir(dup(fd));
    struct dirent *entry;

    if (folder == NULL)
        return cx_fail_errno(err, "%s", path);
    while ((entry = readdir(folder)) != NULL && names->count < NAMES_MAX)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            cx_list_add(names, entry->d_name);
    return true;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static bool walk_logs(bundle_source *source, bundle_collector *collector, int fd, const char *path,
                      int depth, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list names = {0};
    cx_err why = {0};

    if (!names_in(fd, path, &names, &why)) {
        bundle_failed(collector, path, &why);
        return true;
    }
    if (names.count == NAMES_MAX)
        bundle_skip(collector->sink, path, "more files than are looked at");
    if (names.count > 0)
        qsort(names.items, names.count, sizeof *names.items, by_name);
    for (size_t i = 0; i < names.count; i++) {
        CX_AUTO(cx_free) char *below = cx_path_join(path, names.items[i]);
        CX_AUTO(cx_fd_close)
        int folder = openat(fd, names.items[i],
                            O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        if (is_late(collector, below))
            return true;
        if (folder >= 0) {
            if (depth < DEPTH_MAX && !walk_logs(source, collector, folder, below, depth + 1, err))
                return false;
        } else if (collector->files >= LOG_FILES_MAX) {
            bundle_skip(collector->sink, below, "too many logs");
        } else if (is_no_log(names.items[i])) {
            bundle_skip(collector->sink, below, "no log");
        } else if (!add_log(source, collector, fd, names.items[i], below, err)) {
            return false;
        }
    }
    return true;
}

static bool add_one_log(bundle_source *source, bundle_collector *collector, const char *from,
                        const char *path, cx_err *err)
{
    return !cx_exists(from) || add_log(source, collector, AT_FDCWD, from, path, err);
}

/* What systemd kept of our units, where there is a journal. */
static bool add_journal(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const char path[] = "host/logs/journal.log";
    CX_AUTO(cx_free)
    char *since = cx_format("--since=@%lld", (long long)(source->since_wall_ms / 1000));
    /* The last ones: a bound on the bytes alone would leave them out. */
    CX_AUTO(cx_free) char *lines = cx_format("--lines=%d", JOURNAL_LINES_MAX);
    const char *const argv[] = {
        "journalctl", "--no-pager", "--quiet", "--utc", "--output", "short-iso-precise",
        since,        lines,        "--unit",  "cx-*",  "--unit",   "caxton*",
        NULL};
    int64_t left_ms = collector->deadline_ms - cx_now_ms();
    CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
    cx_err why = {0};

    if (!cx_exists("/run/systemd/journal"))
        return true;
    if (!cx_proc_run(&(cx_proc_spec){.argv = argv,
                                     .timeout_ms = left_ms > 1 ? left_ms : 1, /* 0 would be none */
                                     .output_max = LOG_MAX},
                     &result, &why)) {
        if (why.code == CX_INTERRUPTED)
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        bundle_skip(collector->sink, path, why.message);
        return true;
    }
    if (result.timed_out) {
        cx_fail(&why, CX_TIMEOUT, "journalctl: no end in time");
        bundle_failed(collector, path, &why);
    }
    return result.output.size == 0 ||
           bundle_add(collector, path, cx_buffer_bytes(&result.output), 0, err);
}

bool bundle_collect_logs(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    const cx_config *config = source->config;
    CX_AUTO(cx_fd_close)
    int folder = open(config->log_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    CX_AUTO(cx_free) char *audit = cx_path_join(config->data_dir, "audit.log");
    CX_AUTO(cx_free) char *ca_audit = cx_config_cert(config, "ca/audit.log");

    if (folder < 0)
        bundle_skip(collector->sink, config->log_dir, strerror(errno));
    else if (!walk_logs(source, collector, folder, "host/logs", 1, err))
        return false;
    return add_one_log(source, collector, audit, "host/logs/node-audit.log", err) &&
           add_one_log(source, collector, ca_audit, "host/logs/ca-audit.log", err) &&
           (is_late(collector, "journal") || add_journal(source, collector, err));
}

/* ---- configuration */

/* A small file of ours, which may belong to less than who collects: a link is not followed. */
static bool add_own(bundle_collector *collector, const char *from, const char *path, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    struct stat status;
    cx_err why = {0};
    bool good = true;

    if (fd < 0 && errno == ENOENT)
        return true;
    if (fd < 0 && errno == ELOOP) {
        bundle_skip(collector->sink, path, "a link");
        return true;
    }
    if (fd < 0 || fstat(fd, &status) < 0)
        good = cx_fail_errno(&why, "%s", from);
    else if (!S_ISREG(status.st_mode) || status.st_size > SMALL_MAX)
        good = cx_fail(&why, CX_TOO_LARGE, "%s: no file of up to %d bytes", from, SMALL_MAX);
    if (!good || !read_at(fd, 0, (size_t)status.st_size, from, &content, &why)) {
        bundle_failed(collector, from, &why);
        return true;
    }
    return bundle_add(collector, path, cx_buffer_bytes(&content), 0, err);
}

/* A small file as it stands; one that is missing is none. */
static bool add_small(bundle_collector *collector, const char *from, const char *path, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer content = {0};
    cx_err why = {0};

    if (!cx_exists(from))
        return true;
    if (!cx_read_file(from, SMALL_MAX, &content, &why)) {
        bundle_failed(collector, from, &why);
        return true;
    }
    return bundle_add(collector, path, cx_buffer_bytes(&content), 0, err);
}

static bool add_policies(const bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const char *const names[] = {"upgrade.yaml", "backup.yaml", "health.yaml", "alerts.yaml",
                                        "maintenance.yaml"};

    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_free) char *from = cx_path_join(source->config->policy_dir, names[i]);
        CX_AUTO(cx_free) char *path = cx_format("host/config/policies/%s", names[i]);

        if (!add_own(collector, from, path, err))
            return false;
    }
    return true;
}

/* Certificates as what they say, never a key. */
static bool add_certificates(const bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const char *const names[] = {"ca.crt", "node.crt", "operator.crt", "crl.pem"};
    CX_AUTO(cx_json_free) json_t *items = json_array();

    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_free) char *path = cx_config_cert(source->config, names[i]);
        CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
        cx_err why = {0};

        if (cx_exists(path) &&
            (!cx_read_file(path, SMALL_MAX, &pem, &why) ||
             !cx_show_pem(cx_buffer_bytes(&pem), names[i], cx_wall_ms(), items, &why)))
            bundle_failed(collector, path, &why);
    }
    return bundle_add_json(collector, "host/config/certificates.json", items, err);
}

bool bundle_collect_config(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *effective = cx_config_to_json(source->config, true);

    if (source->config_error.code != CX_OK)
        bundle_failed(collector, source->config_path, &source->config_error);
    return bundle_add_json(collector, "host/config/effective.json", effective, err) &&
           add_own(collector, source->config_path, "host/config/config.yaml", err) &&
           add_policies(source, collector, err) && add_certificates(source, collector, err);
}

/* ---- the host */

static json_t *file_system(const char *path)
{
    struct statvfs status;

    if (statvfs(path, &status) < 0)
        return json_pack("{s:o, s:s}", "path", cx_json_text(path), "error", strerror(errno));
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "path", cx_json_text(path), "total_bytes",
                     (json_int_t)(status.f_blocks * status.f_frsize), "free_bytes",
                     (json_int_t)(status.f_bavail * status.f_frsize), "total_inodes",
                     (json_int_t)status.f_files, "free_inodes", (json_int_t)status.f_favail);
}

static json_t *host_json(const cx_config *config)
{
    const char *const folders[] = {config->data_dir, config->log_dir, config->run_dir, "/", "/tmp"};
    json_t *disks = json_array();
    struct utsname name = {0};
    char boot_id[40];

    (void)uname(&name);
    cx_boot_id(boot_id);
    for (size_t i = 0; i < CX_COUNT(folders); i++)
        json_array_append_new(disks, file_system(folders[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:I, s:o, s:o}", "host",
                     cx_json_text(name.nodename), "kernel", cx_json_text(name.release), "system",
                     cx_json_text(name.version), "machine", cx_json_text(name.machine), "boot_id",
                     boot_id, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "time",
                     cx_json_time(cx_wall_ms()), "file_systems", disks);
}

/* Of our own programs alone, without their arguments and environment. */
static bool add_processes(bundle_collector *collector, cx_err *err)
{
    CX_AUTO(close_folder) DIR *folder = opendir("/proc");
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        CX_AUTO(cx_free) char *comm = cx_format("/proc/%.20s/comm", entry->d_name);
        CX_AUTO(cx_free) char *status = cx_format("/proc/%.20s/status", entry->d_name);
        CX_AUTO(cx_free) char *path = NULL;
        CX_AUTO(cx_buffer_free) cx_buffer name = {0};
        CX_AUTO(cx_buffer_free) cx_buffer content = {0};
        cx_err ignored;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            !cx_read_file(comm, 64, &name, &ignored) || name.size < 4 ||
            memcmp(name.data, "cx-", 3) != 0 ||
            !cx_read_file(status, SMALL_MAX, &content, &ignored))
            continue; /* not ours, or gone by now */
        path = cx_format("host/system/processes/%.*s-%.20s.status",
                         (int)strcspn((char *)name.data, "\n/"), (char *)name.data, entry->d_name);
        if (!bundle_add(collector, path, cx_buffer_bytes(&content), 0, err))
            return false;
    }
    return true;
}

bool bundle_collect_system(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const char *const files[] = {
        "meminfo",     "loadavg",         "uptime",         "mounts",
        "stat",        "vmstat",          "net/sockstat",   "pressure/cpu",
        "pressure/io", "pressure/memory", "sys/fs/file-nr", "sys/kernel/osrelease"};
    CX_AUTO(cx_json_free) json_t *host = host_json(source->config);

    if (!bundle_add_json(collector, "host/system/host.json", host, err))
        return false;
    for (size_t i = 0; i < CX_COUNT(files); i++) {
        CX_AUTO(cx_free) char *from = cx_format("/proc/%s", files[i]);
        CX_AUTO(cx_free) char *path = cx_format("host/system/%s", files[i]);

        if (!add_small(collector, from, path, err))
            return false;
    }
    return add_processes(collector, err);
}

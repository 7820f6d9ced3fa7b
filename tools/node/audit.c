#include "audit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

enum { HEX_SIZE = 2 * CX_SHA256_SIZE + 1 };

struct node_audit {
    node_storage *storage;
    const cx_log *log;
    char *path;
    int fd;
    char previous[HEX_SIZE]; /* storage thread */
    bool is_torn;            /* storage thread: the last line has no end */
    int64_t second, refusals, suppressed;
};

typedef struct audit_job {
    node_job job;
    node_audit *audit;
    json_t *entry;
    void (*done)(void *arg);
    void *arg;
} audit_job;

static void remember(node_audit *audit, cx_bytes line)
{
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;

    cx_sha256(line, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    memcpy(audit->previous, hex, HEX_SIZE);
}

/* Finds where the chain stands: the hash of the last line. */
static bool read_end(node_audit *audit, cx_err *err)
{
    struct stat about;
    CX_AUTO(cx_free) uint8_t *data = cx_alloc(NODE_AUDIT_LINE_MAX, 1);
    off_t start;
    ssize_t size;
    size_t first = 0, last;

    if (fstat(audit->fd, &about) < 0)
        return cx_fail_errno(err, "stat %s", audit->path);
    start = about.st_size > NODE_AUDIT_LINE_MAX ? about.st_size - NODE_AUDIT_LINE_MAX : 0;
    size = pread(audit->fd, data, NODE_AUDIT_LINE_MAX, start);
    if (size < 0)
        return cx_fail_errno(err, "read %s", audit->path);
    if (size == 0)
        return true;
    last = (size_t)size;
    if (data[last - 1] != '\n') { /* a crash tore it: end it, so that the next line is one */
        if (!cx_write_all(audit->fd, cx_bytes_of("\n"), audit->path, err))
            return false;
    } else {
        last--;
    }
    for (size_t i = 0; i < last; i++)
        if (data[i] == '\n')
            first = i + 1;
    remember(audit, (cx_bytes){data + first, last - first});
    return true;
}

/* What was written of it goes again, as on a full disk: else the next line would be a part of it. */
static bool append(node_audit *audit, cx_bytes line, cx_err *err)
{
    struct stat before;

    if (fstat(audit->fd, &before) < 0)
        return cx_fail_errno(err, "stat %s", audit->path);
    if (cx_write_all(audit->fd, line, audit->path, err))
        return true;
    audit->is_torn = ftruncate(audit->fd, before.st_size) < 0;
    return false;
}

static bool write_work(node_storage *storage, node_job *base, cx_err *err)
{
    audit_job *job = (audit_job *)base;
    node_audit *audit = job->audit;
    CX_AUTO(cx_free) char *line = NULL;
    CX_AUTO(cx_free) char *ended = NULL;

    (void)storage;
    if (audit->is_torn && !read_end(audit, err))
        return false;
    audit->is_torn = false;
    json_object_set_new(job->entry, "prev", json_string(audit->previous));
    line = cx_json_line(job->entry);
    ended = cx_format("%s\n", line);
    if (!append(audit, cx_bytes_of(ended), err))
        return false;
    remember(audit, cx_bytes_of(line));
    return fsync(audit->fd) == 0 || cx_fail_errno(err, "fsync %s", audit->path);
}

static void write_done(node_job *base)
{
    audit_job *job = (audit_job *)base;

    if (!base->ok) {
        cx_log_error(job->audit->log, CX_ERROR, "audit_failed", &base->err);
        cx_log_write(job->audit->log, CX_ERROR, "audit_lost", "{s:O}", "entry", job->entry);
    }
    if (job->done != NULL)
        job->done(job->arg);
    cx_json_free(&job->entry);
    cx_free(&job);
}

static json_t *entry_to_json(const node_audit_entry *entry)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:s, s:o, s:s, s:o}", "time", cx_json_time(cx_wall_ms()),
                     "who", cx_json_text(entry->who), "role", entry->role, "from",
                     cx_json_text(entry->from), "action", entry->action, "target",
                     cx_json_text(entry->target), "result", entry->result, "detail",
                     cx_json_text(entry->detail));
}

static void add(node_audit *audit, json_t *entry, void (*done)(void *), void *arg)
{
    audit_job *job = cx_alloc(1, sizeof *job);

    job->job = (node_job){.work = write_work, .done = write_done, .no_transaction = true};
    job->audit = audit;
    job->entry = entry;
    job->done = done;
    job->arg = arg;
    node_storage_add(audit->storage, &job->job);
}

bool node_audit_open(node_storage *storage, const char *path, const cx_log *log,
                     node_audit **result, cx_err *err)
{
    CX_AUTO(node_audit_close) node_audit *audit = cx_alloc(1, sizeof *audit);

    audit->storage = storage;
    audit->log = log;
    audit->path = cx_strdup(path);
    memset(audit->previous, '0', HEX_SIZE - 1);
    audit->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (audit->fd < 0)
        return cx_fail_errno(err, "open %s", path);
    if (!read_end(audit, err))
        return false;
    *result = CX_TAKE(audit);
    return true;
}

void node_audit_close(node_audit **owner)
{
    node_audit *audit = *owner;

    if (audit == NULL)
        return;
    cx_fd_close(&audit->fd);
    cx_free(&audit->path);
    cx_free(owner);
}

void node_audit_write(node_audit *audit, const node_audit_entry *entry, void (*done)(void *arg),
                      void *arg)
{
    add(audit, entry_to_json(entry), done, arg);
}

void node_audit_refusal(node_audit *audit, const node_audit_entry *entry)
{
    int64_t second = cx_now_ms() / 1000;
    json_t *json;

    if (second != audit->second) {
        audit->second = second;
        audit->refusals = 0;
    }
    if (audit->refusals++ >= NODE_REFUSALS_MAX) {
        audit->suppressed++;
        return;
    }
    json = entry_to_json(entry);
    if (audit->suppressed > 0)
        json_object_set_new(json, "suppressed_before", json_integer(audit->suppressed));
    audit->suppressed = 0;
    add(audit, json, NULL, NULL);
}

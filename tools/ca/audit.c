#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

enum {
    HASH_SIZE = 65,
    LINE_MAX_SIZE = 16 * 1024,        /* a line of ours has a few hundred bytes */
    END_SIZE = 64 * 1024,             /* more than the longest lines at its end */
    LOG_MAX_SIZE = 512 * 1024 * 1024, /* over a million certificates */
};

static const char FIRST[HASH_SIZE] =
    "0000000000000000000000000000000000000000000000000000000000000000";

static void hash_line(cx_bytes line, char hash[HASH_SIZE])
{
    uint8_t digest[CX_SHA256_SIZE];

    cx_sha256(line, digest);
    sodium_bin2hex(hash, HASH_SIZE, digest, sizeof(digest));
}

/* ---- lines in ca.db */

/* Sequence number and hash of the last line; 0 and zeros when there is none. */
static bool last_in_db(cx_db *db, int64_t *seq, char hash[HASH_SIZE], cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *seq = 0;
    memcpy(hash, FIRST, HASH_SIZE);
    if (!cx_db_prepare(db, "SELECT seq, line FROM audit ORDER BY seq DESC LIMIT 1", &statement,
                       err) ||
        !cx_step(statement, &row, err))
        return false;
    if (row) {
        *seq = cx_column_int(statement, 0);
        hash_line(cx_bytes_of(cx_column_text(statement, 1)), hash);
    }
    return true;
}

static bool insert_line(cx_db *db, int64_t seq, const char *line, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db, "INSERT INTO audit (seq, line) VALUES (?, ?)", &statement, err))
        return false;
    cx_bind_int(statement, 1, seq);
    cx_bind_text(statement, 2, line);
    return cx_run_statement(statement, err);
}

/* The line of that number in new memory, NULL when there is none. */
static bool line_in_db(cx_db *db, int64_t seq, char **line, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *line = NULL;
    if (!cx_db_prepare(db, "SELECT line FROM audit WHERE seq = ?", &statement, err))
        return false;
    cx_bind_int(statement, 1, seq);
    if (!cx_step(statement, &row, err))
        return false;
    if (row)
        *line = cx_strdup(cx_column_text(statement, 0));
    return true;
}

/* Who did it: the user, and who became it by sudo. */
static void add_actor(json_t *line)
{
    const struct passwd *user = getpwuid(geteuid());
    const char *sudo_user = getenv("SUDO_USER");
    char host[256] = "";

    gethostname(host, sizeof(host) - 1);
    json_object_set_new(line, "user", cx_json_text(user != NULL ? user->pw_name : "?"));
    if (sudo_user != NULL && sudo_user[0] != '\0')
        json_object_set_new(line, "sudo_user", cx_json_text_n(sudo_user, strnlen(sudo_user, 64)));
    json_object_set_new(line, "host", cx_json_text(host));
}

/* ---- lines in the file */

/* The log as it stands; `whole` ends after the last newline, `torn` is what a crash left after it. */
struct log_file {
    cx_buffer bytes;
    cx_bytes whole;
    cx_bytes torn;
};

static void log_file_free(struct log_file *file)
{
    cx_buffer_free(&file->bytes);
    *file = (struct log_file){0};
}

static void split_off_torn(struct log_file *file)
{
    size_t size = file->bytes.size;

    while (size > 0 && file->bytes.data[size - 1] != '\n')
        size--;
    file->whole = (cx_bytes){file->bytes.data, size};
    file->torn = (cx_bytes){file->bytes.data + size, file->bytes.size - size};
}

static bool read_log(const char *path, struct log_file *file, cx_err *err)
{
    if (!cx_exists(path))
        return true;
    if (!cx_read_file(path, LOG_MAX_SIZE, &file->bytes, err))
        return false;
    split_off_torn(file);
    return true;
}

/* Only its end, with the last lines: all that most commands need, however long the log grew. */
static bool read_log_end(const char *path, struct log_file *file, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;

    if (fd < 0)
        return errno == ENOENT || cx_fail_errno(err, "open %s", path);
    if (fstat(fd, &info) < 0)
        return cx_fail_errno(err, "stat %s", path);

    size_t size = info.st_size > END_SIZE ? END_SIZE : (size_t)info.st_size;
    uint8_t *to = cx_buffer_reserve(&file->bytes, size + 1);

    while (file->bytes.size < size) {
        ssize_t got = pread(fd, to + file->bytes.size, size - file->bytes.size,
                            info.st_size - (off_t)(size - file->bytes.size));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return cx_fail_errno(err, "read %s", path);
        file->bytes.size += (size_t)got;
    }
    split_off_torn(file);
    return true;
}

/* Takes the first line, without its newline. False at the end. */
static bool take_line(cx_bytes *rest, cx_bytes *line)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;

    if (end == NULL)
        return false;
    *line = (cx_bytes){rest->data, (size_t)(end - rest->data)};
    *rest = (cx_bytes){end + 1, rest->size - line->size - 1};
    return true;
}

static bool parse_line(cx_bytes text, int64_t number, json_t **line, int64_t *seq,
                       const char **prev, cx_err *err)
{
    CX_AUTO(cx_free) char *name = cx_format("audit line %lld", (long long)number);

    return cx_json_parse(text, LINE_MAX_SIZE, name, line, err) &&
           cx_json_need_int(*line, name, "seq", 1, INT64_MAX, seq, err) &&
           cx_json_need_text(*line, name, "prev", prev, err);
}

static bool corrupt(const char *path, cx_err *err, const char *what)
{
    cx_fail(err, CX_CORRUPT, "%s: %s", path, what);
    return cx_hint(err, "cx-ca audit verify shows where");
}

/* Opens the log to append; a new one is on disk, name and all, before anything is in it. */
static bool open_log(const char *path, int *fd, cx_err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
    CX_AUTO(cx_fd_close) int opened = open(path, flags | O_EXCL, 0600);
    bool is_new = opened >= 0;

    if (!is_new)
        opened = open(path, flags, 0600);
    if (opened < 0)
        return cx_fail_errno(err, "open %s", path);
    if (is_new && !cx_give_to_owner(opened, path, err))
        return false;
    if (is_new) {
        const char *slash = strrchr(path, '/');
        CX_AUTO(cx_free)
        char *folder =
            slash != NULL ? cx_strndup(path, (size_t)(slash - path) + 1) : cx_strdup(".");

        if (!cx_sync_folder(folder, err))
            return false;
    }
    *fd = opened;
    opened = -1;
    return true;
}

/* The last whole line and its number; 0 when there is none. */
static bool last_line(const char *path, const struct log_file *file, cx_bytes *text, int64_t *seq,
                      cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *line = NULL;
    size_t end = file->whole.size, start;
    const char *prev;
    cx_err unused;

    *seq = 0;
    *text = (cx_bytes){0};
    if (end == 0)
        return true;
    for (start = end - 1; start > 0 && file->whole.data[start - 1] != '\n';)
        start--;
    *text = (cx_bytes){file->whole.data + start, end - 1 - start};
    return parse_line(*text, 0, &line, seq, &prev, &unused) ||
           corrupt(path, err, "its last line is damaged");
}

/* The number of the file's last line, which must be the database's of that number. */
static bool last_in_file(cx_db *db, const char *path, const struct log_file *file, int64_t *seq,
                         cx_err *err)
{
    CX_AUTO(cx_free) char *recorded = NULL;
    cx_bytes text;

    if (!last_line(path, file, &text, seq, err))
        return false;
    if (*seq == 0)
        return true;
    if (!line_in_db(db, *seq, &recorded, err))
        return false;
    if (recorded == NULL || !cx_bytes_equal(text, cx_bytes_of(recorded)))
        return corrupt(path, err, "its last line is not the one that ca.db recorded");
    return true;
}

/* All lines after `seq`, each with its newline. */
static bool lines_after(cx_db *db, int64_t seq, cx_buffer *lines, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = true;

    if (!cx_db_prepare(db, "SELECT line FROM audit WHERE seq > ? ORDER BY seq", &statement, err))
        return false;
    cx_bind_int(statement, 1, seq);
    for (;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            return true;
        cx_buffer_addf(lines, "%s\n", cx_column_text(statement, 0));
    }
}

static bool append(const char *path, const struct log_file *file, cx_bytes lines, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = -1;

    /* What a crash left must be the beginning of what it was about to write. */
    if (file->torn.size > lines.size ||
        (file->torn.size > 0 && memcmp(file->torn.data, lines.data, file->torn.size) != 0))
        return corrupt(path, err, "its end was changed");
    if (!open_log(path, &fd, err))
        return false;
    if (!cx_write_all(fd, (cx_bytes){lines.data + file->torn.size, lines.size - file->torn.size},
                      path, err))
        return false;
    if (fsync(fd) < 0)
        return cx_fail_errno(err, "fsync %s", path);
    return true;
}

/* ---- taking over what only the file knows */

static bool apply_issued(cx_db *db, const json_t *line, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    static const char *const texts[] = {"serial", "kind", "name", "uri", "key_sha256", "how"};
    static const char *const times[] = {"not_before", "not_after", "time"};
    int64_t at_ms;
    int at = 1;

    if (!cx_db_prepare(db,
                       "INSERT OR IGNORE INTO issued (serial, kind, name, uri, key_sha256, how, "
                       "not_before_ms, not_after_ms, issued_at_ms, role) "
                       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       &statement, err))
        return false;
    for (size_t i = 0; i < CX_COUNT(texts); i++)
        cx_bind_text(statement, at++, cx_json_text_or_empty(line, texts[i]));
    for (size_t i = 0; i < CX_COUNT(times); i++) {
        if (!cx_time_parse(cx_json_text_or_empty(line, times[i]), &at_ms, err))
            return cx_wrap(err, "audit log: %s", times[i]);
        cx_bind_int(statement, at++, at_ms);
    }
    cx_bind_text(statement, at, json_string_value(json_object_get(line, "role")));
    return cx_run_statement(statement, err);
}

static bool apply_revoked(cx_db *db, const json_t *line, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    int64_t at_ms;

    if (!cx_time_parse(cx_json_text_or_empty(line, "time"), &at_ms, err) ||
        !cx_db_prepare(db,
                       "INSERT OR IGNORE INTO revoked (serial, revoked_at_ms, reason) "
                       "VALUES (?, ?, ?)",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, cx_json_text_or_empty(line, "serial"));
    cx_bind_int(statement, 2, at_ms);
    cx_bind_text(statement, 3, cx_json_text_or_empty(line, "reason"));
    return cx_run_statement(statement, err);
}

static bool apply_crl(cx_db *db, const json_t *line, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    int64_t number = 0, at_ms, next_ms;

    if (!cx_json_need_int(line, "audit log", "number", 1, INT64_MAX, &number, err) ||
        !cx_time_parse(cx_json_text_or_empty(line, "time"), &at_ms, err) ||
        !cx_time_parse(cx_json_text_or_empty(line, "next_update"), &next_ms, err) ||
        !cx_db_prepare(db,
                       "INSERT OR IGNORE INTO crl (number, issued_at_ms, next_update_ms, revoked) "
                       "VALUES (?, ?, ?, 0)",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, number);
    cx_bind_int(statement, 2, at_ms);
    cx_bind_int(statement, 3, next_ms);
    return cx_run_statement(statement, err);
}

static bool apply(cx_db *db, const json_t *line, cx_err *err)
{
    const char *event = cx_json_text_or_empty(line, "event");

    if (strcmp(event, "certificate_issued") == 0)
        return apply_issued(db, line, err);
    if (strcmp(event, "certificate_revoked") == 0)
        return apply_revoked(db, line, err);
    if (strcmp(event, "crl_signed") == 0)
        return apply_crl(db, line, err);
    return true; /* others tell of what is seen elsewhere */
}

/* The file's lines beyond the database's last one, in one transaction of the caller. */
static bool take_over(cx_db *db, const char *path, cx_bytes rest, size_t *count, cx_err *err)
{
    char hash[HASH_SIZE];
    int64_t known;
    cx_bytes text;

    if (!last_in_db(db, &known, hash, err))
        return false;
    for (int64_t number = 1; take_line(&rest, &text); number++) {
        CX_AUTO(cx_json_free) json_t *line = NULL;
        CX_AUTO(cx_free) char *copy = NULL;
        const char *prev;
        int64_t seq;

        if (number <= known)
            continue;
        if (!parse_line(text, number, &line, &seq, &prev, err))
            return cx_wrap(err, "%s", path);
        if (seq != number || strcmp(prev, hash) != 0)
            return corrupt(path, err, "the chain of its lines is broken");
        copy = cx_strndup((const char *)text.data, text.size);
        if (!insert_line(db, seq, copy, err) || !apply(db, line, err))
            return false;
        hash_line(text, hash);
        *count += 1;
    }
    return true;
}

bool audit_add(cx_db *db, const char *event, json_t *fields, int64_t now_ms, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *owned = fields;
    CX_AUTO(cx_json_free) json_t *line = json_object();
    CX_AUTO(cx_free) char *text = NULL;
    char prev[HASH_SIZE];
    int64_t last;

    if (!last_in_db(db, &last, prev, err))
        return false;
    json_object_set_new(line, "seq", json_integer(last + 1));
    json_object_set_new(line, "time", cx_json_time(now_ms));
    json_object_set_new(line, "event", json_string(event));
    add_actor(line);
    json_object_update(line, owned);
    json_object_set_new(line, "prev", json_string(prev));
    text = cx_json_line(line);
    return insert_line(db, last + 1, text, err);
}

bool audit_flush(cx_db *db, const char *path, cx_err *err)
{
    CX_AUTO(log_file_free) struct log_file file = {0};
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    int64_t written = 0;

    if (!read_log_end(path, &file, err) || !last_in_file(db, path, &file, &written, err) ||
        !lines_after(db, written, &lines, err))
        return false;
    if (lines.size == 0 && file.torn.size == 0)
        return true;
    return append(path, &file, cx_buffer_bytes(&lines), err);
}

static bool recover_all(cx_db *db, const char *path, size_t *count, cx_err *err)
{
    CX_AUTO(log_file_free) struct log_file file = {0};

    if (!read_log(path, &file, err) || !cx_db_begin(db, err))
        return false;
    if (take_over(db, path, file.whole, count, err) && cx_db_commit(db, err))
        return true;
    cx_db_rollback(db);
    return false;
}

bool audit_recover(cx_db *db, const char *path, size_t *count, cx_err *err)
{
    CX_AUTO(log_file_free) struct log_file file = {0};
    char hash[HASH_SIZE];
    int64_t known, written;
    cx_bytes text;

    *count = 0;
    if (!read_log_end(path, &file, err) || !last_line(path, &file, &text, &written, err) ||
        !last_in_db(db, &known, hash, err))
        return false;
    return written <= known || recover_all(db, path, count, err);
}

static bool broken(audit_report *report, int64_t number, const char *problem)
{
    report->broken_at = number;
    snprintf(report->problem, sizeof(report->problem), "%s", problem);
    return true;
}

bool audit_check(cx_db *db, const char *path, audit_report *report, cx_err *err)
{
    CX_AUTO(log_file_free) struct log_file file = {0};
    cx_bytes rest, text;
    char head[HASH_SIZE];
    int64_t last = 0;

    *report = (audit_report){0};
    if (!cx_exists(path))
        return cx_fail(err, CX_NOT_FOUND, "%s: no audit log", path);
    if (!read_log(path, &file, err) || (db != NULL && !last_in_db(db, &last, head, err)))
        return false;
    memcpy(report->head, FIRST, HASH_SIZE);
    rest = file.whole;
    for (int64_t number = 1; take_line(&rest, &text); number++) {
        CX_AUTO(cx_json_free) json_t *line = NULL;
        CX_AUTO(cx_free) char *recorded = NULL;
        const char *prev;
        int64_t seq;
        cx_err unused;

        if (!parse_line(text, number, &line, &seq, &prev, &unused))
            return broken(report, number, "the line is damaged");
        if (seq != number)
            return broken(report, number, "the number is not the next one");
        if (strcmp(prev, report->head) != 0)
            return broken(report, number, "the line before it was changed");
        if (db != NULL && !line_in_db(db, seq, &recorded, err))
            return false;
        if (recorded != NULL && !cx_bytes_equal(text, cx_bytes_of(recorded)))
            return broken(report, number, "ca.db has another line of this number");
        hash_line(text, report->head);
        report->entries = number;
    }
    if (file.torn.size > 0)
        return broken(report, report->entries + 1, "the line has no end");
    if (last > report->entries)
        return broken(report, report->entries + 1, "lines that ca.db has are missing at the end");
    return true;
}

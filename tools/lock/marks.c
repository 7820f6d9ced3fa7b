/* Marks that are no leases: states of the nodes, lock files of this host, and silences. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "api/gather.h"
#include "base/io.h"
#include "base/time.h"
#include "health/store.h"
#include "lock.h"

enum { LOCK_FILE_MAX = 16 * 1024, FILES_MAX = 1000 };

/* ---- nodes */

/* The node keeps its state by itself, whatever became of who set it: nothing here can be dead. */
static json_t *node_mark(const json_t *drain, const char *node_id)
{
    static const struct {
        const char *to, *from;
    } fields[] = {
        {"state", "state"},      {"owner", "owner"},      {"reason", "reason"},
        {"since", "entered_at"}, {"expires_at", "until"},
    };
    json_t *item = json_pack("{s:s, s:o, s:o}", "kind", "node_state", "name", cx_json_text(node_id),
                             "node_id", cx_json_text(node_id));

    for (size_t i = 0; i < CX_COUNT(fields); i++) {
        json_t *value = json_object_get(drain, fields[i].from);

        json_object_set(item, fields[i].to, value != NULL ? value : json_null());
    }
    json_object_set_new(item, "host", json_null());
    json_object_set_new(item, "boot_id", json_null());
    json_object_set_new(item, "started_at", json_null());
    json_object_set_new(item, "alive", json_null());
    return item;
}

static void judge(json_t *item)
{
    cx_mark mark;
    cx_err err;

    json_object_set_new(item, "alive",
                        cx_mark_get(item, "mark", &mark, &err) ? cx_life_json(cx_mark_life(&mark))
                                                               : json_null());
}

json_t *lock_node_marks(lock_scope *scope, int64_t timeout_ms)
{
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    json_t *marks = json_array();
    cx_err err;

    if (!cx_api_gather(scope->api, &scope->nodes, "/api/v1/node/drain", timeout_ms, &gathered,
                       &err))
        return marks;
    for (size_t i = 0; i < gathered.count; i++) {
        const json_t *drain = gathered.answers[i];
        const char *state = cx_json_text_or_empty(drain, "state");

        if (state[0] != '\0' && strcmp(state, "active") != 0)
            json_array_append_new(marks, node_mark(drain, cx_json_text_or_empty(drain, "node_id")));
    }
    return marks;
}

/* ---- lock files */

/* A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234567 0 EOF". */
static bool is_line_of(const char *line, const struct stat *info, long *pid)
{
    unsigned int major_number, minor_number;
    unsigned long inode;

    if (sscanf(line, "%*s FLOCK %*s %*s %ld %x:%x:%lu", pid, &major_number, &minor_number,
               &inode) != 4)
        return false;
    return inode == info->st_ino && major_number == major(info->st_dev) &&
           minor_number == minor(info->st_dev);
}

/* The process that has the file locked, 0: none. The kernel knows; asking it by locking the file
 * would keep somebody else from it for that moment. */
static pid_t holder_of(const struct stat *info)
{
    char line[512];
    long pid = 0;
    bool found = false;
    FILE *file = fopen("/proc/locks", "re");

    if (file == NULL)
        return 0;
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = is_line_of(line, info, &pid);
    fclose(file);
    return found && pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* A file that tells its holder itself, as JSON. */
static json_t *told_by_file(const char *path, cx_bytes text)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_err err;

    if (!cx_json_parse(text, LOCK_FILE_MAX, path, &json, &err) || !json_is_object(json) ||
        json_object_get(json, "host") == NULL)
        return NULL;
    judge(json);
    return CX_TAKE(json);
}

static json_t *told_by_kernel(const struct stat *info)
{
    pid_t pid = holder_of(info);
    json_t *item;
    cx_mark mark;
    cx_err err;

    if (pid == 0 || !cx_mark_of(pid, &mark, &err))
        return NULL;
    item = json_object();
    cx_mark_put(item, &mark);
    json_object_set_new(item, "owner", json_null());
    json_object_set_new(item, "reason", json_null());
    json_object_set_new(item, "alive", json_true());
    return item;
}

static void add_file(const char *folder, const char *name, json_t *marks)
{
    CX_AUTO(cx_free) char *path = cx_path_join(folder, name);
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    struct stat info;
    json_t *item = NULL;
    cx_err err;

    if (lstat(path, &info) < 0 || !S_ISREG(info.st_mode))
        return;
    if (cx_read_file(path, LOCK_FILE_MAX, &text, &err))
        item = told_by_file(path, cx_buffer_bytes(&text));
    if (item == NULL)
        item = told_by_kernel(&info);
    if (item == NULL) /* a file that nobody holds is no mark */
        return;
    json_object_set_new(item, "kind", json_string("lock_file"));
    json_object_set_new(item, "name", cx_json_text(name));
    json_object_set_new(item, "path", cx_json_text(path));
    json_object_set_new(item, "since", cx_json_time((int64_t)info.st_mtim.tv_sec * 1000));
    json_array_append_new(marks, item);
}

static bool is_lock_name(const char *name)
{
    size_t size = strlen(name);

    return size > strlen(".lock") && strcmp(name + size - strlen(".lock"), ".lock") == 0;
}

static void add_folder(const char *folder, json_t *marks)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL && json_array_size(marks) < FILES_MAX)
        if (is_lock_name(entry->d_name))
            add_file(folder, entry->d_name, marks);
    if (dir != NULL)
        closedir(dir);
}

json_t *lock_file_marks(const cx_config *config)
{
    CX_AUTO(cx_free) char *ca = cx_config_cert(config, "ca");
    const char *folders[] = {config->data_dir, config->run_dir, config->cert_dir, ca,
                             config->log_dir};
    json_t *marks = json_array();

    for (size_t i = 0; i < CX_COUNT(folders); i++) {
        bool seen = false;

        for (size_t j = 0; j < i; j++)
            seen |= strcmp(folders[i], folders[j]) == 0;
        if (!seen)
            add_folder(folders[i], marks);
    }
    return marks;
}

/* ---- silences */

/* A silence ends by itself, whatever became of the shell that it was made from: none is dead. */
static json_t *silence_mark(const json_t *silence)
{
    static const struct {
        const char *to, *from;
    } fields[] = {
        {"name", "name"},
        {"id", "id"},
        {"node_id", "subject"},
        {"owner", "owner"},
        {"reason", "reason"},
        {"host", "host"},
        {"boot_id", "boot_id"},
        {"pid", "pid"},
        {"started_at", "started_at"},
        {"since", "starts_at"},
        {"expires_at", "ends_at"},
    };
    json_t *item = json_pack("{s:s, s:n}", "kind", "silence", "alive");

    for (size_t i = 0; i < CX_COUNT(fields); i++) {
        json_t *value = json_object_get(silence, fields[i].from);

        if (value != NULL && !(json_is_null(value) && strcmp(fields[i].to, "node_id") == 0))
            json_object_set(item, fields[i].to, value);
    }
    return item;
}

json_t *lock_silence_marks(const cx_config *config, cx_err *err)
{
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *silences = NULL;
    json_t *marks;
    size_t at;
    json_t *silence;

    if (!cx_health_store_open(config->data_dir, true, &store, err))
        return err->code == CX_NOT_FOUND ? json_array() : NULL;
    if (!cx_health_store_silences(store, false, cx_wall_ms(), &silences, err))
        return NULL;
    marks = json_array();
    json_array_foreach (silences, at, silence)
        json_array_append_new(marks, silence_mark(silence));
    return marks;
}

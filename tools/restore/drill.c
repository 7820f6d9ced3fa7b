/* drill: the whole way from a backup to a node that answers, in a scratch folder. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "api/client.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/time.h"
#include "restore.h"

enum {
    START_TIMEOUT_MS = 60000,
    STOP_TIMEOUT_MS = 20000,
    POLL_MS = 50,
    STATS_MS = 10000,
    LOG_TAIL = 300
};

struct drill_options {
    restore_source source;
    const char *scratch;
    const char *progress;
    bool no_start;
    bool keep;
};

static const cx_option options[] = {
    RESTORE_SOURCE_OPTIONS(struct drill_options, source),
    {"scratch", CX_TEXT(struct drill_options, scratch), "DIR", NULL,
     "folder in which a new one is made; default: $TMPDIR, else /var/tmp"},
    {"no-start", CX_FLAG(struct drill_options, no_start), NULL, NULL,
     "restore and check only; start no node"},
    {"keep", CX_FLAG(struct drill_options, keep), NULL, NULL, "leave the scratch folder"},
    {"progress", CX_CHOICE(struct drill_options, progress), "auto|json|none", "auto",
     "auto: a bar when stderr is a terminal"},
    {0},
};

struct drill {
    const struct drill_options *option;
    char *scratch; /* made by mkdtemp */
    int lock_fd;   /* of drill.lock in it: whoever clears up sees that we live */
    char *data;
    json_t *steps;
    int64_t step_started_ms;
    pid_t pid; /* of the node; 0: none */
    bool ok;
    bool keep;
};

static void close_drill(struct drill *drill)
{
    cx_err ignored;

    if (drill->pid > 0) {
        kill(drill->pid, SIGKILL);
        waitpid(drill->pid, NULL, 0);
    }
    if (drill->scratch != NULL && !drill->keep)
        (void)!cx_remove_tree(drill->scratch, &ignored);
    cx_fd_close(&drill->lock_fd);
    cx_free(&drill->scratch);
    cx_free(&drill->data);
    cx_json_free(&drill->steps);
}

/* A step that fails is the drill's finding, and no failure of the drill. */
static bool note_step(struct drill *drill, const char *name, bool done, const cx_err *err)
{
    int64_t now_ms = cx_now_ms();
    json_t *step = json_pack("{s:s, s:b, s:o}", "name", name, "ok", done, "seconds",
                             cx_json_figure((double)(now_ms - drill->step_started_ms) / 1000));

    if (!done)
        json_object_set_new(step, "detail", cx_json_text(err->message));
    json_array_append_new(drill->steps, step);
    drill->step_started_ms = now_ms;
    drill->ok = drill->ok && done;
    return done;
}

/* ---- the scratch node */

static bool has_table(sqlite3 *database, const char *name)
{
    sqlite3_stmt *statement = NULL;
    bool found = sqlite3_prepare_v2(database, "SELECT 1 FROM sqlite_master WHERE name = ?", -1,
                                    &statement, NULL) == SQLITE_OK &&
                 sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_ROW;

    sqlite3_finalize(statement);
    return found;
}

/* Its agents stay suspended, the cluster's (placed) among them: what they have done is not done again. */
static bool suspend_agents(const struct drill *drill, cx_err *err)
{
    static const struct {
        const char *table, *change;
    } tables[] = {
        {"agent", "UPDATE agent SET suspended = 1"},
        {"placed", "UPDATE placed SET suspended = 1"}, /* not in the oldest backups */
    };
    CX_AUTO(cx_free) char *path = cx_path_join(drill->data, "registry.db");
    sqlite3 *database = NULL;
    bool done;

    if (!cx_exists(path))
        return true;
    done = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
    for (size_t i = 0; done && i < CX_COUNT(tables); i++)
        done = !has_table(database, tables[i].table) ||
               sqlite3_exec(database, tables[i].change, NULL, NULL, NULL) == SQLITE_OK;
    if (!done)
        cx_fail(err, CX_CORRUPT, "registry.db: %s", sqlite3_errmsg(database));
    sqlite3_close(database);
    return done;
}

static bool free_port(uint16_t *port, cx_err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CX_AUTO(cx_fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return cx_fail_errno(err, "find a free port");
    *port = ntohs(address.sin_port);
    return true;
}

/* Alone on the loopback interface: no seeds, no gossip agent, a run folder of its own. */
static bool write_config(const struct drill *drill, const cx_config *config,
                         const cx_manifest *manifest, char **path, cx_err *err)
{
    CX_AUTO(cx_free) char *restored_certs = cx_path_join(drill->data, "certs");
    CX_AUTO(cx_free) char *run_dir = cx_path_join(drill->scratch, "run");
    CX_AUTO(cx_json_free) json_t *values = NULL;
    uint16_t api_port = 0, gossip_port = 0;

    if (!cx_make_folders(run_dir, 0700, NULL, err) || !free_port(&api_port, err) ||
        !free_port(&gossip_port, err))
        return false;

    CX_AUTO(cx_free) char *api_addr = cx_format("127.0.0.1:%u", api_port);
    CX_AUTO(cx_free) char *bind_addr = cx_format("127.0.0.1:%u", gossip_port);

    values = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:i}", "cluster",
                       manifest->cluster, "node_id", manifest->node_id, "bind_addr", bind_addr,
                       "api_addr", api_addr, "data_dir", cx_json_text(drill->data), "cert_dir",
                       cx_json_text(cx_exists(restored_certs) ? restored_certs : config->cert_dir),
                       "log_dir", cx_json_text(drill->scratch), "run_dir", cx_json_text(run_dir),
                       "bootstrap_expect", 1);
    *path = cx_path_join(drill->scratch, "drill.yaml");
    return cx_config_write(*path, values, err);
}

/* In the child: it dies with us, so that a drill that is killed leaves no node behind. Ends with 127 as a
 * shell does. */
static void become_node(const char *program, char **argv, const char *log, pid_t parent)
{
    int null = open("/dev/null", O_RDWR);
    int errors = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || null < 0 || errors < 0 ||
        dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(errors, STDERR_FILENO) < 0)
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    execvp(program, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static bool spawn_node(struct drill *drill, const char *config_path, cx_err *err)
{
    CX_AUTO(cx_free) char *program = cx_proc_sibling("cx-node");
    CX_AUTO(cx_free) char *log = cx_path_join(drill->scratch, "node.log");
    char *argv[] = {program, "run", "--config", (char *)(uintptr_t)config_path, NULL};
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0)
        return cx_fail_errno(err, "start %s", program);
    if (pid == 0)
        become_node(program, argv, log, parent);
    drill->pid = pid;
    return true;
}

/* Why it ended is in the last lines of its log. */
static bool fail_ended(struct drill *drill, cx_err *err)
{
    CX_AUTO(cx_free) char *log = cx_path_join(drill->scratch, "node.log");
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    cx_err ignored;
    size_t size;

    drill->pid = 0;
    if (!cx_read_file(log, 16 * 1024 * 1024, &text, &ignored) || text.size == 0)
        return cx_fail(err, CX_UNAVAILABLE, "the node ended at once");
    size = text.size < LOG_TAIL ? text.size : LOG_TAIL;
    return cx_fail(err, CX_UNAVAILABLE, "the node ended: %s",
                   (const char *)text.data + text.size - size);
}

static bool wait_for_answer(struct drill *drill, const cx_config *scratch_config,
                            int64_t timeout_ms, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    if (!cx_api_open(scratch_config, &api, err))
        return false;
    cx_api_nodes_add(&nodes, scratch_config->node_id, scratch_config->api_addr, "");
    while (!cx_api_call(api, &nodes.items[0], "GET", "/api/v1/node", NULL, 2000, answer, err)) {
        if (waitpid(drill->pid, NULL, WNOHANG) == drill->pid)
            return fail_ended(drill, err);
        if (cx_now_ms() >= deadline_ms)
            return cx_wrap(err, "the node does not answer");
        if (!cx_api_pause(POLL_MS, err))
            return false;
    }
    return true;
}

/* What was acknowledged is there: every message that the restored counters know of is kept or was purged. */
static bool check_messages(const cx_config *scratch_config, cx_err *err)
{
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(cx_json_free) json_t *stats = NULL;
    const json_t *lost;

    if (!cx_api_open(scratch_config, &api, err))
        return false;
    cx_api_nodes_add(&nodes, scratch_config->node_id, scratch_config->api_addr, "");
    if (!cx_api_call(api, &nodes.items[0], "GET", "/api/v1/messages/stats", NULL, STATS_MS, &stats,
                     err))
        return false;
    lost = json_object_get(stats, "lost");
    if (!json_is_integer(lost))
        return cx_fail(err, CX_PROTOCOL, "the node does not say how many messages are lost");
    return json_integer_value(lost) == 0 ||
           cx_fail(err, CX_CORRUPT, "%lld acknowledged messages are not in the backup",
                   (long long)json_integer_value(lost));
}

static void stop_node(struct drill *drill)
{
    int64_t deadline_ms = cx_now_ms() + STOP_TIMEOUT_MS;
    cx_err ignored;

    if (drill->pid <= 0 || kill(drill->pid, SIGTERM) < 0)
        return;
    while (cx_now_ms() < deadline_ms) {
        if (waitpid(drill->pid, NULL, WNOHANG) == drill->pid) {
            drill->pid = 0;
            return;
        }
        if (!cx_api_pause(POLL_MS, &ignored))
            return;
    }
}

/* ---- the steps */

static bool restore_data(struct drill *drill, const cx_config *config, restore_backup *backup,
                         cx_err *err)
{
    CX_AUTO(restore_job_close)
    restore_job job = {.config = config,
                       .backup = backup,
                       .target = drill->data,
                       .lock_fd = -1,
                       .node_lock_fd = -1};
    cx_list all = {0};

    if (!restore_lay_out(&job, &all, err))
        return false;
    job.progress = cx_progress_start(drill->option->progress, "restoring", 0, cx_now_ms());
    if (!restore_make_stages(&job, err) || !restore_fill_stages(&job, err) ||
        !restore_swap(&job, err))
        return false;
    cx_progress_end(&job.progress, cx_now_ms());
    return true;
}

static void run_node(struct drill *drill, const cx_run *run, const cx_config *config,
                     const cx_manifest *manifest, json_t **answer, int64_t *answered_ms)
{
    CX_AUTO(cx_free) char *path = NULL;
    CX_AUTO(cx_config_free) cx_config *scratch_config = NULL;
    cx_err err = {0};
    bool started =
        suspend_agents(drill, &err) && write_config(drill, config, manifest, &path, &err) &&
        cx_config_load(path, false, &scratch_config, &err) && spawn_node(drill, path, &err);

    if (!note_step(drill, "start", started, &err) ||
        !note_step(drill, "answer",
                   wait_for_answer(drill, scratch_config, cx_timeout_or(run, START_TIMEOUT_MS),
                                   answer, &err),
                   &err))
        return;
    *answered_ms = cx_now_ms();
    note_step(drill, "messages", check_messages(scratch_config, &err), &err);
}

static bool make_scratch(struct drill *drill, cx_err *err)
{
    const char *place = drill->option->scratch;
    CX_AUTO(cx_free) char *pattern = NULL;

    if (place == NULL)
        place = getenv("TMPDIR");
    if (place == NULL || place[0] == '\0')
        place = "/var/tmp";
    pattern = cx_format("%s/cx-drill-XXXXXX", place);
    if (mkdtemp(pattern) == NULL)
        return cx_fail_errno(err, "make a folder in %s", place);
    drill->scratch = CX_TAKE(pattern);
    drill->data = cx_path_join(drill->scratch, "data");

    CX_AUTO(cx_free) char *lock = cx_path_join(drill->scratch, "drill.lock");

    return cx_lock(lock, &drill->lock_fd, err);
}

static void add_figures(json_t *document, const json_t *answer)
{
    const json_t *agents = json_object_get(json_object_get(answer, "agents"), "total");
    const json_t *messages = json_object_get(answer, "messages");
    static const char *const states[] = {"queued", "in_flight", "done", "failed"};
    json_int_t count = 0;

    if (answer == NULL)
        return;
    for (size_t i = 0; i < CX_COUNT(states); i++)
        count += json_integer_value(json_object_get(messages, states[i]));
    json_object_set_new(document, "agents", json_integer(json_integer_value(agents)));
    json_object_set_new(document, "messages", json_integer(count));
}

static bool drill_run(cx_run *run, const void *parsed, cx_err *err)
{
    const struct drill_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(restore_close) restore_backup backup = {0};
    CX_AUTO(close_drill)
    struct drill drill = {
        .option = option, .steps = json_array(), .ok = true, .keep = option->keep, .lock_fd = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    int64_t rpo_ms, answered_ms = 0;
    cx_err failure = {0};

    if (!restore_config(run, &config, err) ||
        !restore_open(run, config, &option->source, true, &backup, err) ||
        !make_scratch(&drill, err))
        return false;
    rpo_ms = cx_wall_ms() - backup.manifest->created_ms;
    drill.step_started_ms = cx_now_ms();
    if (note_step(&drill, "restore", restore_data(&drill, config, &backup, &failure), &failure) &&
        !option->no_start)
        run_node(&drill, run, config, backup.manifest, &answer, &answered_ms);
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "interrupted");
    if (answered_ms == 0)
        answered_ms = cx_now_ms();
    stop_node(&drill);
    document = json_pack(
        "{s:b, s:s, s:o, s:o, s:o, s:O, s:I, s:I}", "ok", drill.ok, "id", backup.manifest->id,
        "created_at", cx_json_time(backup.manifest->created_ms), "rpo_seconds",
        cx_json_figure(rpo_ms < 0 ? 0 : (double)rpo_ms / 1000), "rto_seconds",
        cx_json_figure((double)(answered_ms - run->started_ms) / 1000), "steps", drill.steps,
        "files", (json_int_t)backup.manifest->files, "bytes", (json_int_t)backup.manifest->bytes);
    add_figures(document, answer);
    if (drill.keep)
        json_object_set_new(document, "scratch", cx_json_text(drill.scratch));
    run->answer_no = !drill.ok;
    return cx_emit(run, document, err);
}

const cx_command restore_drill = {
    .name = "drill",
    .arguments = "[ID]",
    .arguments_max = 1,
    .summary = "restore into a scratch folder and start a node on it, to see that it works",
    .description =
        "Nothing of the node's own is touched. The scratch node listens on the loopback interface "
        "alone, has no gossip, and its agents stay suspended, so that no message is done twice. "
        "rpo_seconds is the age of the backup, rto_seconds the time until the node answered. Exit "
        "status 1 when it did not work; `steps` tells where.",
    .options = options,
    .options_size = sizeof(struct drill_options),
    .run = drill_run,
};

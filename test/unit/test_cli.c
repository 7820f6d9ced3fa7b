#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cli.h"
#include "base/io.h"

/* ---- a tool to try: `show` prints what it was given, the others end in each way there is */

struct show_options {
    const char *mode, *name;
    int64_t deadline_ms, size_bytes, count;
    bool force;
    cx_list tags;
    cx_list words;
};

static const cx_option show_options[] = {
    {"mode", CX_CHOICE(struct show_options, mode), "drain|maintenance", "drain", "the new state"},
    {"name", CX_TEXT(struct show_options, name), "NAME", "", "a name"},
    {"deadline", CX_DURATION(struct show_options, deadline_ms), "DUR", "60s", "stop waiting then"},
    {"size", CX_SIZE(struct show_options, size_bytes), "SIZE", "64K", "a size"},
    {"count", CX_INT(struct show_options, count), "N", NULL, "how many"},
    {"force", CX_FLAG(struct show_options, force), NULL, NULL, "all the same"},
    {"tag", CX_LIST(struct show_options, tags), "K=V", NULL, "a tag"},
    {"word", CX_LIST(struct show_options, words), "WORD", "default", "a word"},
    {0},
};

static json_t *list_to_json(const char *const *items, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(items[i]));
    return list;
}

static bool show(cx_run *run, const void *parsed, cx_err *err)
{
    const struct show_options *option = parsed;
    CX_AUTO(cx_json_free)
    json_t *json = json_pack(
        "{s:s, s:s?, s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:b, s:s, s:b, s:I}", "mode", option->mode,
        "name", option->name, "deadline_ms", (json_int_t)option->deadline_ms, "size_bytes",
        (json_int_t)option->size_bytes, "count", (json_int_t)option->count, "force", option->force,
        "tags", list_to_json((const char *const *)option->tags.items, option->tags.count), "words",
        list_to_json((const char *const *)option->words.items, option->words.count), "args",
        list_to_json(run->args, run->arg_count), "dry_run", run->dry_run, "config",
        run->config_path, "config_is_default", run->config_is_default, "timeout_ms",
        (json_int_t)run->timeout_ms);

    return cx_emit(run, json, err);
}

static const cx_command show_command = {
    .name = "show",
    .arguments = "[NODE…]",
    .summary = "prints what it was given",
    .description = "First line.\n\n  Second paragraph.",
    .options = show_options,
    .options_size = sizeof(struct show_options),
    .changes = true,
    .run = show,
};

static bool answer_no(cx_run *run, const void *options, cx_err *err)
{
    (void)options;
    run->answer_no = true;
    return cx_emit_text(run, "no\n", err);
}

static bool fail_busy(cx_run *run, const void *options, cx_err *err)
{
    (void)options;
    cx_remark(run, "about to fail");
    cx_fail(err, CX_BUSY, "held by process 7");
    return cx_hint(err, "wait");
}

static bool own_status(cx_run *run, const void *options, cx_err *err)
{
    (void)options;
    run->exit_status = 3;
    return cx_fail(err, CX_IO, "unknown");
}

static bool fail_silently(cx_run *run, const void *options, cx_err *err)
{
    (void)run;
    (void)options;
    (void)err;
    return false;
}

static void say_destroyed(const char **text)
{
    if (write(STDOUT_FILENO, *text, strlen(*text)) < 0)
        abort();
}

/* Ready once it says so; ends by a signal only. */
static bool wait_for_signal(cx_run *run, const void *options, cx_err *err)
{
    CX_AUTO(say_destroyed) const char *text = "destroyed\n";

    (void)options;
    if (!cx_emit_text(run, "ready\n", err))
        return false;
    while (!cx_interrupted())
        poll(NULL, 0, 1000);
    return cx_fail(err, CX_INTERRUPTED, "interrupted");
}

static bool print_table(cx_run *run, const void *options, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_pack(
        "{s:[{s:s, s:i, s:n, s:{s:f}, s:b}, {s:s, s:i, s:n, s:[ss], s:b}], s:i, s:{s:{s:s}}, s:s}",
        "members", "node_id", "node-1", "queued", 5, "gone", "latency_ms", "p50", 0.125, "ok", 1,
        "node_id", "n\033[2J2", "queued", 12345, "gone", "latency_ms", "a", "b", "ok", 0, "count",
        2, "deep", "er", "x", "y", "pem", "A\nB\n");

    (void)options;
    return cx_emit(run, json, err);
}

static bool print_stream(cx_run *run, const void *options, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *json =
        json_pack("{s:s, s:s, s:s}", "time", "T", "event", "member_failed", "node_id", "node-1");

    (void)options;
    return cx_emit_line(run, json, err) && cx_emit_line(run, json, err);
}

#define PLAIN(variable, word, function) \
    static const cx_command variable = {.name = word, .summary = "s", .run = function}
PLAIN(no_command, "answer no", answer_no);
PLAIN(list_command, "token list", answer_no);
PLAIN(busy_command, "busy", fail_busy);
PLAIN(status_command, "status", own_status);
PLAIN(silent_command, "silent", fail_silently);
PLAIN(wait_command, "wait", wait_for_signal);
PLAIN(table_command, "table", print_table);
PLAIN(stream_command, "stream", print_stream);
PLAIN(keys_command, "keys", answer_no);
static const cx_command keys_show_command = {.name = "keys show",
                                             .arguments = "KEY",
                                             .arguments_min = 1,
                                             .arguments_max = 1,
                                             .summary = "s",
                                             .run = print_stream};

static const cx_command *const commands[] = {
    &show_command,   &no_command,     &list_command,      &busy_command,
    &status_command, &silent_command, &wait_command,      &table_command,
    &stream_command, &keys_command,   &keys_show_command, NULL,
};

/* ---- running it */

struct result {
    int status; /* as waitpid gives it */
    cx_buffer output, errors;
};

static void free_result(struct result *result)
{
    cx_buffer_free(&result->output);
    cx_buffer_free(&result->errors);
}

static void read_all(int fd, cx_buffer *text)
{
    ssize_t got;

    cx_buffer_add(text, "", 0);
    while ((got = read(fd, cx_buffer_reserve(text, 4096), 4096)) > 0)
        text->size += (size_t)got;
    text->data[text->size] = '\0';
    close(fd);
}

/* Output fits into a pipe, so the two may be read one after the other. `output` (-1: a pipe) takes
 * the place of stdout. */
static pid_t start(const char *const *words, int output, int fds[2])
{
    const char *argv[16] = {"/usr/bin/cx-try"};
    int argc = 1;
    int out[2];
    int errors[2];

    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = words[argc - 1];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(errors, O_CLOEXEC), 0);

    pid_t child = fork();

    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        dup2(output >= 0 ? output : out[1], STDOUT_FILENO);
        dup2(errors[1], STDERR_FILENO);
        exit(cx_tool_main("A tool to try.", commands, argc, (char **)argv));
    }
    close(out[1]);
    close(errors[1]);
    fds[0] = out[0];
    fds[1] = errors[0];
    return child;
}

static struct result finish(pid_t child, const int fds[2])
{
    struct result result = {0};

    read_all(fds[0], &result.output);
    read_all(fds[1], &result.errors);
    assert_int_equal(waitpid(child, &result.status, 0), child);
    return result;
}

static struct result run_words(const char *const *words)
{
    int fds[2];
    pid_t child = start(words, -1, fds);

    return finish(child, fds);
}

#define RUN(...) run_words((const char *const[]){__VA_ARGS__, NULL})

static void assert_exit(const struct result *result, int status)
{
    if (!WIFEXITED(result->status) || WEXITSTATUS(result->status) != status)
        fail_msg("exit is not %d: %x %s", status, (unsigned)result->status,
                 (char *)result->errors.data);
}

static json_t *document(const struct result *result)
{
    json_t *json = NULL;
    cx_err err;

    assert_exit(result, 0);
    assert_string_equal((char *)result->errors.data, "");
    if (!cx_json_parse(cx_buffer_bytes(&result->output), 100000, "output", &json, &err))
        fail_msg("%s", err.message);
    return json;
}

/* The error is one line of JSON, nothing is on stdout. */
static void assert_error(struct result result, const char *code, int status, const char *hint)
{
    json_t *json = NULL;
    cx_err err;

    assert_exit(&result, status);
    assert_string_equal((char *)result.output.data, "");
    assert_true(cx_json_parse(cx_buffer_bytes(&result.errors), 10000, "errors", &json, &err));

    const json_t *error = json_object_get(json, "error");

    assert_string_equal(cx_json_text_or_empty(error, "code"), code);
    assert_string_equal(cx_json_text_or_empty(error, "hint"), hint);
    assert_true(cx_json_text_or_empty(error, "message")[0] != '\0');
    cx_json_free(&json);
    free_result(&result);
}

static void assert_usage(struct result result, const char *hint)
{
    assert_error(result, "usage", EX_USAGE, hint);
}

/* ---- tests */

static void defaults_are_parsed_as_if_typed(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("show");
    CX_AUTO(cx_json_free) json_t *json = document(&result);
    CX_AUTO(cx_free) char *line = cx_json_line(json);

    (void)state;
    assert_string_equal(
        line, "{\"mode\":\"drain\",\"name\":\"\",\"deadline_ms\":60000,\"size_bytes\":65536,"
              "\"count\":0,\"force\":false,\"tags\":[],\"words\":[\"default\"],\"args\":[],"
              "\"dry_run\":false,\"config\":\"/etc/caxton/config.yaml\",\"config_is_default\":true,"
              "\"timeout_ms\":0}");
}

static void options_stand_anywhere_in_either_form(void **state)
{
    CX_AUTO(free_result)
    struct result result =
        RUN("--config", "F", "show", "a", "--mode=maintenance", "--tag", "1", "--force", "--tag=2",
            "--name=", "--timeout", "5m", "--dry-run", "--");
    CX_AUTO(cx_json_free) json_t *json = document(&result);
    CX_AUTO(cx_free) char *line = cx_json_line(json);

    (void)state;
    assert_string_equal(
        line, "{\"mode\":\"maintenance\",\"name\":\"\",\"deadline_ms\":60000,\"size_bytes\":65536,"
              "\"count\":0,\"force\":true,\"tags\":[\"1\",\"2\"],\"words\":[\"default\"],"
              "\"args\":[\"a\"],\"dry_run\":true,\"config\":\"F\",\"config_is_default\":false,"
              "\"timeout_ms\":300000}");
}

static void what_follows_two_dashes_is_no_option(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("show", "-", "--", "--force", "--", "-x");
    CX_AUTO(cx_json_free) json_t *json = document(&result);
    CX_AUTO(cx_free) char *args = cx_json_line(json_object_get(json, "args"));

    (void)state;
    assert_string_equal(args, "[\"-\",\"--force\",\"--\",\"-x\"]");
    assert_true(json_is_false(json_object_get(json, "force")));
}

static void the_environment_names_the_configuration(void **state)
{
    (void)state;
    setenv("CX_CONFIG", "/env.yaml", 1);

    CX_AUTO(free_result) struct result result = RUN("show");
    CX_AUTO(free_result) struct result option = RUN("show", "--config", "/option.yaml");

    unsetenv("CX_CONFIG");
    CX_AUTO(cx_json_free) json_t *json = document(&result);
    CX_AUTO(cx_json_free) json_t *option_json = document(&option);
    assert_string_equal(cx_json_text_or_empty(json, "config"), "/env.yaml");
    assert_true(json_is_false(json_object_get(json, "config_is_default")));
    assert_string_equal(cx_json_text_or_empty(option_json, "config"), "/option.yaml");
}

static void a_mistyped_word_names_the_nearest(void **state)
{
    (void)state;
    assert_usage(RUN("shwo"), "did you mean 'show'?");
    assert_usage(RUN("token", "lsit"), "did you mean 'token list'?");
    assert_usage(RUN("tokne", "list"), "did you mean 'token'?");
    assert_usage(RUN("show", "--foce"), "did you mean '--force'?");
    assert_usage(RUN("show", "--conut=5"), "did you mean '--count'?");
    assert_usage(RUN("show", "--dry-rum"), "did you mean '--dry-run'?");
    assert_usage(RUN("show", "--jsno"), "did you mean '--json'?");
    assert_usage(RUN("show", "--mode", "drian"), "did you mean 'drain'?");
    assert_usage(RUN("--jsno", "show"), "did you mean '--json'?");
}

static void what_is_wrong_is_refused_before_the_command_runs(void **state)
{
    static const char see_show[] = "cx-try show --help lists them";
    static const char see_busy[] = "cx-try busy --help lists them";

    (void)state;
    assert_usage(RUN("token"), "one of list");
    assert_usage(RUN("zzzzzz"),
                 "one of show, answer, token, busy, status, silent, wait, table, stream, keys");
    assert_usage(RUN("show", "--zzzzzzzz"), see_show);
    assert_usage(RUN("show", "-z"), see_show);
    assert_usage(RUN("show", "--"
                             "=x"),
                 see_show);
    assert_usage(RUN("busy", "--dry-run"), see_busy);
    assert_usage(RUN("busy", "x"), "cx-try busy --help tells more");
    assert_usage(RUN("keys", "show"), "cx-try keys show --help tells more");
    assert_usage(RUN("keys", "show", "a", "b"), "cx-try keys show --help tells more");
    assert_usage(RUN("show", "--force=yes"), "");
    assert_usage(RUN("show", "--dry-run=yes"), "");
    assert_usage(RUN("show", "--count"), "");
    assert_usage(RUN("show", "--count", "--force"),
                 "write --count=VALUE for one that begins with --");
    assert_usage(RUN("show", "--count", "-1"), "");
    assert_usage(RUN("show", "--count="), "");
    assert_usage(RUN("show", "--count", "9223372036854775808"), "");
    assert_usage(RUN("show", "--mode", "maintenance|drain"), "");
    assert_usage(RUN("show", "--mode="), "");
    assert_usage(RUN("show", "--json", "--table"), "");
    assert_usage(RUN("--name", "x", "show"), "a command's own options follow it");
}

static void bad_values_explain_how_to_write_them(void **state)
{
    (void)state;
    assert_usage(RUN("show", "--deadline", "5"),
                 "write a whole number and one of ms s m h d w, like 250ms, 30s or 5m");
    assert_usage(RUN("show", "--size", "5X"),
                 "write a whole number and, if needed, one of K M G T, like 64K or 10M");
}

static void one_word_may_be_a_command_and_begin_others(void **state)
{
    CX_AUTO(free_result) struct result alone = RUN("keys");
    CX_AUTO(free_result) struct result both = RUN("keys", "--json", "show", "k");

    (void)state;
    assert_exit(&alone, 1);
    assert_exit(&both, 0);
    assert_usage(RUN("keys", "shwo"), "cx-try keys --help tells more"); /* an argument of `keys` */
}

static void no_command_is_an_error(void **state)
{
    (void)state;
    assert_usage(run_words((const char *const[]){NULL}),
                 "one of show, answer, token, busy, status, silent, wait, table, stream, keys");
    assert_usage(RUN("--json"),
                 "one of show, answer, token, busy, status, silent, wait, table, stream, keys");
}

static void help_needs_no_right_command_line(void **state)
{
    CX_AUTO(free_result) struct result overview = RUN("--help");
    CX_AUTO(free_result) struct result one = RUN("keys", "show", "--help");
    CX_AUTO(free_result) struct result wrong = RUN("show", "--zzz", "-h");
    CX_AUTO(free_result) struct result family = RUN("token", "--help");

    (void)state;
    assert_exit(&overview, 0);
    assert_non_null(strstr((char *)overview.output.data, "\n  token list"));
    assert_exit(&one, 0);
    assert_non_null(strstr((char *)one.output.data, "Usage: cx-try keys show [options] KEY\n"));
    assert_exit(&wrong, 0);
    assert_non_null(strstr((char *)wrong.output.data, "--mode drain|maintenance"));
    assert_non_null(strstr((char *)wrong.output.data, "(default 60s)"));
    assert_null(strstr((char *)wrong.output.data, "(default )"));
    assert_non_null(strstr((char *)wrong.output.data, "\n\nSecond paragraph.\n"));
    assert_exit(&family, 0);
    assert_non_null(strstr((char *)family.output.data, "\n  token list"));
    assert_null(strstr((char *)family.output.data, "\n  show"));
    assert_usage(RUN("shwo", "--help"), "did you mean 'show'?");
}

static void the_version_is_the_makefiles(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("--version");

    (void)state;
    assert_exit(&result, 0);
    assert_string_equal((char *)result.output.data, "cx-try " CX_VERSION "\n");
}

static void the_tables_are_described_as_json(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("--describe");
    CX_AUTO(cx_json_free) json_t *json = document(&result);
    const json_t *first = json_array_get(json_object_get(json, "commands"), 0);
    const json_t *options = json_object_get(first, "options");

    (void)state;
    assert_string_equal(cx_json_text_or_empty(json, "program"), "cx-try");
    assert_int_equal(json_array_size(json_object_get(json, "commands")), CX_COUNT(commands) - 1);
    assert_string_equal(cx_json_text_or_empty(first, "name"), "show");
    assert_int_equal(json_array_size(options), CX_COUNT(show_options)); /* --dry-run for {0} */
    assert_string_equal(cx_json_text_or_empty(json_array_get(options, 0), "kind"), "choice");
    assert_int_equal(json_array_size(json_object_get(json_array_get(options, 0), "choices")), 2);
}

static void each_outcome_has_its_exit_status(void **state)
{
    CX_AUTO(free_result) struct result no = RUN("answer", "no");

    (void)state;
    assert_exit(&no, 1);
    assert_string_equal((char *)no.output.data, "no\n");
    assert_error(RUN("busy", "--quiet"), "busy", EX_TEMPFAIL, "wait");
    assert_error(RUN("status"), "io", 3, "");
    assert_error(RUN("silent"), "internal", EX_SOFTWARE, "");
}

static void remarks_are_json_beside_errors(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("busy");

    (void)state;
    assert_exit(&result, EX_TEMPFAIL);
    assert_non_null(strstr((char *)result.errors.data, "{\"remark\":\"about to fail\"}\n"));
}

static void a_table_is_aligned_and_harmless(void **state)
{
    CX_AUTO(free_result) struct result result = RUN("table", "--table");

    (void)state;
    assert_exit(&result, 0);
    assert_string_equal((char *)result.output.data, "count:     2\n"
                                                    "deep.er.x: y\n"
                                                    "pem:\n"
                                                    "  A\n"
                                                    "  B\n"
                                                    "\n"
                                                    "NODE_ID  QUEUED  LATENCY_MS  OK\n"
                                                    "node-1        5  p50=0.125   yes\n"
                                                    "n?[2J2    12345  a,b         no\n");
}

static void a_stream_is_a_line_each(void **state)
{
    CX_AUTO(free_result) struct result people = RUN("stream", "--table");
    CX_AUTO(free_result) struct result programs = RUN("stream");

    (void)state;
    assert_string_equal((char *)people.output.data,
                        "T  member_failed  node_id=node-1\nT  member_failed  node_id=node-1\n");
    assert_int_equal(
        programs.output.size,
        2 * strlen("{\"time\":\"T\",\"event\":\"member_failed\",\"node_id\":\"node-1\"}\n"));
}

static void a_stdout_that_takes_nothing_is_an_io_error(void **state)
{
    static const char *const words[][3] = {
        {"show", NULL},      {"answer", "no", NULL}, {"--help", NULL},
        {"--version", NULL}, {"--describe", NULL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(words); i++) {
        CX_AUTO(cx_fd_close) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        int fds[2];
        pid_t child = start(words[i], full, fds);

        assert_error(finish(child, fds), "io", EX_IOERR, "");
    }
}

static void a_reader_that_left_is_an_io_error(void **state)
{
    int pipes[2];
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    close(pipes[0]);

    pid_t child = start((const char *const[]){"stream", NULL}, pipes[1], fds);

    close(pipes[1]);
    assert_error(finish(child, fds), "io", EX_IOERR, "");
}

static void a_signal_runs_destructors_and_ends_the_process_by_itself(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(signals); i++) {
        int fds[2];
        pid_t child = start((const char *const[]){"wait", NULL}, -1, fds);
        char ready[6];

        assert_int_equal(read(fds[0], ready, sizeof(ready)), sizeof(ready));
        assert_int_equal(kill(child, signals[i]), 0);

        CX_AUTO(free_result) struct result result = finish(child, fds);

        assert_string_equal((char *)result.output.data, "destroyed\n");
        assert_true(WIFSIGNALED(result.status));
        assert_int_equal(WTERMSIG(result.status), signals[i]);
        assert_non_null(strstr((char *)result.errors.data, "\"interrupted\""));

        CX_AUTO(cx_free) char *told = cx_format("\"exit\":%d}", 128 + signals[i]);

        assert_non_null(strstr((char *)result.errors.data, told));
    }
}

/* On a terminal: a table on stdout and a sentence on stderr. */
static void people_get_sentences_and_tables(void **state)
{
    static const char *const words[][3] = {{"stream", NULL}, {"shwo", NULL}, {"busy", NULL}};
    static const char *const texts[] = {
        "T  member_failed  node_id=node-1\r\nT  member_failed  node_id=node-1\r\n",
        "cx-try: unknown command 'shwo' (did you mean 'show'?)\r\n",
        "cx-try: about to fail\r\ncx-try: held by process 7 (wait)\r\n",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(words); i++) {
        int terminal = posix_openpt(O_RDWR | O_NOCTTY);
        cx_buffer output = {0};

        assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);

        int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
        const char *argv[] = {"cx-try", words[i][0], NULL};
        pid_t child = fork();

        assert_true(slave >= 0);
        if (child == 0) {
            dup2(slave, STDOUT_FILENO);
            dup2(slave, STDERR_FILENO);
            exit(cx_tool_main("A tool to try.", commands, 2, (char **)argv));
        }
        close(slave);
        read_all(terminal, &output);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_string_equal((char *)output.data, texts[i]);
        cx_buffer_free(&output);
    }
}

static void time_left_is_never_zero(void **state)
{
    cx_run run = {.timeout_ms = 1, .started_ms = -1000000};

    (void)state;
    assert_int_equal(cx_timeout_or(&run, 5), 1);
    run.timeout_ms = 0;
    assert_int_equal(cx_timeout_or(&run, 5), 1);
    run.timeout_ms = INT64_C(1) << 60;
    assert_true(cx_timeout_or(&run, 5) > INT64_C(1) << 59);
}

static void a_call_takes_what_the_timeout_leaves_at_most(void **state)
{
    cx_run run = {.timeout_ms = 0, .started_ms = -1000000};

    (void)state;
    assert_int_equal(cx_timeout_within(&run, 5000), 5000);
    run.timeout_ms = 1;
    assert_int_equal(cx_timeout_within(&run, 5000), 1);
    run.timeout_ms = INT64_C(1) << 60;
    assert_int_equal(cx_timeout_within(&run, 5000), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_parsed_as_if_typed),
        cmocka_unit_test(options_stand_anywhere_in_either_form),
        cmocka_unit_test(what_follows_two_dashes_is_no_option),
        cmocka_unit_test(the_environment_names_the_configuration),
        cmocka_unit_test(a_mistyped_word_names_the_nearest),
        cmocka_unit_test(what_is_wrong_is_refused_before_the_command_runs),
        cmocka_unit_test(bad_values_explain_how_to_write_them),
        cmocka_unit_test(one_word_may_be_a_command_and_begin_others),
        cmocka_unit_test(no_command_is_an_error),
        cmocka_unit_test(help_needs_no_right_command_line),
        cmocka_unit_test(the_version_is_the_makefiles),
        cmocka_unit_test(the_tables_are_described_as_json),
        cmocka_unit_test(each_outcome_has_its_exit_status),
        cmocka_unit_test(remarks_are_json_beside_errors),
        cmocka_unit_test(a_table_is_aligned_and_harmless),
        cmocka_unit_test(a_stream_is_a_line_each),
        cmocka_unit_test(a_stdout_that_takes_nothing_is_an_io_error),
        cmocka_unit_test(a_reader_that_left_is_an_io_error),
        cmocka_unit_test(a_signal_runs_destructors_and_ends_the_process_by_itself),
        cmocka_unit_test(people_get_sentences_and_tables),
        cmocka_unit_test(time_left_is_never_zero),
        cmocka_unit_test(a_call_takes_what_the_timeout_leaves_at_most),
    };

    unsetenv("CX_CONFIG");
    return cmocka_run_group_tests(tests, NULL, NULL);
}

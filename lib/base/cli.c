#include "base/cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cli_parts.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

const char cx_version[] = CX_VERSION;

enum { SHELL_SIGNAL_BASE = 128 }; /* what a shell adds to a signal that ended a process */

static const char config_default[] = "/etc/caxton/config.yaml";

const cx_option cx_cli_common_options[CX_CLI_COMMON_MAX] = {
    {"config", CX_TEXT(cx_cli_common, config), "FILE", NULL,
     "the node's configuration, else $CX_CONFIG, else /etc/caxton/config.yaml"},
    {"json", CX_FLAG(cx_cli_common, json), NULL, NULL, "print JSON, also on a terminal"},
    {"table", CX_FLAG(cx_cli_common, table), NULL, NULL, "print for people, also into a pipe"},
    {"quiet", CX_FLAG(cx_cli_common, quiet), NULL, NULL, "no remarks on stderr"},
    {"verbose", CX_FLAG(cx_cli_common, verbose), NULL, NULL, "more remarks on stderr"},
    {"timeout", CX_DURATION(cx_cli_common, timeout_ms), "DUR", NULL, "give up then"},
    {"help", CX_FLAG(cx_cli_common, help), NULL, NULL, "this text"},
    {0},
};

const cx_option cx_cli_dry_run_option = {
    "dry-run", CX_FLAG(cx_cli_common, dry_run),           NULL,
    NULL,      "tell what would be done, change nothing",
};

/* The only state of lib that is not passed on: a signal handler can reach nothing else. */
static volatile sig_atomic_t signal_arrived;

/* ---- signals and descriptors */

static void on_signal(int number)
{
    signal_arrived = number;
}

/* Without SA_RESTART, so that blocking calls return. A signal that our parent had ignored (nohup, a
 * shell's background job) stays ignored. */
static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old;

    sigaction(SIGPIPE, &ignore, NULL);
    for (size_t i = 0; i < CX_COUNT(numbers); i++)
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

static void die_of_signal(int number)
{
    sigset_t set;

    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* If 0, 1 or 2 is closed, the next file that is opened takes its place, and what is meant for stdout
 * would land in it. Opened for reading, stdout still fails. */
static void occupy_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

/* ---- the table's words */

struct line {
    const cx_cli_tool *tool;
    int argc;
    char **argv;
    const cx_command *command;
    int word_at[2]; /* where in argv the command's words are; 0: nowhere */
    cx_cli_common common;
    void *options;
    const char **args;
    size_t arg_count;
};

static void free_line(struct line *line)
{
    for (const cx_option *option = line->command != NULL ? line->command->options : NULL;
         line->options != NULL && option != NULL && option->name != NULL; option++)
        if (option->kind == CX_KIND_LIST)
            cx_list_free((cx_list *)(void *)((char *)line->options + option->offset));
    cx_free(&line->options);
    cx_free(&line->args);
}

static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0';
}

static const cx_option *find_in(const cx_option *options, const char *name, size_t size)
{
    for (; options != NULL && options->name != NULL; options++)
        if (strlen(options->name) == size && memcmp(options->name, name, size) == 0)
            return options;
    return NULL;
}

/* The command with this one word, or with these two. */
static const cx_command *find_command(const cx_cli_tool *tool, const char *first,
                                      const char *second)
{
    CX_AUTO(cx_free)
    char *name = second == NULL ? cx_strdup(first) : cx_format("%s %s", first, second);

    for (size_t i = 0; tool->commands[i] != NULL; i++)
        if (strcmp(tool->commands[i]->name, name) == 0)
            return tool->commands[i];
    return NULL;
}

/* The first words of all commands, or the second ones of those that begin with `first`. */
static cx_list command_words(const cx_cli_tool *tool, const char *first)
{
    cx_list words = {0};

    for (size_t i = 0; tool->commands[i] != NULL; i++) {
        const char *name = tool->commands[i]->name;
        size_t size = strcspn(name, " ");
        CX_AUTO(cx_free) char *word = cx_strndup(name, size);

        if (first == NULL && !cx_list_has(&words, word))
            cx_list_take(&words, CX_TAKE(word));
        else if (first != NULL && strcmp(word, first) == 0 && name[size] == ' ')
            cx_list_add(&words, name + size + 1);
    }
    return words;
}

static char *join_words(const cx_list *words)
{
    cx_buffer text = {0};

    for (size_t i = 0; i < words->count; i++)
        cx_buffer_addf(&text, "%s%s", i > 0 ? ", " : "", words->items[i]);
    return cx_buffer_take_text(&text);
}

static bool unknown_command(const cx_cli_tool *tool, const char *first, const char *second,
                            cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list words = command_words(tool, second != NULL ? first : NULL);
    const char *word = second != NULL ? second : first;
    const char *nearest = cx_nearest(word, (const char *const *)words.items, words.count);

    cx_fail(err, CX_USAGE, "unknown command '%.64s%s%.64s'", first, second != NULL ? " " : "",
            second != NULL ? second : "");
    if (nearest != NULL)
        return cx_hint(err, "did you mean '%s%s%s'?", second != NULL ? first : "",
                       second != NULL ? " " : "", nearest);

    CX_AUTO(cx_free) char *all = join_words(&words);

    return cx_hint(err, "one of %s", all);
}

static bool unknown_option(const struct line *line, const char *text, size_t size, cx_err *err)
{
    const cx_option *tables[] = {
        line->command != NULL ? line->command->options : NULL,
        cx_cli_common_options,
    };
    CX_AUTO(cx_list_free) cx_list names = {0};
    CX_AUTO(cx_free) char *name = cx_strndup(text, size);

    for (size_t i = 0; i < CX_COUNT(tables); i++)
        for (const cx_option *option = tables[i]; option != NULL && option->name != NULL; option++)
            cx_list_take(&names, cx_format("--%s", option->name));
    if (line->command != NULL && line->command->changes)
        cx_list_take(&names, cx_format("--%s", cx_cli_dry_run_option.name));

    const char *nearest = cx_nearest(name, (const char *const *)names.items, names.count);

    cx_fail(err, CX_USAGE, "unknown option '%.64s'", name);
    if (nearest != NULL)
        return cx_hint(err, "did you mean '%s'?", nearest);
    if (line->command == NULL)
        return cx_hint(err, "a command's own options follow it");
    return cx_hint(err, "%s %s --help lists them", line->tool->program, line->command->name);
}

/* ---- values */

static bool choose(const char *choices, const char *text, const char **value, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list words = {0};

    for (const char *rest = choices; *rest != '\0'; rest += *rest == '|') {
        size_t size = strcspn(rest, "|");

        cx_list_take(&words, cx_strndup(rest, size));
        rest += size;
    }
    if (cx_list_has(&words, text)) {
        *value = text;
        return true;
    }

    CX_AUTO(cx_free) char *all = join_words(&words);
    const char *nearest = cx_nearest(text, (const char *const *)words.items, words.count);

    cx_fail(err, CX_USAGE, "'%.64s' is none of %s", text, all);
    return nearest == NULL ? false : cx_hint(err, "did you mean '%s'?", nearest);
}

static bool parse_int(const char *text, int64_t *value, cx_err *err)
{
    int64_t number = 0;

    for (const char *at = text; *at != '\0'; at++)
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *at - '0', &number))
            return cx_fail(err, CX_USAGE, "'%.64s' is no whole number of 0 or more", text);
    if (text[0] == '\0')
        return cx_fail(err, CX_USAGE, "'' is no whole number of 0 or more");
    *value = number;
    return true;
}

/* Writes the value into its field of the options struct, whose type CX_FLAG and its kin checked. */
static bool set_value(void *options, const cx_option *option, const char *text, cx_err *err)
{
    void *field = (char *)options + option->offset;

    switch (option->kind) {
    case CX_KIND_FLAG: *(bool *)field = true; return true;
    case CX_KIND_TEXT: *(const char **)field = text; return true;
    case CX_KIND_CHOICE: return choose(option->value_name, text, field, err);
    case CX_KIND_DURATION: return cx_duration_parse(text, field, err);
    case CX_KIND_SIZE: return cx_size_parse(text, field, err);
    case CX_KIND_INT: return parse_int(text, field, err);
    case CX_KIND_LIST: cx_list_add(field, text); return true;
    }
    return cx_fail(err, CX_INTERNAL, "option of an unknown kind");
}

/* A list's default counts only when no item was given. */
static bool set_defaults(const struct line *line, bool lists, cx_err *err)
{
    for (const cx_option *option = line->command->options; option != NULL && option->name != NULL;
         option++) {
        const cx_list *list = (const cx_list *)(void *)((char *)line->options + option->offset);

        if (option->fallback == NULL || (option->kind == CX_KIND_LIST) != lists ||
            (lists && list->count > 0))
            continue;
        if (!set_value(line->options, option, option->fallback, err)) {
            err->code = CX_INTERNAL;
            return cx_wrap(err, "default of --%s", option->name);
        }
    }
    return true;
}

/* ---- parsing */

/* Where the value of a common option may stand is known before the command is: so options may come
 * first, as in `cx-ca --config FILE list`. */
static bool locate_command(struct line *line, const char **family, cx_err *err)
{
    const cx_cli_tool *tool = line->tool;
    const char *first = NULL;

    for (int i = 1; i < line->argc; i++) {
        const char *text = line->argv[i];
        size_t size = strcspn(text, "=");

        if (strcmp(text, "--") == 0)
            break;
        if (is_option(text)) {
            const cx_option *option = strncmp(text, "--", 2) == 0
                                          ? find_in(cx_cli_common_options, text + 2, size - 2)
                                          : NULL;

            if (option == NULL && strcmp(text, "-h") != 0 && first == NULL)
                return unknown_option(line, text, size, err);
            if (option == NULL)
                break; /* of a one-word command, or a mistake that is named later */
            if (option->kind != CX_KIND_FLAG && text[size] == '\0')
                i++;
            continue;
        }
        if (first == NULL) {
            CX_AUTO(cx_list_free) cx_list seconds = command_words(tool, text);

            first = text;
            line->word_at[0] = i;
            line->command = find_command(tool, first, NULL);
            if (line->command == NULL && seconds.count == 0)
                return unknown_command(tool, first, NULL, err);
            *family = first;
            if (seconds.count == 0)
                return true;
            continue;
        }

        const cx_command *both = find_command(tool, first, text);

        if (both != NULL) {
            line->command = both;
            line->word_at[1] = i;
        } else if (line->command == NULL) {
            return unknown_command(tool, first, text, err);
        }
        return true;
    }
    return true;
}

static bool take_option(struct line *line, int *at, cx_err *err)
{
    const char *text = line->argv[*at];
    size_t size = strcspn(text, "=");
    const char *value = text[size] == '=' ? text + size + 1 : NULL;
    void *target = line->options;
    const cx_option *option = NULL;

    if (strncmp(text, "--", 2) != 0)
        return unknown_option(line, text, size, err);
    option = find_in(line->command->options, text + 2, size - 2);
    if (option == NULL) {
        target = &line->common;
        option = find_in(cx_cli_common_options, text + 2, size - 2);
    }
    if (option == NULL && line->command->changes &&
        strlen(cx_cli_dry_run_option.name) == size - 2 &&
        strncmp(cx_cli_dry_run_option.name, text + 2, size - 2) == 0)
        option = &cx_cli_dry_run_option;
    if (option == NULL)
        return unknown_option(line, text, size, err);
    if (option->kind == CX_KIND_FLAG && value != NULL)
        return cx_fail(err, CX_USAGE, "option '--%s' takes no value", option->name);
    if (option->kind != CX_KIND_FLAG && value == NULL) {
        if (*at + 1 == line->argc)
            return cx_fail(err, CX_USAGE, "option '--%s' needs a value: %s", option->name,
                           option->value_name);
        value = line->argv[++*at];
        if (strncmp(value, "--", 2) == 0) {
            cx_fail(err, CX_USAGE, "option '--%s' needs a value, not '%.64s'", option->name, value);
            return cx_hint(err, "write --%s=VALUE for one that begins with --", option->name);
        }
    }
    if (!set_value(target, option, value, err)) {
        err->code = CX_USAGE;
        return cx_wrap(err, "option '--%s'", option->name);
    }
    return true;
}

static bool check_arguments(const struct line *line, cx_err *err)
{
    const cx_command *command = line->command;
    bool unlimited = command->arguments != NULL && command->arguments_max == 0;

    if (line->arg_count < command->arguments_min)
        cx_fail(err, CX_USAGE, "%s: missing argument: %s", command->name,
                command->arguments != NULL ? command->arguments : "");
    else if (!unlimited && line->arg_count > command->arguments_max)
        cx_fail(err, CX_USAGE, "%s: unexpected argument '%.64s'", command->name,
                line->args[command->arguments_max]);
    else
        return true;
    return cx_hint(err, "%s %s --help tells more", line->tool->program, command->name);
}

static bool parse(struct line *line, cx_err *err)
{
    bool ended = false;

    line->options = cx_alloc(1, line->command->options_size);
    line->args = cx_alloc((size_t)line->argc, sizeof(*line->args));
    if (!set_defaults(line, false, err))
        return false;
    for (int i = 1; i < line->argc; i++) {
        const char *text = line->argv[i];

        if (i == line->word_at[0] || i == line->word_at[1])
            continue;
        if (ended || !is_option(text))
            line->args[line->arg_count++] = text;
        else if (strcmp(text, "--") == 0)
            ended = true;
        else if (!take_option(line, &i, err))
            return false;
    }
    if (line->common.json && line->common.table)
        return cx_fail(err, CX_USAGE, "--json and --table exclude each other");
    return set_defaults(line, true, err) && check_arguments(line, err);
}

/* ---- running */

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static cx_run new_run(const struct line *line)
{
    const char *variable = getenv("CX_CONFIG");
    bool variable_set = variable != NULL && variable[0] != '\0';
    const cx_cli_common *common = &line->common;

    return (cx_run){
        .program = line->tool->program,
        .command = line->command,
        .config_path = common->config != NULL ? common->config
                       : variable_set         ? variable
                                              : config_default,
        .config_is_default = common->config == NULL && !variable_set,
        .args = line->args,
        .arg_count = line->arg_count,
        .dry_run = common->dry_run,
        .quiet = common->quiet,
        .verbose = common->verbose,
        .table = common->table || (!common->json && isatty(STDOUT_FILENO)),
        .timeout_ms = common->timeout_ms,
        .started_ms = cx_now_ms(),
    };
}

static bool run_command(struct line *line, int *status, cx_err *err)
{
    if (!parse(line, err))
        return false;

    cx_run run = new_run(line);
    bool done = line->command->run(&run, line->options, err);

    if (!done && err->code == CX_OK)
        cx_fail(err, CX_INTERNAL, "%s failed without a reason", line->command->name);
    if (done)
        *status = run.exit_status != 0 ? run.exit_status : run.answer_no ? 1 : 0;
    else
        *status = run.exit_status != 0 ? run.exit_status : cx_code_status(err->code);
    return done;
}

static bool print_owned(char *text, cx_err *err)
{
    CX_AUTO(cx_free) char *owned = text;

    return cx_cli_print(owned, err);
}

static bool print_description(const cx_cli_tool *tool, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = cx_cli_describe(tool);
    CX_AUTO(cx_free) char *text = cx_json_line(json);

    return print_owned(cx_format("%s\n", text), err);
}

/* A person who types the bare name of a tool wants to see its commands. */
static bool show_overview(const cx_cli_tool *tool, int *status, cx_err *err)
{
    CX_AUTO(cx_free) char *text = cx_cli_overview(tool, NULL);

    *status = EX_USAGE;
    return cx_write_all(STDERR_FILENO, cx_bytes_of(text), "stderr", err);
}

static bool no_command(const cx_cli_tool *tool, const char *family, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list words = command_words(tool, family);
    CX_AUTO(cx_free) char *all = join_words(&words);

    if (family != NULL)
        cx_fail(err, CX_USAGE, "'%s' alone is no command", family);
    else
        cx_fail(err, CX_USAGE, "no command given");
    return cx_hint(err, "one of %s", all);
}

/* *status stays untouched on a failure that is no command's. */
static bool run_tool(struct line *line, int *status, cx_err *err)
{
    const char *word = line->argc > 1 ? line->argv[1] : "";
    const char *family = NULL;

    if (line->argc < 2 && isatty(STDERR_FILENO))
        return show_overview(line->tool, status, err);
    if (strcmp(word, "--version") == 0)
        return print_owned(cx_format("%s %s\n", line->tool->program, cx_version), err);
    if (strcmp(word, "--describe") == 0)
        return print_description(line->tool, err);
    if (!locate_command(line, &family, err))
        return false;
    if (asks_for_help(line->argc, line->argv))
        return print_owned(line->command != NULL ? cx_cli_help(line->tool, line->command)
                                                 : cx_cli_overview(line->tool, family),
                           err);
    if (line->command == NULL)
        return no_command(line->tool, family, err);
    return run_command(line, status, err);
}

static int run_and_report(const cx_cli_tool *tool, int argc, char **argv)
{
    CX_AUTO(free_line) struct line line = {.tool = tool, .argc = argc, .argv = argv};
    cx_err err = {0};
    int status = 0;

    if (run_tool(&line, &status, &err))
        return status;
    if (status == 0)
        status = cx_code_status(err.code);
    /* What the shell will see: a signal that came is raised again when all is told. */
    cx_cli_report(tool->program, &err,
                  signal_arrived != 0 ? SHELL_SIGNAL_BASE + signal_arrived : status);
    return status;
}

int cx_tool_main(const char *summary, const cx_command *const *commands, int argc, char **argv)
{
    const char *path = argc > 0 ? argv[0] : "cx";
    const char *slash = strrchr(path, '/');
    const cx_cli_tool tool = {
        .program = slash != NULL ? slash + 1 : path,
        .summary = summary,
        .commands = commands,
    };

    occupy_standard_descriptors();
    catch_signals();

    int status = run_and_report(&tool, argc, argv);

    if (signal_arrived != 0)
        die_of_signal(signal_arrived);
    return status;
}

bool cx_interrupted(void)
{
    return signal_arrived != 0;
}

int64_t cx_timeout_or(const cx_run *run, int64_t fallback_ms)
{
    int64_t whole_ms = run->timeout_ms > 0 ? run->timeout_ms : fallback_ms;
    int64_t left_ms = whole_ms - (cx_now_ms() - run->started_ms);

    return left_ms > 0 ? left_ms : 1;
}

int64_t cx_timeout_within(const cx_run *run, int64_t call_ms)
{
    int64_t left_ms = run->timeout_ms > 0 ? cx_timeout_or(run, call_ms) : call_ms;

    return left_ms < call_ms ? left_ms : call_ms;
}

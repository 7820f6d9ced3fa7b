#include <string.h>

#include "base/cli_parts.h"

enum {
    LINE_WIDTH = 90,
    OPTION_WIDTH = 28, /* of the left column of options */
};

static const char *kind_word(cx_option_kind kind)
{
    switch (kind) {
    case CX_KIND_FLAG: return "flag";
    case CX_KIND_TEXT: return "text";
    case CX_KIND_CHOICE: return "choice";
    case CX_KIND_DURATION: return "duration";
    case CX_KIND_SIZE: return "size";
    case CX_KIND_INT: return "int";
    case CX_KIND_LIST: return "list";
    }
    return NULL;
}

static bool is_in_family(const cx_command *command, const char *family)
{
    size_t size = family == NULL ? 0 : strlen(family);

    return family == NULL || (strncmp(command->name, family, size) == 0 &&
                              (command->name[size] == '\0' || command->name[size] == ' '));
}

static void add_spaces(cx_buffer *out, size_t count)
{
    cx_buffer_addf(out, "%*s", (int)count, "");
}

static size_t column(const cx_buffer *out)
{
    size_t at = out->size;
    size_t width = 0;

    for (; at > 0 && out->data[at - 1] != '\n'; at--)
        width += (out->data[at - 1] & 0xC0) != 0x80; /* characters, not bytes */
    return width;
}

/* Adds words and breaks the line before one that passes LINE_WIDTH. A newline in the text stays. */
static void add_wrapped(cx_buffer *out, const char *text, size_t indent)
{
    bool first = true;

    while (*text != '\0') {
        size_t size = strcspn(text, " \n");

        if (!first && column(out) + 1 + size > LINE_WIDTH)
            cx_buffer_add_text(out, "\n");
        else if (!first && column(out) > indent)
            cx_buffer_add_text(out, " ");
        if (column(out) < indent)
            add_spaces(out, indent - column(out));
        cx_buffer_add(out, text, size);
        first = false;
        text += size;
        for (; *text == ' ' || *text == '\n'; text++)
            if (*text == '\n') {
                cx_buffer_add_text(out, "\n");
                first = true;
            }
    }
    if (column(out) > 0)
        cx_buffer_add_text(out, "\n");
}

static void add_option(cx_buffer *out, const cx_option *option)
{
    CX_AUTO(cx_buffer_free) cx_buffer help = {0};

    cx_buffer_addf(out, "  --%s", option->name);
    if (option->kind != CX_KIND_FLAG)
        cx_buffer_addf(out, " %s%s", option->value_name, option->kind == CX_KIND_LIST ? "…" : "");
    if (column(out) > OPTION_WIDTH - 2)
        cx_buffer_add_text(out, "\n");
    add_spaces(out, OPTION_WIDTH - column(out));
    cx_buffer_add_text(&help, option->help);
    if (option->fallback != NULL && option->fallback[0] != '\0' && option->kind != CX_KIND_FLAG)
        cx_buffer_addf(&help, " (default %s)", option->fallback);
    add_wrapped(out, (const char *)help.data, OPTION_WIDTH);
}

static json_t *describe_option(const cx_option *option)
{
    json_t *json =
        json_pack("{s:s, s:s, s:s?, s:s?, s:b, s:s}", "name", option->name, "kind",
                  kind_word(option->kind), "value", option->value_name, "default", option->fallback,
                  "repeatable", option->kind == CX_KIND_LIST, "help", option->help);

    if (option->kind == CX_KIND_CHOICE) {
        json_t *choices = json_array();

        for (const char *rest = option->value_name; *rest != '\0'; rest += *rest == '|') {
            size_t size = strcspn(rest, "|");

            json_array_append_new(choices, json_stringn(rest, size));
            rest += size;
        }
        json_object_set_new(json, "choices", choices);
    }
    return json;
}

static json_t *describe_command(const cx_command *command)
{
    json_t *options = json_array();

    for (const cx_option *option = command->options; option != NULL && option->name != NULL;
         option++)
        json_array_append_new(options, describe_option(option));
    if (command->changes)
        json_array_append_new(options, describe_option(&cx_cli_dry_run_option));
    return json_pack("{s:s, s:s?, s:I, s:o, s:s, s:s?, s:b, s:b, s:o}", "name", command->name,
                     "arguments", command->arguments, "arguments_min",
                     (json_int_t)command->arguments_min, "arguments_max",
                     command->arguments != NULL && command->arguments_max == 0
                         ? json_null()
                         : json_integer((json_int_t)command->arguments_max),
                     "summary", command->summary, "description", command->description, "changes",
                     command->changes, "streams", command->streams, "options", options);
}

static json_t *describe_statuses(void)
{
    json_t *statuses = json_array();

#define ADD_STATUS(name, word, status) \
    json_array_append_new(statuses, json_pack("{s:s, s:i}", "code", word, "exit", status));
    CX_CODES(ADD_STATUS)
#undef ADD_STATUS
    return statuses;
}

char *cx_cli_overview(const cx_cli_tool *tool, const char *family)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};
    size_t width = 0;

    cx_buffer_addf(&out, "Usage: %s %s [options] [arguments]\n\n", tool->program,
                   family == NULL ? "COMMAND" : family);
    add_wrapped(&out, tool->summary, 0);
    cx_buffer_add_text(&out, "\nCommands:\n");
    for (size_t i = 0; tool->commands[i] != NULL; i++)
        if (strlen(tool->commands[i]->name) > width)
            width = strlen(tool->commands[i]->name);
    for (size_t i = 0; tool->commands[i] != NULL; i++) {
        if (!is_in_family(tool->commands[i], family))
            continue;
        cx_buffer_addf(&out, "  %-*s  ", (int)width, tool->commands[i]->name);
        add_wrapped(&out, tool->commands[i]->summary, width + 4);
    }
    cx_buffer_addf(&out, "\n%s COMMAND --help tells more; also: --version, --describe (JSON).\n",
                   tool->program);
    return cx_buffer_take_text(&out);
}

char *cx_cli_help(const cx_cli_tool *tool, const cx_command *command)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};

    cx_buffer_addf(&out, "Usage: %s %s [options]%s%s\n\n", tool->program, command->name,
                   command->arguments != NULL ? " " : "",
                   command->arguments != NULL ? command->arguments : "");
    add_wrapped(&out, command->summary, 0);
    if (command->description != NULL) {
        cx_buffer_add_text(&out, "\n");
        add_wrapped(&out, command->description, 0);
    }
    if (command->changes || (command->options != NULL && command->options->name != NULL))
        cx_buffer_add_text(&out, "\nOptions:\n");
    for (const cx_option *option = command->options; option != NULL && option->name != NULL;
         option++)
        add_option(&out, option);
    if (command->changes)
        add_option(&out, &cx_cli_dry_run_option);
    cx_buffer_add_text(&out, "\nOptions of every command:\n");
    for (const cx_option *option = cx_cli_common_options; option->name != NULL; option++)
        add_option(&out, option);
    cx_buffer_add_text(&out, "\nExit status: 0 done or yes, 1 the answer is no, else as sysexits.h:"
                             "\n64 usage, 65 bad data, 66 not found, 69 unavailable, 70 internal, "
                             "73 can't create,\n74 input or output, 75 try again, 76 protocol, 77 "
                             "permission, 78 configuration.\n");
    return cx_buffer_take_text(&out);
}

json_t *cx_cli_describe(const cx_cli_tool *tool)
{
    json_t *commands = json_array();
    json_t *common = json_array();

    for (size_t i = 0; tool->commands[i] != NULL; i++)
        json_array_append_new(commands, describe_command(tool->commands[i]));
    for (const cx_option *option = cx_cli_common_options; option->name != NULL; option++)
        json_array_append_new(common, describe_option(option));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "program", tool->program, "version",
                     cx_version, "summary", tool->summary, "commands", commands, "common_options",
                     common, "errors", describe_statuses());
}

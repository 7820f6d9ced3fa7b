#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cli_parts.h"
#include "base/io.h"

enum { CELL_WIDTH_MAX = 64 }; /* of all columns but the last: a SHA-256 in hex fits */

/* ---- values for people */

/* Names and messages come from other hosts: nothing of them may steer the terminal. */
static void add_clean(cx_buffer *out, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        bool space = *at == '\n' || *at == '\t' || *at == '\r';
        bool second_control = *at == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0; /* U+0080 to U+009F */

        at += second_control;
        if (space)
            cx_buffer_add_text(out, " ");
        else if (*at < 0x20 || *at == 0x7F || second_control)
            cx_buffer_add_text(out, "?");
        else
            cx_buffer_add(out, at, 1);
    }
}

static bool is_empty(const json_t *value)
{
    return value == NULL || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_list_of_objects(const json_t *value)
{
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

static void add_value(cx_buffer *out, const json_t *value);

static void add_pairs(cx_buffer *out, const json_t *object)
{
    const char *key;
    json_t *value;
    const char *space = "";

    json_object_foreach ((json_t *)object, key, value) {
        cx_buffer_add_text(out, space);
        add_clean(out, key);
        cx_buffer_add_text(out, "=");
        if (json_is_object(value) && !is_empty(value)) {
            cx_buffer_add_text(out, "(");
            add_pairs(out, value);
            cx_buffer_add_text(out, ")");
        } else {
            add_value(out, value);
        }
        space = " ";
    }
}

static void add_items(cx_buffer *out, const json_t *list)
{
    size_t at;
    json_t *item;

    if (is_list_of_objects(list)) {
        cx_buffer_addf(out, "%zu item%s", json_array_size(list),
                       json_array_size(list) == 1 ? "" : "s");
        return;
    }
    json_array_foreach (list, at, item) {
        cx_buffer_add_text(out, at > 0 ? "," : "");
        add_value(out, item);
    }
}

/* In one line. */
static void add_value(cx_buffer *out, const json_t *value)
{
    if (is_empty(value)) {
        cx_buffer_add_text(out, "-");
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: add_pairs(out, value); break;
    case JSON_ARRAY: add_items(out, value); break;
    case JSON_STRING: add_clean(out, json_string_value(value)); break;
    case JSON_INTEGER: cx_buffer_addf(out, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: cx_buffer_addf(out, "%.15g", json_real_value(value)); break;
    case JSON_TRUE: cx_buffer_add_text(out, "yes"); break;
    case JSON_FALSE: cx_buffer_add_text(out, "no"); break;
    case JSON_NULL: break; /* is empty */
    }
}

/* Characters, as most terminals show them. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void cut_to_width(char *text, size_t width)
{
    static const char mark[] = "…";
    size_t seen = 0;

    if (width_of(text) <= width)
        return;
    for (; seen < width - 1; text++)
        seen += ((unsigned char)text[1] & 0xC0) != 0x80;
    snprintf(text, sizeof(mark), "%s", mark); /* at least two characters are cut, hence room */
}

/* ---- tables */

struct column {
    const char *key;
    size_t width;
    bool filled;  /* any row has a value */
    bool numbers; /* all of them are numbers */
};

static size_t find_column(const struct column *columns, size_t count, const char *key)
{
    size_t at = 0;

    while (at < count && strcmp(columns[at].key, key) != 0)
        at++;
    return at;
}

/* In the order in which keys first appear. */
static struct column *find_columns(const json_t *rows, size_t *count)
{
    struct column *columns = NULL;
    size_t row_at;
    json_t *row;

    *count = 0;
    json_array_foreach (rows, row_at, row) {
        const char *key;
        json_t *value;

        json_object_foreach (row, key, value) {
            size_t at = find_column(columns, *count, key);

            if (at == *count) {
                columns = cx_realloc(columns, ++*count, sizeof(*columns));
                columns[at] = (struct column){.key = key, .width = width_of(key), .numbers = true};
            }
            if (is_empty(value))
                continue;
            columns[at].filled = true;
            columns[at].numbers = columns[at].numbers && json_is_number(value);
        }
    }
    return columns;
}

static char *cell_text(const json_t *row, const struct column *column, bool last)
{
    cx_buffer cell = {0};

    add_value(&cell, json_object_get(row, column->key));

    char *text = cx_buffer_take_text(&cell);

    if (!last)
        cut_to_width(text, CELL_WIDTH_MAX);
    return text;
}

static void add_cell(cx_buffer *out, const char *text, const struct column *column, bool last)
{
    size_t width = width_of(text);
    int padding = column->width > width ? (int)(column->width - width) : 0;

    if (column->numbers)
        cx_buffer_addf(out, "%*s%s", padding, "", text);
    else
        cx_buffer_addf(out, "%s%*s", text, last ? 0 : padding, "");
    cx_buffer_add_text(out, last ? "\n" : "  ");
}

static void add_table(cx_buffer *out, const json_t *rows)
{
    size_t count;
    size_t kept = 0;
    size_t at;
    json_t *row;
    CX_AUTO(cx_free) struct column *columns = find_columns(rows, &count);

    for (size_t i = 0; i < count; i++)
        if (columns[i].filled)
            columns[kept++] = columns[i];
    for (size_t i = 0; i < kept; i++)
        json_array_foreach (rows, at, row) {
            CX_AUTO(cx_free) char *text = cell_text(row, &columns[i], i + 1 == kept);

            if (width_of(text) > columns[i].width)
                columns[i].width = width_of(text);
        }
    for (size_t i = 0; i < kept; i++) {
        cx_buffer title = {0};

        add_clean(&title, columns[i].key);

        CX_AUTO(cx_free) char *text = cx_buffer_take_text(&title);

        for (char *letter = text; *letter != '\0'; letter++)
            if (*letter >= 'a' && *letter <= 'z')
                *letter = (char)(*letter - 'a' + 'A');
        add_cell(out, text, &columns[i], i + 1 == kept);
    }
    json_array_foreach (rows, at, row) {
        for (size_t i = 0; i < kept; i++) {
            CX_AUTO(cx_free) char *text = cell_text(row, &columns[i], i + 1 == kept);

            add_cell(out, text, &columns[i], i + 1 == kept);
        }
    }
}

/* ---- documents */

/* Fields of a document and of the objects in it, as dotted names; lists of objects apart. */
struct fields {
    struct field {
        char *name;
        const json_t *value;
    } * items, *tables;
    size_t count, table_count;
};

static void free_fields(struct fields *fields)
{
    for (size_t i = 0; i < fields->count; i++)
        cx_free(&fields->items[i].name);
    for (size_t i = 0; i < fields->table_count; i++)
        cx_free(&fields->tables[i].name);
    cx_free(&fields->items);
    cx_free(&fields->tables);
}

static void add_field(struct field **items, size_t *count, const char *name, const json_t *value)
{
    cx_buffer clean = {0};

    add_clean(&clean, name);
    *items = cx_realloc(*items, *count + 1, sizeof(**items));
    (*items)[(*count)++] = (struct field){cx_buffer_take_text(&clean), value};
}

static void collect(struct fields *fields, const char *prefix, const json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)object, key, value) {
        CX_AUTO(cx_free) char *name = cx_format("%s%s%s", prefix, *prefix != '\0' ? "." : "", key);

        if (json_is_object(value) && !is_empty(value))
            collect(fields, name, value);
        else if (is_list_of_objects(value))
            add_field(&fields->tables, &fields->table_count, name, value);
        else
            add_field(&fields->items, &fields->count, name, value);
    }
}

/* Text of several lines (PEM) keeps them, indented. */
static void add_lines(cx_buffer *out, const char *text)
{
    while (*text != '\0') {
        size_t size = strcspn(text, "\n");
        CX_AUTO(cx_free) char *line = cx_strndup(text, size);

        cx_buffer_add_text(out, "\n  ");
        add_clean(out, line);
        text += size + (text[size] == '\n');
    }
}

static void add_document(cx_buffer *out, const json_t *document)
{
    CX_AUTO(free_fields) struct fields fields = {0};
    size_t width = 0;

    collect(&fields, "", document);
    for (size_t i = 0; i < fields.count; i++)
        if (width_of(fields.items[i].name) > width)
            width = width_of(fields.items[i].name);
    for (size_t i = 0; i < fields.count; i++) {
        const struct field *field = &fields.items[i];
        const char *text = json_string_value(field->value);
        int padding = (int)(width - width_of(field->name));

        if (text != NULL && strchr(text, '\n') != NULL) {
            cx_buffer_addf(out, "%s:", field->name);
            add_lines(out, text);
        } else {
            cx_buffer_addf(out, "%s: %*s", field->name, padding, "");
            add_value(out, field->value);
        }
        cx_buffer_add_text(out, "\n");
    }
    for (size_t i = 0; i < fields.table_count; i++) {
        cx_buffer_add_text(out, out->size > 0 ? "\n" : "");
        if (fields.table_count > 1)
            cx_buffer_addf(out, "%s:\n", fields.tables[i].name);
        add_table(out, fields.tables[i].value);
    }
}

static char *for_people(const json_t *document)
{
    cx_buffer out = {0};

    if (json_is_object(document)) {
        add_document(&out, document);
    } else if (is_list_of_objects(document)) {
        add_table(&out, document);
    } else {
        add_value(&out, document);
        cx_buffer_add_text(&out, "\n");
    }
    return cx_buffer_take_text(&out);
}

static char *for_programs(const json_t *document)
{
    CX_AUTO(cx_free) char *line = cx_json_line(document);

    return cx_format("%s\n", line);
}

/* ---- stderr */

static void print_to_stderr(const char *text)
{
    cx_err ignored;

    if (!cx_write_all(STDERR_FILENO, cx_bytes_of(text), "stderr", &ignored))
        return; /* there is nobody left to tell */
}

static bool wait_for_stdout(cx_err *err)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (poll(&out, 1, -1) < 0 && errno != EINTR)
        return cx_fail(err, CX_IO, "stdout: poll fails");
    return true;
}

/* Not cx_write_all: a reader that does not read must not keep Ctrl-C from ending us. */
bool cx_cli_print(const char *text, cx_err *err)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t written = write(STDOUT_FILENO, text, size);

        if (written >= 0) {
            text += written;
            size -= (size_t)written;
        } else if (errno == EINTR || errno == EAGAIN) {
            if (errno == EAGAIN && !wait_for_stdout(err))
                return false;
            if (cx_interrupted())
                return cx_fail(err, CX_INTERRUPTED, "stdout: interrupted");
        } else {
            cx_fail_errno(err, "stdout");
            err->code = CX_IO;
            return false;
        }
    }
    return true;
}

void cx_cli_report(const char *program, const cx_err *err, int exit_status)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};

    if (isatty(STDERR_FILENO)) {
        cx_buffer_addf(&out, "%s: ", program);
        add_clean(&out, err->message);
        if (err->hint[0] != '\0') {
            cx_buffer_add_text(&out, " (");
            add_clean(&out, err->hint);
            cx_buffer_add_text(&out, ")");
        }
        cx_buffer_add_text(&out, "\n");
    } else {
        CX_AUTO(cx_json_free) json_t *json = cx_err_to_json(err);
        CX_AUTO(cx_free) char *line = NULL;

        json_object_set_new(json_object_get(json, "error"), "exit", json_integer(exit_status));
        line = for_programs(json);
        cx_buffer_add_text(&out, line);
    }
    print_to_stderr((const char *)out.data);
}

bool cx_emit(cx_run *run, const json_t *document, cx_err *err)
{
    CX_AUTO(cx_free) char *text = run->table ? for_people(document) : for_programs(document);

    return cx_cli_print(text, err);
}

/* For people: the time and the event's name as they are, the rest as name=value. */
bool cx_emit_line(cx_run *run, const json_t *document, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};
    CX_AUTO(cx_json_free) json_t *rest = NULL;

    if (!run->table || !json_is_object(document))
        return cx_emit(run, document, err);

    static const char *const bare[] = {"time", "event"};

    rest = json_copy((json_t *)document);
    for (size_t i = 0; i < CX_COUNT(bare); i++) {
        const json_t *value = json_object_get(document, bare[i]);

        if (is_empty(value))
            continue;
        add_value(&out, value);
        cx_buffer_add_text(&out, "  ");
        json_object_del(rest, bare[i]);
    }
    add_pairs(&out, rest);
    cx_buffer_add_text(&out, "\n");
    return cx_cli_print((const char *)out.data, err);
}

bool cx_emit_text(cx_run *run, const char *text, cx_err *err)
{
    (void)run;
    return cx_cli_print(text, err);
}

void cx_remark(const cx_run *run, const char *format, ...)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};
    char text[sizeof(((cx_err *)0)->message)];
    va_list arguments;

    if (run->quiet)
        return;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    if (isatty(STDERR_FILENO)) {
        cx_buffer_addf(&out, "%s: ", run->program);
        add_clean(&out, text);
        cx_buffer_add_text(&out, "\n");
    } else {
        CX_AUTO(cx_json_free) json_t *json = json_pack("{s:o}", "remark", cx_json_text(text));
        CX_AUTO(cx_free) char *line = for_programs(json);

        cx_buffer_add_text(&out, line);
    }
    print_to_stderr((const char *)out.data);
}

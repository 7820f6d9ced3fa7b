/* The findings of conf.h: what is wrong in a document, and where. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/text.h"

/* A value from the file may be quoted in a message that ends on a terminal. */
static void mask_control(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static bool is_after(const cx_conf_error *error, const char *file, size_t line, size_t column)
{
    return strcmp(error->file, file) == 0 &&
           (error->line > line || (error->line == line && error->column > column));
}

static void add(cx_conf_errors *errors, const char *file, size_t line, size_t column,
                const char *where, const char *hint, const char *format, va_list args)
{
    char message[512];

    if (errors->count == CX_CONF_ERRORS_MAX)
        return;
    vsnprintf(message, sizeof message, format, args);
    mask_control(message);
    errors->items = cx_realloc(errors->items, errors->count + 1, sizeof *errors->items);

    size_t at = errors->count++;

    /* People read from the top of a file down, whatever order it was checked in. */
    for (; at > 0 && is_after(&errors->items[at - 1], file, line, column); at--)
        errors->items[at] = errors->items[at - 1];
    errors->items[at] = (cx_conf_error){
        .file = cx_strdup(file),
        .where = cx_strdup(where != NULL ? where : ""),
        .message = cx_strdup(message),
        .hint = cx_strdup(hint != NULL ? hint : ""),
        .line = line,
        .column = column,
    };
    mask_control(errors->items[at].where);
    mask_control(errors->items[at].hint);
}

static const struct cx_conf_key *find_key(const cx_conf_node *map, const char *name)
{
    for (size_t i = 0; map->kind == CX_CONF_MAP && i < map->count; i++)
        if (strcmp(map->keys[i].name, name) == 0)
            return &map->keys[i];
    return NULL;
}

void cx_conf_blame(const cx_conf *conf, const cx_conf_node *node, const char *key,
                   const char *where, const char *hint, cx_conf_errors *errors, const char *format,
                   ...)
{
    const struct cx_conf_key *found = key != NULL ? find_key(node, key) : NULL;
    const char *dot = where[0] != '\0' && key != NULL ? "." : "";
    CX_AUTO(cx_free) char *path = cx_format("%s%s%s", where, dot, key != NULL ? key : "");
    va_list args;

    va_start(args, format);
    add(errors, cx_conf_name(conf), found != NULL ? found->line : node->line,
        found != NULL ? found->column : node->column, path, hint, format, args);
    va_end(args);
}

void cx_conf_only_keys(const cx_conf *conf, const cx_conf_node *map, const char *where,
                       const char *const *known, cx_conf_errors *errors)
{
    size_t count = 0;

    while (known[count] != NULL)
        count++;
    for (size_t i = 0; map->kind == CX_CONF_MAP && i < map->count; i++) {
        const char *name = map->keys[i].name;
        bool is_known = false;

        for (size_t j = 0; j < count && !is_known; j++)
            is_known = strcmp(name, known[j]) == 0;
        if (is_known)
            continue;

        const char *nearest = cx_nearest(name, known, count);
        CX_AUTO(cx_free)
        char *hint = nearest != NULL ? cx_format("did you mean \"%s\"?", nearest) : NULL;

        cx_conf_blame(conf, map, name, where, hint, errors, "unknown key \"%s\"", name);
    }
}

void cx_conf_errors_add(cx_conf_errors *errors, const char *file, size_t line, size_t column,
                        const char *where, const char *hint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(errors, file, line, column, where, hint, format, args);
    va_end(args);
}

json_t *cx_conf_errors_to_json(const cx_conf_errors *errors)
{
    json_t *list = json_array();

    for (size_t i = 0; i < errors->count; i++) {
        const cx_conf_error *error = &errors->items[i];

        json_array_append_new(
            list, json_pack("{s:o, s:I, s:I, s:o, s:o, s:o}", "file", cx_json_text(error->file),
                            "line", (json_int_t)error->line, "column", (json_int_t)error->column,
                            "key", cx_json_text(error->where), "message",
                            cx_json_text(error->message), "hint", cx_json_text(error->hint)));
    }
    return list;
}

bool cx_conf_fail(const cx_conf_errors *errors, cx_err *err)
{
    if (errors->count == 0)
        return cx_fail(err, CX_CONFIG, "the configuration is not valid");

    const cx_conf_error *first = &errors->items[0];
    char position[64] = "";
    char more[48] = "";

    if (first->line > 0)
        snprintf(position, sizeof position, ":%zu:%zu", first->line, first->column);
    if (errors->count > 1)
        snprintf(more, sizeof more, " (and %zu more)", errors->count - 1);
    cx_fail(err, CX_CONFIG, "%s%s: %s%s%s%s", first->file, position, first->where,
            first->where[0] != '\0' ? ": " : "", first->message, more);
    if (first->hint[0] != '\0')
        return cx_hint(err, "%s", first->hint);
    return false;
}

void cx_conf_errors_free(cx_conf_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++) {
        cx_free(&errors->items[i].file);
        cx_free(&errors->items[i].where);
        cx_free(&errors->items[i].message);
        cx_free(&errors->items[i].hint);
    }
    cx_free(&errors->items);
    errors->count = 0;
}

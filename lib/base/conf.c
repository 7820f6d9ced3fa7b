/* The reader of conf.h: libyaml's events become a tree, by recursion that CX_CONF_DEPTH_MAX bounds.
 * libyaml reads YAML 1.1 syntax; which scalar is a number is decided here, by the rules of YAML 1.2
 * (https://yaml.org/spec/1.2.2/, 10.3.2 core schema). */
#include "base/conf.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/io.h"

struct cx_conf {
    char *name;
    cx_conf_node root;
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    cx_bytes input;
    const char *name;
    cx_conf_errors *errors;
    size_t nodes;
};

/* Where the recursion stands: the dotted path is only written when something is wrong there. */
typedef struct place {
    const struct place *parent;
    const char *key; /* NULL: an item of a list */
    size_t index;
} place;

static void add_path(const place *at, cx_buffer *path)
{
    if (at == NULL)
        return;
    add_path(at->parent, path);
    if (at->key == NULL)
        cx_buffer_addf(path, "[%zu]", at->index);
    else
        cx_buffer_addf(path, "%s%s", path->size > 0 ? "." : "", at->key);
}

/* Returns false: what calls it at once gives up, what goes on ignores it. */
static bool blame(struct reader *reader, const yaml_mark_t *mark, const place *at, const char *hint,
                  const char *message)
{
    CX_AUTO(cx_buffer_free) cx_buffer path = {0};

    cx_buffer_add_text(&path, "");
    add_path(at, &path);
    cx_conf_errors_add(reader->errors, reader->name, mark->line + 1, mark->column + 1,
                       (const char *)path.data, hint, "%s", message);
    return false;
}

/* The reader's errors tell a byte, the others a line. */
static bool blame_syntax(struct reader *reader, const place *at)
{
    const yaml_parser_t *parser = &reader->parser;
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be read as YAML";
    const char *hint = NULL;
    char message[256];

    if (parser->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < parser->problem_offset && i < reader->input.size; i++) {
            bool is_start = (reader->input.data[i] & 0xc0) != 0x80;

            mark.column += is_start;
            if (reader->input.data[i] == '\n')
                mark = (yaml_mark_t){.line = mark.line + 1};
        }
        hint = "the file must be UTF-8 text";
    } else if (strstr(problem, "cannot start any token") != NULL) {
        hint = "indent with spaces, not tabs; quote a value that begins with % @ or `";
    } else if (strstr(problem, "mapping values are not allowed") != NULL) {
        hint = "quote a value that contains \": \", and check the indentation";
    } else if (strstr(problem, "Unicode character escape") != NULL) {
        hint = "write the character itself instead of a pair of \\u escapes";
    }
    snprintf(message, sizeof message, "%s%s%s", parser->context != NULL ? parser->context : "",
             parser->context != NULL ? ", " : "", problem);
    return blame(reader, &mark, at, hint, message);
}

static bool next(struct reader *reader, const place *at)
{
    yaml_event_delete(&reader->event);
    return yaml_parser_parse(&reader->parser, &reader->event) || blame_syntax(reader, at);
}

/* ---- the core schema */

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static const char *after_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_number(const char *text)
{
    text += *text == '-' || *text == '+';

    const char *end = after_digits(text);
    size_t digits = (size_t)(end - text);

    if (*end == '.') {
        const char *fraction = end + 1;

        end = after_digits(fraction);
        digits += (size_t)(end - fraction);
    }
    if (digits == 0)
        return false;
    if (*end == 'e' || *end == 'E') {
        const char *exponent = end + 1;

        exponent += *exponent == '-' || *exponent == '+';
        end = after_digits(exponent);
        if (end == exponent)
            return false;
    }
    return *end == '\0';
}

/* Decimal with a sign, 0o17 or 0x1f. *fits tells whether the value is an int64_t. */
static bool is_integer(const char *text, bool *fits, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    const char *allowed = "0123456789";
    int base = 10;

    if (strncmp(text, "0o", 2) == 0) {
        base = 8;
        digits = text + 2;
        allowed = "01234567";
    } else if (strncmp(text, "0x", 2) == 0) {
        base = 16;
        digits = text + 2;
        allowed = "0123456789abcdefABCDEF";
    }
    if (*digits == '\0' || digits[strspn(digits, allowed)] != '\0')
        return false;
    errno = 0;
    *value = strtoll(base == 10 ? text : digits, NULL, base);
    *fits = errno == 0;
    return true;
}

static cx_conf_kind resolve(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    static const char *const specials[] = {
        ".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
        "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL,
    };
    bool fits = false;
    int64_t value = 0;

    if (is_one_of(text, nulls))
        return CX_CONF_NULL;
    if (is_one_of(text, bools))
        return CX_CONF_BOOL;
    if (is_integer(text, &fits, &value))
        return fits ? CX_CONF_INT : CX_CONF_REAL;
    return is_number(text) || is_one_of(text, specials) ? CX_CONF_REAL : CX_CONF_TEXT;
}

/* ---- events to tree */

static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += (*text & 0xc0) != 0x80;
    return count;
}

/* libyaml swallows the tag `!`: it is seen by a plain scalar that is longer than its value, and by
 * quoted text that claims to be plain. */
static bool has_tag(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;

    if (event->type == YAML_SEQUENCE_START_EVENT)
        return event->data.sequence_start.tag != NULL;
    if (event->type == YAML_MAPPING_START_EVENT)
        return event->data.mapping_start.tag != NULL;
    if (event->data.scalar.tag != NULL)
        return true;
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return event->data.scalar.plain_implicit;
    return event->start_mark.line == event->end_mark.line &&
           event->end_mark.index - event->start_mark.index > characters(text);
}

static bool has_anchor(const yaml_event_t *event)
{
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return event->data.sequence_start.anchor != NULL;
    if (event->type == YAML_MAPPING_START_EVENT)
        return event->data.mapping_start.anchor != NULL;
    return event->data.scalar.anchor != NULL;
}

/* What YAML has and configuration must not: reading goes on, so that all of it is found. */
static void blame_features(struct reader *reader, const place *at)
{
    const yaml_mark_t *mark = &reader->event.start_mark;

    if (has_anchor(&reader->event))
        blame(reader, mark, at, "write the value out", "anchors are not allowed");
    if (!has_anchor(&reader->event) && has_tag(&reader->event))
        blame(reader, mark, at, "leave the tag out", "tags are not allowed");
}

static bool take_scalar(struct reader *reader, const place *at, cx_conf_node *node)
{
    const yaml_event_t *event = &reader->event;
    const char *text = (const char *)event->data.scalar.value;

    if (strlen(text) != event->data.scalar.length)
        return blame(reader, &event->start_mark, at, NULL, "a NUL character is not allowed");
    node->text = text[0] != '\0' ? cx_strdup(text) : "";
    node->kind = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? resolve(text) : CX_CONF_TEXT;
    return true;
}

static bool take_node(struct reader *reader, const place *at, size_t depth, cx_conf_node *node);

static bool take_list(struct reader *reader, const place *at, size_t depth, cx_conf_node *list)
{
    size_t room = 0;

    for (;;) {
        place item = {.parent = at, .index = list->count};

        if (!next(reader, &item))
            return false;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return true;
        if (list->count == room) {
            room = room * 2 + 4;
            list->items = cx_realloc(list->items, room, sizeof *list->items);
        }
        list->items[list->count++] = (cx_conf_node){.text = ""};
        if (!take_node(reader, &item, depth, &list->items[item.index]))
            return false;
    }
}

static bool take_key(struct reader *reader, const place *at, struct cx_conf_key *key)
{
    const yaml_event_t *event = &reader->event;
    const yaml_mark_t *mark = &event->start_mark;

    if (event->type != YAML_SCALAR_EVENT)
        return blame(reader, mark, at, "a value that begins with { or [ must be quoted",
                     "a key must be text");
    blame_features(reader, at);

    const char *name = (const char *)event->data.scalar.value;

    if (strlen(name) != event->data.scalar.length)
        return blame(reader, mark, at, NULL, "a NUL character is not allowed");
    if (event->data.scalar.length == 0)
        return blame(reader, mark, at, NULL, "a key must have a name");
    if (event->data.scalar.length > CX_CONF_KEY_MAX)
        return blame(reader, mark, at, NULL, "the key is too long");
    *key = (struct cx_conf_key){cx_strdup(name), mark->line + 1, mark->column + 1};
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct cx_conf_key *a = *(const struct cx_conf_key *const *)left;
    const struct cx_conf_key *b = *(const struct cx_conf_key *const *)right;
    int order = strcmp(a->name, b->name);

    return order != 0 ? order : (a > b) - (a < b); /* of the same array: the file's order */
}

/* Sorted, so that a hostile file with 100,000 keys costs no 100,000 squared comparisons. */
static void blame_duplicates(struct reader *reader, const place *at, const cx_conf_node *map)
{
    CX_AUTO(cx_free)
    const struct cx_conf_key **sorted = cx_alloc(map->count + 1, sizeof(struct cx_conf_key *));

    for (size_t i = 0; i < map->count; i++)
        sorted[i] = &map->keys[i];
    qsort(sorted, map->count, sizeof *sorted, compare_keys);
    for (size_t i = 1; i < map->count; i++) {
        const struct cx_conf_key *key = sorted[i];
        place here = {.parent = at, .key = key->name};
        yaml_mark_t mark = {.line = key->line - 1, .column = key->column - 1};
        char message[CX_CONF_KEY_MAX + 64];

        if (strcmp(sorted[i - 1]->name, key->name) != 0)
            continue;
        snprintf(message, sizeof message, "duplicate key \"%s\", already on line %zu", key->name,
                 sorted[i - 1]->line);
        blame(reader, &mark, &here, "remove one of the two", message);
    }
}

static bool take_map(struct reader *reader, const place *at, size_t depth, cx_conf_node *map)
{
    size_t room = 0;

    for (;;) {
        struct cx_conf_key key = {0};

        if (!next(reader, at))
            return false;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            break;
        if (!take_key(reader, at, &key))
            return false;
        if (map->count == room) {
            room = room * 2 + 4;
            map->items = cx_realloc(map->items, room, sizeof *map->items);
            map->keys = cx_realloc(map->keys, room, sizeof *map->keys);
        }

        size_t index = map->count++;
        place value = {.parent = at, .key = key.name};

        map->keys[index] = key;
        map->items[index] = (cx_conf_node){.text = ""};
        if (!next(reader, &value) || !take_node(reader, &value, depth, &map->items[index]))
            return false;
    }
    blame_duplicates(reader, at, map);
    return true;
}

/* Of the current event. A node that is left half-read on failure can be freed all the same. */
static bool take_node(struct reader *reader, const place *at, size_t depth, cx_conf_node *node)
{
    const yaml_mark_t *mark = &reader->event.start_mark;
    yaml_event_type_t type = reader->event.type;

    node->text = "";
    node->line = mark->line + 1;
    node->column = mark->column + 1;
    if (reader->nodes++ == CX_CONF_NODES_MAX)
        return blame(reader, mark, at, NULL, "the document has too many values");
    if (type == YAML_ALIAS_EVENT) {
        blame(reader, mark, at, "write the value out", "aliases are not allowed");
        return true;
    }
    if (type != YAML_SCALAR_EVENT && type != YAML_SEQUENCE_START_EVENT &&
        type != YAML_MAPPING_START_EVENT)
        return blame(reader, mark, at, NULL, "a value is missing");
    blame_features(reader, at);
    if (type == YAML_SCALAR_EVENT)
        return take_scalar(reader, at, node);
    if (depth == CX_CONF_DEPTH_MAX)
        return blame(reader, mark, at, NULL, "the document is nested too deep");
    node->kind = type == YAML_MAPPING_START_EVENT ? CX_CONF_MAP : CX_CONF_LIST;
    return node->kind == CX_CONF_MAP ? take_map(reader, at, depth + 1, node)
                                     : take_list(reader, at, depth + 1, node);
}

static bool take_document(struct reader *reader, cx_conf_node *root)
{
    *root = (cx_conf_node){.text = "", .line = 1, .column = 1};
    if (!next(reader, NULL) || !next(reader, NULL)) /* the stream's start, the document's start */
        return false;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return true;
    if (reader->event.data.document_start.tag_directives.start !=
        reader->event.data.document_start.tag_directives.end)
        blame(reader, &reader->event.start_mark, NULL, NULL, "tags are not allowed");
    if (!next(reader, NULL) || !take_node(reader, NULL, 0, root))
        return false;
    if (!next(reader, NULL) || !next(reader, NULL)) /* the document's end, the stream's end */
        return false;
    if (reader->event.type != YAML_STREAM_END_EVENT)
        return blame(reader, &reader->event.start_mark, NULL, "keep one of the documents",
                     "more than one document");
    return true;
}

/* ---- what JSON has and libyaml lacks */

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind a \u, -1 if it is none. */
static int32_t unicode_escape(const uint8_t *at, const uint8_t *end)
{
    int32_t value = 0;

    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (size_t i = 2; i < 6; i++) {
        if (hex_digit(at[i]) < 0)
            return -1;
        value = value * 16 + hex_digit(at[i]);
    }
    return value;
}

/* JSON writes a character beyond U+FFFF as two escapes, libyaml wants one: \ud83d\ude00 becomes
 * \U0001f600. Only done to text that is JSON, where a backslash can't be anything else. */
static void join_surrogates(cx_bytes text, cx_buffer *joined)
{
    const uint8_t *end = text.data + text.size;

    for (const uint8_t *at = text.data; at < end;) {
        int32_t high = unicode_escape(at, end);
        int32_t low = high >> 10 == 0x36 ? unicode_escape(at + 6, end) : -1;
        size_t step = *at == '\\' && end - at > 1 ? 2 : 1; /* an escape is passed over as a whole */

        if (low >> 10 == 0x37) {
            cx_buffer_addf(joined, "\\U%08x", 0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff));
            step = 12;
        } else {
            cx_buffer_add(joined, at, step);
        }
        at += step;
    }
}

static bool has_surrogates(cx_bytes text)
{
    return memmem(text.data, text.size, "\\ud", 3) != NULL ||
           memmem(text.data, text.size, "\\uD", 3) != NULL;
}

static bool is_json(cx_bytes text)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_loadb((const char *)text.data, text.size, 0, NULL);

    return json != NULL;
}

static bool read_text(cx_bytes text, const char *name, cx_conf_node *root, cx_conf_errors *errors,
                      cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer joined = {0};

    if (text.size == 0)
        text = cx_bytes_of("");
    if (has_surrogates(text) && is_json(text)) {
        join_surrogates(text, &joined);
        text = cx_buffer_bytes(&joined);
    }

    struct reader reader = {
        .input = text,
        .name = name,
        .errors = errors,
    };
    size_t before = errors->count;

    if (!yaml_parser_initialize(&reader.parser))
        return cx_fail(err, CX_INTERNAL, "the YAML parser can't start");
    /* Told beforehand, or libyaml would take two bytes at the start as a sign of UTF-16. */
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, reader.input.data, reader.input.size);

    bool done = take_document(&reader, root);

    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return done && errors->count == before;
}

static void free_node(cx_conf_node *node)
{
    for (size_t i = 0; i < node->count; i++) {
        free_node(&node->items[i]);
        if (node->keys != NULL)
            free((char *)node->keys[i].name);
    }
    if (node->text[0] != '\0') /* an empty one is a literal */
        free((char *)node->text);
    cx_free(&node->items);
    cx_free(&node->keys);
    *node = (cx_conf_node){.text = ""};
}

static json_t *real_to_json(const char *text)
{
    double value = strtod(text, NULL);
    json_t *json = strpbrk(text, "iInN") == NULL && isfinite(value) ? json_real(value) : NULL;

    return json != NULL ? json : cx_json_text(text);
}

/* ---- public */

bool cx_conf_read(const char *path, cx_conf **conf, cx_conf_errors *errors, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (!cx_read_file(path, CX_CONF_BYTES_MAX, &text, err)) {
        if (err->code != CX_TOO_LARGE)
            return false;
        cx_conf_errors_add(errors, path, 1, 1, "", NULL, "the file has more than %d bytes",
                           CX_CONF_BYTES_MAX);
        return cx_conf_fail(errors, err);
    }
    return cx_conf_parse(cx_buffer_bytes(&text), path, conf, errors, err);
}

bool cx_conf_parse(cx_bytes text, const char *name, cx_conf **conf, cx_conf_errors *errors,
                   cx_err *err)
{
    CX_AUTO(cx_conf_close) cx_conf *made = cx_alloc(1, sizeof *made);

    made->root.text = "";
    made->name = cx_strdup(name);
    if (text.size > CX_CONF_BYTES_MAX) {
        cx_conf_errors_add(errors, name, 1, 1, "", NULL, "the document has more than %d bytes",
                           CX_CONF_BYTES_MAX);
        return cx_conf_fail(errors, err);
    }
    *err = (cx_err){0};
    if (!read_text(text, name, &made->root, errors, err))
        return err->code != CX_OK ? false : cx_conf_fail(errors, err);
    *conf = CX_TAKE(made);
    return true;
}

void cx_conf_close(cx_conf **owner)
{
    if (*owner == NULL)
        return;
    free_node(&(*owner)->root);
    cx_free(&(*owner)->name);
    cx_free(owner);
}

const cx_conf_node *cx_conf_root(const cx_conf *conf)
{
    return &conf->root;
}

const char *cx_conf_name(const cx_conf *conf)
{
    return conf->name;
}

const cx_conf_node *cx_conf_at(const cx_conf_node *map, const char *key)
{
    for (size_t i = 0; map != NULL && map->kind == CX_CONF_MAP && i < map->count; i++)
        if (strcmp(map->keys[i].name, key) == 0)
            return &map->items[i];
    return NULL;
}

int64_t cx_conf_int(const cx_conf_node *node)
{
    bool fits = false;
    int64_t value = 0;

    return node->kind == CX_CONF_INT && is_integer(node->text, &fits, &value) && fits ? value : 0;
}

const char *cx_conf_kind_word(cx_conf_kind kind)
{
    switch (kind) {
    case CX_CONF_NULL: return "nothing";
    case CX_CONF_BOOL: return "true or false";
    case CX_CONF_INT: return "a whole number";
    case CX_CONF_REAL: return "a number";
    case CX_CONF_TEXT: return "text";
    case CX_CONF_LIST: return "a list";
    case CX_CONF_MAP: return "a group of keys";
    }
    return NULL;
}

json_t *cx_conf_to_json(const cx_conf_node *node)
{
    json_t *json = NULL;

    switch (node->kind) {
    case CX_CONF_NULL: return json_null();
    case CX_CONF_BOOL: return json_boolean(node->text[0] == 't' || node->text[0] == 'T');
    case CX_CONF_INT: return json_integer(cx_conf_int(node));
    case CX_CONF_REAL: return real_to_json(node->text);
    case CX_CONF_TEXT: return cx_json_text(node->text);
    case CX_CONF_LIST:
        json = json_array();
        for (size_t i = 0; i < node->count; i++)
            json_array_append_new(json, cx_conf_to_json(&node->items[i]));
        return json;
    case CX_CONF_MAP:
        json = json_object();
        for (size_t i = 0; i < node->count; i++)
            json_object_set_new(json, node->keys[i].name, cx_conf_to_json(&node->items[i]));
        return json;
    }
    return json;
}

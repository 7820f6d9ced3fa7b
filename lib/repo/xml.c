#include "repo/xml.h"

#include <stdio.h>
#include <string.h>

struct reader {
    cx_bytes rest;
    char path[CX_XML_PATH_MAX + 1];
    size_t lengths[CX_XML_DEPTH_MAX]; /* of the path above each open element */
    size_t depth;
    cx_buffer text; /* of the innermost element, since its last child */
};

static void free_reader(struct reader *reader)
{
    cx_buffer_free(&reader->text);
}

static bool malformed(const char *what, cx_err *err)
{
    return cx_fail(err, CX_MALFORMED, "XML: %s", what);
}

static void drop(struct reader *reader, size_t size)
{
    reader->rest = (cx_bytes){reader->rest.data + size, reader->rest.size - size};
}

static bool starts_with(const struct reader *reader, const char *text)
{
    size_t size = strlen(text);

    return reader->rest.size >= size && memcmp(reader->rest.data, text, size) == 0;
}

static bool skip_past(struct reader *reader, const char *mark, cx_err *err)
{
    const void *at = memmem(reader->rest.data, reader->rest.size, mark, strlen(mark));

    if (at == NULL)
        return malformed("it is cut", err);
    drop(reader, (size_t)((const uint8_t *)at - reader->rest.data) + strlen(mark));
    return true;
}

/* ---- text */

static void add_character(cx_buffer *text, uint32_t number)
{
    uint8_t bytes[4];
    size_t size = number < 0x80 ? 1 : number < 0x800 ? 2 : number < 0x10000 ? 3 : 4;

    if (size == 1) {
        bytes[0] = (uint8_t)number;
    } else {
        static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};

        for (size_t i = size; i-- > 1; number >>= 6)
            bytes[i] = (uint8_t)(0x80 | (number & 0x3f));
        bytes[0] = (uint8_t)(marks[size] | number);
    }
    cx_buffer_add(text, bytes, size);
}

/* "amp", "#10", "#xA" */
static bool decode_entity(const char *name, cx_buffer *text)
{
    static const struct {
        const char *name;
        char character;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    uint32_t number = 0;
    bool is_hex = name[0] == '#' && name[1] == 'x';

    for (size_t i = 0; i < CX_COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0) {
            cx_buffer_add(text, &known[i].character, 1);
            return true;
        }
    if (name[0] != '#')
        return false;
    name += is_hex ? 2 : 1;
    if (name[0] == '\0' || strlen(name) > 7)
        return false;
    for (; *name != '\0'; name++) {
        char c = *name;
        int digit = c >= '0' && c <= '9'             ? c - '0'
                    : is_hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : is_hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;

        if (digit < 0)
            return false;
        number = number * (is_hex ? 16 : 10) + (uint32_t)digit;
    }
    if (number == 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff))
        return false;
    add_character(text, number);
    return true;
}

static bool take_entity(struct reader *reader, cx_err *err)
{
    char name[16];
    const uint8_t *end = memchr(reader->rest.data, ';',
                                reader->rest.size < sizeof name ? reader->rest.size : sizeof name);
    size_t size = end == NULL ? 0 : (size_t)(end - reader->rest.data) - 1;

    if (size == 0)
        return malformed("an entity without an end", err);
    if (reader->text.size + 4 > CX_XML_TEXT_MAX) /* the longest character */
        return malformed("a text that is too long", err);
    memcpy(name, reader->rest.data + 1, size);
    name[size] = '\0';
    drop(reader, size + 2);
    return decode_entity(name, &reader->text) || malformed("an unknown entity", err);
}

static bool take_text(struct reader *reader, cx_err *err)
{
    size_t size = 0;

    if (reader->rest.data[0] == '&')
        return take_entity(reader, err);
    while (size < reader->rest.size && reader->rest.data[size] != '<' &&
           reader->rest.data[size] != '&' && reader->rest.data[size] != '\0')
        size++;
    if (size == 0 || size > CX_XML_TEXT_MAX - reader->text.size)
        return malformed("a text that is too long, or has a NUL", err);
    cx_buffer_add(&reader->text, reader->rest.data, size);
    drop(reader, size);
    return true;
}

/* ---- tags */

static size_t name_size(const struct reader *reader)
{
    size_t size = 0;

    while (size < reader->rest.size && strchr(" \t\r\n/>", reader->rest.data[size]) == NULL)
        size++;
    return size;
}

static bool end_element(struct reader *reader, cx_xml_end *end, void *arg, cx_err *err)
{
    cx_buffer_add(&reader->text, "", 1); /* even an empty one is a text */
    if (!end(reader->path, (const char *)reader->text.data, arg, err))
        return false;
    cx_buffer_clear(&reader->text);
    reader->path[reader->lengths[--reader->depth]] = '\0';
    return true;
}

static bool begin_element(struct reader *reader, cx_xml_end *end, void *arg, cx_err *err)
{
    size_t size, length = strlen(reader->path);
    bool is_empty = false;
    char quote = '\0';

    drop(reader, 1);
    size = name_size(reader);
    if (size == 0 || reader->depth == CX_XML_DEPTH_MAX || length + 1 + size > CX_XML_PATH_MAX)
        return malformed("a name that is too long, or too many elements in each other", err);
    reader->lengths[reader->depth++] = length;
    snprintf(reader->path + length, sizeof reader->path - length, "%s%.*s", length > 0 ? "/" : "",
             (int)size, (const char *)reader->rest.data);
    drop(reader, size);
    cx_buffer_clear(&reader->text);
    for (;; drop(reader, 1)) {
        if (reader->rest.size == 0)
            return malformed("it is cut", err);

        char c = (char)reader->rest.data[0];

        if (quote != '\0')
            quote = c == quote ? '\0' : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '>')
            break;
        else
            is_empty = c == '/';
    }
    drop(reader, 1);
    return !is_empty || end_element(reader, end, arg, err);
}

static bool close_element(struct reader *reader, cx_xml_end *end, void *arg, cx_err *err)
{
    const char *slash = strrchr(reader->path, '/');
    const char *open = slash == NULL ? reader->path : slash + 1;
    size_t size;

    drop(reader, 2);
    size = name_size(reader);
    if (reader->depth == 0 || size != strlen(open) || memcmp(open, reader->rest.data, size) != 0)
        return malformed("an end of what was not begun", err);
    return skip_past(reader, ">", err) && end_element(reader, end, arg, err);
}

bool cx_xml_read(cx_bytes document, cx_xml_end *end, void *arg, cx_err *err)
{
    CX_AUTO(free_reader) struct reader reader = {.rest = document};

    while (reader.rest.size > 0) {
        bool taken;

        if (reader.rest.data[0] != '<')
            taken = take_text(&reader, err);
        else if (starts_with(&reader, "<?"))
            taken = skip_past(&reader, "?>", err);
        else if (starts_with(&reader, "<!--"))
            taken = skip_past(&reader, "-->", err);
        else if (starts_with(&reader, "<!"))
            taken = malformed("a declaration", err);
        else if (starts_with(&reader, "</"))
            taken = close_element(&reader, end, arg, err);
        else
            taken = begin_element(&reader, end, arg, err);
        if (!taken)
            return false;
    }
    return reader.depth == 0 || malformed("it is cut", err);
}

/* What the files of the redactor share; for them alone. */
#pragma once

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "base/redact.h"

#define REDACT_MARK "<redacted:"

/* What was found at a place: so many bytes stay, so many after them are the secret. */
typedef struct redact_hit {
    size_t keep, cut;
    cx_secret kind;
    bool quoted; /* the mark needs quotes, or JSON would not be JSON any more */
} redact_hit;

/* All look at text.data[at]; `at` begins a word. */
bool redact_shape(cx_bytes text, size_t at, redact_hit *hit); /* redact_shape.c */
bool redact_named(cx_bytes text, size_t at, redact_hit *hit); /* redact_named.c */

/* The length of a mark that stands there, or 0. */
size_t redact_mark_size(cx_bytes text, size_t at);
/* These are asked for every word of a text, so they stand where the compiler sees them. */

/* Whether the text goes on so; upper and lower case are one where any_case. */
static inline bool redact_is_at(cx_bytes text, size_t at, const char *word, bool any_case)
{
    size_t size = strlen(word);
    const char *here = (const char *)text.data + at;

    if (at > text.size || text.size - at < size)
        return false;
    return any_case ? strncasecmp(here, word, size) == 0 : memcmp(here, word, size) == 0;
}

/* How many bytes from `at` on are of the class, at most so many: hostile text must not make the time
 * grow with its square. */
typedef bool redact_class(uint8_t byte);
static inline size_t redact_span(cx_bytes text, size_t at, size_t size_max, redact_class *is_of)
{
    size_t size = 0;

    while (size < size_max && at + size < text.size && is_of(text.data[at + size]))
        size++;
    return size;
}

static inline bool redact_is_word(uint8_t byte) /* A-Z a-z 0-9 _ */
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '_';
}

static inline bool redact_is_base64(uint8_t byte) /* A-Z a-z 0-9 + / */
{
    return (redact_is_word(byte) && byte != '_') || byte == '+' || byte == '/';
}

static inline bool redact_is_url64(uint8_t byte) /* A-Z a-z 0-9 - _ */
{
    return redact_is_word(byte) || byte == '-';
}

/* How much an escape such as \n of a JSON text takes there: 2, or 0. */
size_t redact_escape(cx_bytes text, size_t at);

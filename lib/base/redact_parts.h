/* What the files of the redactor share; for them alone. */
#pragma once

#include <stddef.h>

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
/* Whether the text goes on so; upper and lower case are one where any_case. */
bool redact_is_at(cx_bytes text, size_t at, const char *word, bool any_case);
/* How many bytes from `at` on are of the class, at most so many: hostile text must not make the time
 * grow with its square. */
typedef bool redact_class(uint8_t byte);
size_t redact_span(cx_bytes text, size_t at, size_t size_max, redact_class *is_of);
bool redact_is_word(uint8_t byte);   /* A-Z a-z 0-9 _ */
bool redact_is_base64(uint8_t byte); /* A-Z a-z 0-9 + / */
bool redact_is_url64(uint8_t byte);  /* A-Z a-z 0-9 - _ */
/* How much an escape such as \n of a JSON text takes there: 2, or 0. */
size_t redact_escape(cx_bytes text, size_t at);

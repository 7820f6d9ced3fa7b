/* Memory and bytes: owners that free themselves, views of outside bytes, buffers that grow.
 *
 * Exhaustion of memory ends the process with status 70: all state on disk is whole at every
 * moment, so dying is safe and no caller has to test for NULL. Hence sizes that come from outside
 * are checked against a named limit before anything is allocated for them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CX_AUTO(destructor)        __attribute__((cleanup(destructor)))
#define CX_MUST_CHECK              __attribute__((warn_unused_result))
#define CX_PRINTF(format_at, args) __attribute__((format(printf, format_at, args)))
#define CX_COUNT(array)            (sizeof(array) / sizeof((array)[0]))

/* Hands an owner's value over: the owner is empty afterwards and its CX_AUTO frees nothing. */
#define CX_TAKE(owner)                      \
    __extension__({                         \
        __typeof__(owner) taken_ = (owner); \
        (owner) = NULL;                     \
        taken_;                             \
    })

/* A view of bytes that somebody else owns. */
typedef struct cx_bytes {
    const uint8_t *data;
    size_t size;
} cx_bytes;

/* Bytes that grow. {0} is an empty buffer. The bytes are always followed by a NUL that does not
 * count, once anything was added. */
typedef struct cx_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
} cx_buffer;

/* Zeroed memory for count items of size bytes; the product is checked. Never NULL. */
void *cx_alloc(size_t count, size_t size);
/* Resizes to count items of size bytes; new bytes are not zeroed. Never NULL. */
void *cx_realloc(void *old, size_t count, size_t size);
char *cx_strdup(const char *text);                   /* NULL stays NULL */
char *cx_strndup(const char *text, size_t size_max); /* at most size_max bytes, then a NUL */
/* printf into new memory, which the caller owns. */
char *cx_format(const char *format, ...) CX_PRINTF(1, 2);

/* owner is the address of a pointer: frees what it points to and sets it NULL. Runs twice. */
void cx_free(void *owner);
/* The same for a text that is secret: wipes it first. */
void cx_free_secret(char **owner);

void cx_buffer_add(cx_buffer *buffer, const void *data, size_t size);
void cx_buffer_add_text(cx_buffer *buffer, const char *text);
void cx_buffer_addf(cx_buffer *buffer, const char *format, ...) CX_PRINTF(2, 3);
/* Room for at least size more bytes at the end; returns where they begin. The caller adds what it
 * wrote to buffer->size. */
uint8_t *cx_buffer_reserve(cx_buffer *buffer, size_t size);
/* Drops the first size bytes (at most all). */
void cx_buffer_consume(cx_buffer *buffer, size_t size);
void cx_buffer_clear(cx_buffer *buffer); /* empties it and keeps the memory */
void cx_buffer_free(cx_buffer *buffer);  /* gives the memory back; leaves an empty buffer */
cx_bytes cx_buffer_bytes(const cx_buffer *buffer);
/* The buffer's bytes as NUL-terminated text that the caller owns; leaves an empty buffer. */
char *cx_buffer_take_text(cx_buffer *buffer);

cx_bytes cx_bytes_of(const char *text); /* the text's bytes without its NUL */
bool cx_bytes_equal(cx_bytes a, cx_bytes b);

/* A list of texts. {0} is empty. The list owns its texts. */
typedef struct cx_list {
    char **items;
    size_t count;
} cx_list;

void cx_list_add(cx_list *list, const char *text);
void cx_list_take(cx_list *list, char *text); /* like add, but the list becomes the text's owner */
bool cx_list_has(const cx_list *list, const char *text);
void cx_list_free(cx_list *list);

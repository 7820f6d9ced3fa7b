#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { BUFFER_SIZE_FIRST = 64 };

/* Without stdio, which may allocate, and without atexit handlers, which may rely on what failed. */
static _Noreturn void exhausted(void)
{
    static const char message[] = "out of memory\n";

    if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
        _exit(EX_SOFTWARE);
    _exit(EX_SOFTWARE);
}

/* Never 0, for which the allocator might return NULL. */
static size_t checked_product(size_t count, size_t size)
{
    size_t product;

    if (__builtin_mul_overflow(count, size, &product) || product > PTRDIFF_MAX)
        exhausted();
    return product > 0 ? product : 1;
}

static char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        exhausted();
    return text;
}

void *cx_alloc(size_t count, size_t size)
{
    void *memory = calloc(1, checked_product(count, size));

    if (memory == NULL)
        exhausted();
    return memory;
}

void *cx_realloc(void *old, size_t count, size_t size)
{
    void *memory = realloc(old, checked_product(count, size));

    if (memory == NULL)
        exhausted();
    return memory;
}

char *cx_strdup(const char *text)
{
    return text == NULL ? NULL : cx_strndup(text, strlen(text));
}

char *cx_strndup(const char *text, size_t size_max)
{
    if (text == NULL)
        return NULL;

    char *copy = strndup(text, size_max);

    if (copy == NULL)
        exhausted();
    return copy;
}

char *cx_format(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    char *text = format_text(format, arguments);
    va_end(arguments);
    return text;
}

/* By memcpy, because the owner is a pointer to any type and void ** would alias it. */
void cx_free(void *owner)
{
    void *memory;

    memcpy(&memory, owner, sizeof(memory));
    free(memory);
    memory = NULL;
    memcpy(owner, &memory, sizeof(memory));
}

void cx_free_secret(char **owner)
{
    if (*owner)
        explicit_bzero(*owner, strlen(*owner));
    cx_free(owner);
}

void cx_buffer_add(cx_buffer *buffer, const void *data, size_t size)
{
    uint8_t *end = cx_buffer_reserve(buffer, size);

    if (size > 0)
        memcpy(end, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void cx_buffer_add_text(cx_buffer *buffer, const char *text)
{
    cx_buffer_add(buffer, text, strlen(text));
}

void cx_buffer_addf(cx_buffer *buffer, const char *format, ...)
{
    CX_AUTO(cx_free) char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = format_text(format, arguments);
    va_end(arguments);
    cx_buffer_add_text(buffer, text);
}

/* One byte more than was asked for is there for the NUL; it is set already, so that what the caller
 * writes without cx_buffer_add is text as well as long as it doesn't fill the last byte. */
uint8_t *cx_buffer_reserve(cx_buffer *buffer, size_t size)
{
    size_t wanted;

    if (__builtin_add_overflow(buffer->size, size, &wanted) ||
        __builtin_add_overflow(wanted, 1U, &wanted) || wanted > SIZE_MAX / 2)
        exhausted();
    if (wanted > buffer->capacity) {
        size_t capacity = buffer->capacity > 0 ? buffer->capacity : BUFFER_SIZE_FIRST;

        while (capacity < wanted)
            capacity *= 2;
        buffer->data = cx_realloc(buffer->data, capacity, 1);
        memset(buffer->data + buffer->size, 0, capacity - buffer->size);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

void cx_buffer_consume(cx_buffer *buffer, size_t size)
{
    if (size == 0 || buffer->size == 0)
        return;
    if (size > buffer->size)
        size = buffer->size;
    buffer->size -= size;
    memmove(buffer->data, buffer->data + size, buffer->size);
    buffer->data[buffer->size] = '\0';
}

void cx_buffer_clear(cx_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->data != NULL)
        buffer->data[0] = '\0';
}

void cx_buffer_free(cx_buffer *buffer)
{
    free(buffer->data);
    *buffer = (cx_buffer){0};
}

cx_bytes cx_buffer_bytes(const cx_buffer *buffer)
{
    return (cx_bytes){buffer->data, buffer->size};
}

char *cx_buffer_take_text(cx_buffer *buffer)
{
    cx_buffer_add(buffer, "", 0);

    char *text = (char *)buffer->data;

    *buffer = (cx_buffer){0};
    return text;
}

cx_bytes cx_bytes_of(const char *text)
{
    return (cx_bytes){(const uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

bool cx_bytes_equal(cx_bytes a, cx_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

void cx_list_add(cx_list *list, const char *text)
{
    cx_list_take(list, cx_strdup(text));
}

/* Room doubles whenever the count is a power of two, so the struct needs no capacity. */
void cx_list_take(cx_list *list, char *text)
{
    if ((list->count & (list->count - 1)) == 0)
        list->items =
            cx_realloc(list->items, list->count > 0 ? list->count * 2 : 1, sizeof(char *));
    list->items[list->count++] = text;
}

bool cx_list_has(const cx_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

void cx_list_free(cx_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (cx_list){0};
}

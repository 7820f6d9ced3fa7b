#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Cuts the text at its end back to whole UTF-8 characters: what vsnprintf shortened may end inside
 * one. */
static void trim_partial_character(char *text)
{
    size_t size = strlen(text);
    size_t tail = 0;

    while (tail < 3 && tail < size && ((unsigned char)text[size - 1 - tail] & 0xC0) == 0x80)
        tail++;
    if (tail == size)
        return;

    unsigned char lead = (unsigned char)text[size - 1 - tail];
    size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;

    if (wanted > tail)
        text[size - 1 - tail] = '\0';
}

/* Through a copy, because an argument may point into the text that is written. */
static void print_to(char *text, size_t size, const char *format, va_list arguments)
{
    char copy[sizeof(((cx_err *)0)->message)];
    int length = vsnprintf(copy, size, format, arguments);

    if (length < 0)
        copy[0] = '\0';
    else if ((size_t)length >= size)
        trim_partial_character(copy);
    memcpy(text, copy, strlen(copy) + 1);
}

bool cx_fail(cx_err *err, cx_code code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_to(err->message, sizeof(err->message), format, arguments);
    va_end(arguments);
    err->code = code;
    err->hint[0] = '\0';
    return false;
}

bool cx_fail_errno(cx_err *err, const char *format, ...)
{
    int number = errno;
    char what[sizeof(err->message)];
    char reason[128];
    va_list arguments;

    va_start(arguments, format);
    print_to(what, sizeof(what), format, arguments);
    va_end(arguments);
    return cx_fail(err, cx_code_from_errno(number), "%s: %s", what,
                   strerror_r(number, reason, sizeof(reason)));
}

bool cx_wrap(cx_err *err, const char *format, ...)
{
    char context[sizeof(err->message)];
    char message[sizeof(err->message)];
    va_list arguments;

    va_start(arguments, format);
    print_to(context, sizeof(context), format, arguments);
    va_end(arguments);
    memcpy(message, err->message, sizeof(message));

    int length = snprintf(err->message, sizeof(err->message), "%s: %s", context, message);

    if (length >= (int)sizeof(err->message))
        trim_partial_character(err->message);
    return false;
}

bool cx_hint(cx_err *err, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_to(err->hint, sizeof(err->hint), format, arguments);
    va_end(arguments);
    return false;
}

const char *cx_code_word(cx_code code)
{
    switch (code) {
    case CX_OK: return "ok";
#define WORD_CASE(name, word, status) \
    case CX_##name: return word;
        CX_CODES(WORD_CASE)
#undef WORD_CASE
    }
    return "internal";
}

int cx_code_status(cx_code code)
{
    switch (code) {
    case CX_OK: return 0;
#define STATUS_CASE(name, word, status) \
    case CX_##name: return status;
        CX_CODES(STATUS_CASE)
#undef STATUS_CASE
    }
    return EX_SOFTWARE;
}

cx_code cx_code_from_word(const char *word)
{
#define WORD_TEST(name, text, status) \
    if (strcmp(word, text) == 0)      \
        return CX_##name;
    CX_CODES(WORD_TEST)
#undef WORD_TEST
    return CX_INTERNAL;
}

cx_code cx_code_from_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
    case ENXIO: return CX_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: /* a link where O_NOFOLLOW forbids one */ return CX_PERMISSION;
    case EEXIST:
    case ENOTEMPTY: return CX_EXISTS;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
    case EADDRINUSE: return CX_BUSY;
    case ETIMEDOUT: return CX_TIMEOUT;
    case EINTR: return CX_INTERRUPTED;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case EPIPE: return CX_UNAVAILABLE;
    case EFBIG:
    case EMSGSIZE: return CX_TOO_LARGE;
    case EINVAL:
    case ENAMETOOLONG:
    case EISDIR:
    case EADDRNOTAVAIL: return CX_INVALID;
    default: return CX_IO;
    }
}

int cx_code_to_http(cx_code code)
{
    switch (code) {
    case CX_OK: return 200;
    case CX_USAGE:
    case CX_INVALID:
    case CX_MALFORMED: return 400;
    case CX_UNAUTHENTICATED:
    case CX_TOKEN_INVALID:
    case CX_TOKEN_EXPIRED:
    case CX_TOKEN_USED: return 401;
    case CX_PERMISSION:
    case CX_REVOKED:
    case CX_CERT_EXPIRED:
    case CX_CERT_INVALID: return 403;
    case CX_NOT_FOUND: return 404;
    case CX_EXISTS: return 409;
    case CX_TOO_LARGE: return 413;
    case CX_PROTOCOL: return 502;
    case CX_UNAVAILABLE:
    case CX_BUSY:
    case CX_DRAINING:
    case CX_NO_MAJORITY:
    case CX_INTERRUPTED: return 503;
    case CX_TIMEOUT: return 504;
    case CX_CORRUPT:
    case CX_INTERNAL:
    case CX_CANT_CREATE:
    case CX_IO:
    case CX_CONFIG: return 500;
    }
    return 500;
}

cx_code cx_code_from_http(int status)
{
    switch (status) {
    case 401: return CX_UNAUTHENTICATED;
    case 403: return CX_PERMISSION;
    case 404:
    case 410: return CX_NOT_FOUND;
    case 408:
    case 504: return CX_TIMEOUT;
    case 409: return CX_EXISTS;
    case 413:
    case 431: return CX_TOO_LARGE;
    case 423:
    case 425:
    case 429: return CX_BUSY;
    case 502:
    case 503: return CX_UNAVAILABLE;
    default: break;
    }
    if (status >= 200 && status < 300)
        return CX_OK;
    if (status >= 400 && status < 500)
        return CX_INVALID;
    return status >= 500 && status < 600 ? CX_INTERNAL : CX_PROTOCOL;
}

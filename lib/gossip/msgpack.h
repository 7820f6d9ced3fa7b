/* Msgpack as memberlist writes it: the old specification, in which texts and byte strings are both
 * "raw" (section 3).
 *
 * Writing is msgpack-c's packer. Reading is our own, on purpose: msgpack-c unpacks into a tree of
 * objects, and a hostile 20 MiB of small values would become some 500 MiB of tree before we saw the
 * first of them. Here values are taken from the front, without copying and without allocation;
 * every count and length is checked against the bytes that are left. Pure. */
#pragma once

#include "base/err.h"

enum { CX_MSGPACK_DEPTH_MAX = 16 };

/* Writers append to the buffer: integers in their shortest form, doubles as such. */
void cx_msgpack_put_nil(cx_buffer *buffer);
void cx_msgpack_put_bool(cx_buffer *buffer, bool value);
void cx_msgpack_put_uint(cx_buffer *buffer, uint64_t value);
void cx_msgpack_put_int(cx_buffer *buffer, int64_t value);
void cx_msgpack_put_double(cx_buffer *buffer, double value);
void cx_msgpack_put_raw(cx_buffer *buffer, cx_bytes value);
void cx_msgpack_put_text(cx_buffer *buffer, const char *text);
void cx_msgpack_put_array(cx_buffer *buffer, size_t count);
void cx_msgpack_put_map(cx_buffer *buffer, size_t count);

/* Readers take one value from the front of *rest. On failure (MALFORMED) *rest is anywhere, and what
 * was being read is lost. */
CX_MUST_CHECK bool cx_msgpack_take_uint(cx_bytes *rest, uint64_t max, uint64_t *value, cx_err *err);
CX_MUST_CHECK bool cx_msgpack_take_int(cx_bytes *rest, int64_t *value, cx_err *err);
CX_MUST_CHECK bool cx_msgpack_take_bool(cx_bytes *rest, bool *value, cx_err *err);     /* or 0, 1 */
CX_MUST_CHECK bool cx_msgpack_take_double(cx_bytes *rest, double *value, cx_err *err); /* or int */
/* Texts are raw or str8, never bin; nil is empty. */
CX_MUST_CHECK bool cx_msgpack_take_text(cx_bytes *rest, cx_bytes *value, cx_err *err);
/* Byte strings may be bin too; nil is {NULL, 0}, an empty one has data that is not NULL. */
CX_MUST_CHECK bool cx_msgpack_take_bytes(cx_bytes *rest, cx_bytes *value, cx_err *err);
/* Counts of items, of pairs; nil counts as empty. */
CX_MUST_CHECK bool cx_msgpack_take_array(cx_bytes *rest, size_t *count, cx_err *err);
CX_MUST_CHECK bool cx_msgpack_take_map(cx_bytes *rest, size_t *count, cx_err *err);
/* One value of any kind with all that is in it; *value views its bytes (NULL: not wanted). */
CX_MUST_CHECK bool cx_msgpack_take_any(cx_bytes *rest, cx_bytes *value, cx_err *err);
/* What the next value is; nothing is taken. */
bool cx_msgpack_is_nil(cx_bytes rest);
bool cx_msgpack_is_array(cx_bytes rest);
bool cx_msgpack_is_map(cx_bytes rest);

/* Finds the end of values in bytes that come in pieces, without reading any byte twice. */
typedef struct cx_msgpack_scan {
    uint64_t
        wanted; /* values still to come; set it to the number of values before the first call */
} cx_msgpack_scan;

/* Moves *at over whole values and parts of values. *done: all wanted ones are there and end at *at.
 * Otherwise *at is as far as can be told, and the next call goes on there with more bytes. Fails on
 * bytes that are no msgpack and on more than wanted_max values to come. */
CX_MUST_CHECK bool cx_msgpack_scan_on(cx_msgpack_scan *scan, cx_bytes bytes, size_t *at,
                                      uint64_t wanted_max, bool *done, cx_err *err);

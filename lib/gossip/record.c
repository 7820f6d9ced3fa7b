#include "gossip/record.h"

#include <string.h>

static bool take_field(cx_bytes *rest, cx_record_kind kind, void *value, cx_err *err)
{
    uint64_t number = 0;

    switch (kind) {
    case CX_RECORD_U8:
        if (!cx_msgpack_take_uint(rest, UINT8_MAX, &number, err))
            return false;
        *(uint8_t *)value = (uint8_t)number;
        return true;
    case CX_RECORD_U16:
        if (!cx_msgpack_take_uint(rest, UINT16_MAX, &number, err))
            return false;
        *(uint16_t *)value = (uint16_t)number;
        return true;
    case CX_RECORD_U32:
        if (!cx_msgpack_take_uint(rest, UINT32_MAX, &number, err))
            return false;
        *(uint32_t *)value = (uint32_t)number;
        return true;
    case CX_RECORD_U64: return cx_msgpack_take_uint(rest, UINT64_MAX, value, err);
    case CX_RECORD_I64: return cx_msgpack_take_int(rest, value, err);
    case CX_RECORD_BOOL: return cx_msgpack_take_bool(rest, value, err);
    case CX_RECORD_DOUBLE: return cx_msgpack_take_double(rest, value, err);
    case CX_RECORD_TEXT: return cx_msgpack_take_text(rest, value, err);
    case CX_RECORD_BYTES: return cx_msgpack_take_bytes(rest, value, err);
    case CX_RECORD_ANY: return cx_msgpack_take_any(rest, value, err);
    }
    return cx_fail(err, CX_INTERNAL, "record field of kind %d", (int)kind);
}

static void *at(const cx_record_field *field, void *values)
{
    return (uint8_t *)values + field->offset;
}

static const cx_record_field *named(const cx_record *record, cx_bytes name)
{
    for (size_t i = 0; i < record->count; i++)
        if (cx_bytes_equal(cx_bytes_of(record->fields[i].name), name))
            return &record->fields[i];
    return NULL;
}

static const cx_record_field *declared(const cx_record *record, size_t place)
{
    for (size_t i = 0; i < record->count; i++)
        if (record->fields[i].declared == place)
            return &record->fields[i];
    return NULL;
}

/* A value of the record, or one that nobody knows and that is skipped. */
static bool take_or_skip(cx_bytes *rest, const cx_record *record, const cx_record_field *field,
                         void *values, cx_err *err)
{
    if (field == NULL)
        return cx_msgpack_take_any(rest, NULL, err);
    if (!take_field(rest, field->kind, at(field, values), err))
        return cx_wrap(err, "%s.%s", record->name, field->name);
    return true;
}

static bool take_array(cx_bytes *rest, const cx_record *record, void *values, cx_err *err)
{
    size_t count = 0;

    if (!cx_msgpack_take_array(rest, &count, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!take_or_skip(rest, record, declared(record, i), values, err))
            return false;
    return true;
}

static bool is_empty(cx_record_kind kind, const void *value)
{
    switch (kind) {
    case CX_RECORD_U8: return *(const uint8_t *)value == 0;
    case CX_RECORD_U16: return *(const uint16_t *)value == 0;
    case CX_RECORD_U32: return *(const uint32_t *)value == 0;
    case CX_RECORD_U64: return *(const uint64_t *)value == 0;
    case CX_RECORD_I64: return *(const int64_t *)value == 0;
    case CX_RECORD_BOOL: return !*(const bool *)value;
    case CX_RECORD_DOUBLE: return false;
    case CX_RECORD_TEXT:
    case CX_RECORD_BYTES:
    case CX_RECORD_ANY: return ((const cx_bytes *)value)->size == 0;
    }
    return false;
}

static void put_field(cx_buffer *buffer, cx_record_kind kind, const void *value)
{
    const cx_bytes *bytes = value;

    switch (kind) {
    case CX_RECORD_U8: cx_msgpack_put_uint(buffer, *(const uint8_t *)value); break;
    case CX_RECORD_U16: cx_msgpack_put_uint(buffer, *(const uint16_t *)value); break;
    case CX_RECORD_U32: cx_msgpack_put_uint(buffer, *(const uint32_t *)value); break;
    case CX_RECORD_U64: cx_msgpack_put_uint(buffer, *(const uint64_t *)value); break;
    case CX_RECORD_I64: cx_msgpack_put_int(buffer, *(const int64_t *)value); break;
    case CX_RECORD_BOOL: cx_msgpack_put_bool(buffer, *(const bool *)value); break;
    case CX_RECORD_DOUBLE: cx_msgpack_put_double(buffer, *(const double *)value); break;
    case CX_RECORD_TEXT: cx_msgpack_put_raw(buffer, *bytes); break;
    case CX_RECORD_BYTES:
        if (bytes->data == NULL)
            cx_msgpack_put_nil(buffer);
        else
            cx_msgpack_put_raw(buffer, *bytes);
        break;
    case CX_RECORD_ANY:
        if (bytes->data == NULL)
            cx_msgpack_put_nil(buffer);
        else
            cx_buffer_add(buffer, bytes->data, bytes->size);
        break;
    }
}

bool cx_record_take(cx_bytes *rest, const cx_record *record, void *values, cx_err *err)
{
    size_t count = 0;

    memset(values, 0, record->size);
    if (cx_msgpack_is_array(*rest))
        return take_array(rest, record, values, err) || cx_wrap(err, "%s", record->name);
    if (cx_msgpack_is_nil(*rest))
        return cx_fail(err, CX_MALFORMED, "%s: nothing where a record belongs", record->name);
    if (!cx_msgpack_take_map(rest, &count, err))
        return cx_wrap(err, "%s", record->name);
    for (size_t i = 0; i < count; i++) {
        cx_bytes name = {0};

        if (!cx_msgpack_take_text(rest, &name, err))
            return cx_wrap(err, "%s", record->name);
        if (!take_or_skip(rest, record, named(record, name), values, err))
            return false;
    }
    return true;
}

void cx_record_put(cx_buffer *buffer, const cx_record *record, const void *values)
{
    const uint8_t *base = values;
    size_t written = 0;

    for (size_t i = 0; i < record->count; i++)
        written += !record->fields[i].omit_empty ||
                   !is_empty(record->fields[i].kind, base + record->fields[i].offset);
    cx_msgpack_put_map(buffer, written);
    for (size_t i = 0; i < record->count; i++) {
        const cx_record_field *field = &record->fields[i];

        if (field->omit_empty && is_empty(field->kind, base + field->offset))
            continue;
        cx_msgpack_put_text(buffer, field->name);
        put_field(buffer, field->kind, base + field->offset);
    }
}

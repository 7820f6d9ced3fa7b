/* Wire messages as JSON, in the way of test/vectors/check.py, which made the "decoded" parts of the vectors.
 * For tests with cmocka, which they include first. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "gossip/stream.h"

static inline json_t *serf_json(cx_bytes message);

static inline json_t *hex_json(cx_bytes bytes)
{
    CX_AUTO(cx_free) char *hex = cx_hex(bytes);

    return json_pack("{s:s}", "hex", hex);
}

static inline json_t *text_json(cx_bytes bytes)
{
    return json_stringn((const char *)bytes.data, bytes.size);
}

static inline json_t *addr_json(cx_bytes bytes)
{
    char text[16];

    if (bytes.size != 4)
        return hex_json(bytes);
    snprintf(text, sizeof(text), "%u.%u.%u.%u", bytes.data[0], bytes.data[1], bytes.data[2],
             bytes.data[3]);
    return json_string(text);
}

static inline json_t *vsn_json(cx_bytes bytes)
{
    json_t *list = json_array();

    for (size_t i = 0; i < bytes.size; i++)
        json_array_append_new(list, json_integer(bytes.data[i]));
    return list;
}

static inline json_t *list_json(cx_bytes value, bool of_texts)
{
    json_t *list = json_array();
    size_t count = 0;
    cx_err err;

    assert_true(cx_msgpack_take_array(&value, &count, &err));
    for (size_t i = 0; i < count; i++) {
        cx_bytes text;
        double number;

        if (of_texts) {
            assert_true(cx_msgpack_take_text(&value, &text, &err));
            json_array_append_new(list, text_json(text));
        } else {
            assert_true(cx_msgpack_take_double(&value, &number, &err));
            json_array_append_new(list, json_real(number));
        }
    }
    return list;
}

static inline json_t *map_json(cx_bytes value, bool of_texts)
{
    json_t *map = json_object();
    size_t count = 0;
    cx_err err;

    assert_true(cx_msgpack_take_map(&value, &count, &err));
    for (size_t i = 0; i < count; i++) {
        cx_bytes key, text;
        uint64_t number;

        assert_true(cx_msgpack_take_text(&value, &key, &err));
        CX_AUTO(cx_free) char *name = cx_strndup((const char *)key.data, key.size);

        if (of_texts) {
            assert_true(cx_msgpack_take_text(&value, &text, &err));
            json_object_set_new(map, name, text_json(text));
        } else {
            assert_true(cx_msgpack_take_uint(&value, UINT64_MAX, &number, &err));
            json_object_set_new(map, name, json_integer((json_int_t)number));
        }
    }
    return map;
}

static inline json_t *record_json(const cx_record *record, const void *values);

static inline json_t *taken_json(cx_bytes *rest, const cx_record *record)
{
    cx_wire_any any;
    cx_err err;

    assert_true(cx_record_take(rest, record, &any, &err));
    return record_json(record, &any);
}

static inline json_t *past_events_json(cx_bytes value)
{
    json_t *used = json_array();
    size_t count = 0;
    cx_err err;

    assert_true(cx_msgpack_take_array(&value, &count, &err));
    for (size_t i = 0; i < count; i++) {
        if (cx_msgpack_is_nil(value)) {
            assert_true(cx_msgpack_take_any(&value, NULL, &err));
            continue;
        }
        json_t *slot = taken_json(&value, &cx_wire_past_events_record);

        json_object_set_new(slot, "slot", json_integer((json_int_t)i));
        json_array_append_new(used, slot);
    }
    return json_pack("{s:i, s:o}", "slots", (int)count, "used", used);
}

static inline json_t *slot_events_json(cx_bytes value)
{
    json_t *list = json_array();
    size_t count = 0;
    cx_err err;

    assert_true(cx_msgpack_take_array(&value, &count, &err));
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, taken_json(&value, &cx_wire_past_event_record));
    return list;
}

static inline json_t *filters_json(cx_bytes value)
{
    json_t *list = json_array();
    size_t count = 0;
    cx_err err;

    assert_true(cx_msgpack_take_array(&value, &count, &err));
    for (size_t i = 0; i < count; i++) {
        cx_bytes filter;

        assert_true(cx_msgpack_take_bytes(&value, &filter, &err));
        cx_bytes rest = {filter.data + 1, filter.size - 1};
        json_t *json = filter.data[0] == 0 ? json_pack("{s:o}", "nodes", list_json(rest, true))
                                           : taken_json(&rest, &cx_wire_tag_filter_record);

        json_object_set_new(json, "type", json_string(filter.data[0] == 0 ? "node" : "tag"));
        json_array_append_new(list, json);
    }
    return list;
}

static inline json_t *meta_json(cx_bytes meta)
{
    json_t *json = hex_json(meta);

    if (meta.size > 0 && meta.data[0] == 0xff)
        json_object_set_new(json, "tags", map_json((cx_bytes){meta.data + 1, meta.size - 1}, true));
    return json;
}

static inline json_t *payload_json(const cx_record *record, cx_bytes payload)
{
    if (record == &cx_wire_ack_record) {
        json_t *json = hex_json(payload);
        cx_bytes rest = {payload.data + 1, payload.size - 1};

        if (payload.size > 0 && payload.data[0] == 1)
            json_object_set_new(json, "coordinate", taken_json(&rest, &cx_wire_coordinate_record));
        return json;
    }
    if ((record == &cx_wire_query_record || record == &cx_wire_response_record) &&
        payload.size > 0 && payload.data[0] >= CX_SERF_CONFLICT &&
        payload.data[0] <= CX_SERF_KEY_RESPONSE)
        return serf_json(payload);
    return hex_json(payload);
}

static inline json_t *bytes_json(const cx_record *record, const char *name, cx_bytes bytes)
{
    if (bytes.data == NULL)
        return json_null();
    if (strcmp(name, "Meta") == 0)
        return meta_json(bytes);
    if (strcmp(name, "Vsn") == 0)
        return vsn_json(bytes);
    if (strcmp(name, "Payload") == 0)
        return payload_json(record, bytes);
    if (strcmp(name, "Key") == 0)
        return hex_json(bytes);
    return addr_json(bytes);
}

static inline json_t *any_json(const cx_record *record, const char *name, cx_bytes value)
{
    if (cx_msgpack_is_nil(value))
        return json_null();
    if (strcmp(name, "Vec") == 0)
        return list_json(value, false);
    if (strcmp(name, "StatusLTimes") == 0 || strcmp(name, "Tags") == 0)
        return map_json(value, name[0] == 'T');
    if (strcmp(name, "Filters") == 0)
        return filters_json(value);
    if (strcmp(name, "DestAddr") == 0)
        return taken_json(&value, &cx_wire_relay_addr_record);
    if (strcmp(name, "Events") == 0)
        return record == &cx_wire_serf_state_record ? past_events_json(value)
                                                    : slot_events_json(value);
    return list_json(value, true);
}

static inline json_t *field_json(const cx_record *record, const cx_record_field *field,
                                 const void *value)
{
    const cx_bytes *bytes = value;

    switch (field->kind) {
    case CX_RECORD_U8: return json_integer(*(const uint8_t *)value);
    case CX_RECORD_U16: return json_integer(*(const uint16_t *)value);
    case CX_RECORD_U32: return json_integer(*(const uint32_t *)value);
    case CX_RECORD_U64: return json_integer((json_int_t) * (const uint64_t *)value);
    case CX_RECORD_I64: return json_integer(*(const int64_t *)value);
    case CX_RECORD_BOOL: return json_boolean(*(const bool *)value);
    case CX_RECORD_DOUBLE: return json_real(*(const double *)value);
    case CX_RECORD_TEXT: return text_json(*bytes);
    case CX_RECORD_BYTES: return bytes_json(record, field->name, *bytes);
    case CX_RECORD_ANY: return any_json(record, field->name, *bytes);
    }
    return NULL;
}

static inline json_t *record_json(const cx_record *record, const void *values)
{
    json_t *json = json_object();

    for (size_t i = 0; i < record->count; i++) {
        const cx_record_field *field = &record->fields[i];
        const void *value = (const uint8_t *)values + field->offset;
        json_t *shown = field_json(record, field, value);

        if (field->omit_empty && (json_is_null(shown) || json_integer_value(shown) == 0) &&
            !json_is_string(shown))
            json_decref(shown);
        else if (field->omit_empty && json_is_string(shown) && json_string_length(shown) == 0)
            json_decref(shown);
        else
            json_object_set_new(json, field->name, shown);
    }
    return json;
}

static const char *const serf_names[] = {
    "leave",        "join",           "push_pull",         "user_event",
    "query",        "query_response", "conflict_response", "key_request",
    "key_response", "relay",
};

static inline json_t *serf_json(cx_bytes message)
{
    cx_bytes rest = {message.data + 1, message.size - 1};
    json_t *json = NULL;

    if (message.data[0] == CX_SERF_RELAY) {
        json = taken_json(&rest, &cx_wire_relay_header_record);
        json_object_set_new(json, "message", serf_json(rest));
    } else {
        json = taken_json(&rest, cx_wire_serf_record(message.data[0]));
    }
    json_object_set_new(json, "serf", json_string(serf_names[message.data[0]]));
    return json;
}

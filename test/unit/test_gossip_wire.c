/* The wire against captures of a real agent: every vector of test/vectors decodes to what an independent
 * decoder (check.py) made of it and encodes again to the same bytes; every invalid one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "gossip/stream.h"
#include "gossip_shape.h"

enum { FILE_MAX = 4 * 1024 * 1024, MESSAGES_MAX = 32 };

/* ---- the other way: records encoded again */

static void encode_again(cx_bytes body, const cx_record *record, cx_buffer *out)
{
    cx_wire_any any;
    cx_err err;

    assert_true(cx_record_take(&body, record, &any, &err));
    cx_record_put(out, record, &any);
}

static void encode_serf_again(cx_bytes message, cx_buffer *out)
{
    cx_bytes rest = {message.data + 1, message.size - 1};

    cx_buffer_add(out, message.data, 1);
    if (message.data[0] == CX_SERF_RELAY) {
        cx_wire_any any;
        cx_err err;

        assert_true(cx_record_take(&rest, &cx_wire_relay_header_record, &any, &err));
        cx_record_put(out, &cx_wire_relay_header_record, &any);
        encode_serf_again(rest, out);
        return;
    }
    encode_again(rest, cx_wire_serf_record(message.data[0]), out);
}

static void encode_message_again(uint8_t type, cx_bytes body, cx_buffer *out)
{
    cx_buffer_add(out, &type, 1);
    if (type == CX_WIRE_USER)
        encode_serf_again(body, out);
    else
        encode_again(body, cx_wire_record(type), out);
}

/* ---- what a packet gave */

struct seen {
    json_t *layers, *messages;
    cx_buffer parts[MESSAGES_MAX]; /* encoded again */
    size_t count;
    size_t refused; /* messages that no table reads */
    bool crc, compress;
};

static const char *const type_names[] = {
    "ping", "indirect_ping", "ack", "suspect", "alive", "dead", "push_pull",
    NULL,   "user",          NULL,  NULL,      "nack",  NULL,   "error",
};

static json_t *message_json(uint8_t type, cx_bytes body)
{
    json_t *json = NULL;

    if (type == CX_WIRE_USER)
        json = serf_json(body);
    else
        json = taken_json(&body, cx_wire_record(type));
    json_object_set_new(json, "type", json_string(type_names[type]));
    return json;
}

static bool is_readable(uint8_t type, cx_bytes body)
{
    const cx_record *record = cx_wire_record(type);
    cx_wire_any any;
    cx_err err;

    if (type == CX_WIRE_USER) {
        record = body.size > 0 ? cx_wire_serf_record(body.data[0]) : NULL;
        if (body.size > 0 && body.data[0] == CX_SERF_RELAY)
            record = &cx_wire_relay_header_record;
        if (record != NULL)
            body = (cx_bytes){body.data + 1, body.size - 1};
    }
    return record != NULL && cx_wire_read(body, record, &any, &err);
}

static void see_message(void *context, uint8_t type, cx_bytes body)
{
    struct seen *seen = context;

    if (!is_readable(type, body)) {
        seen->refused++;
        return;
    }
    json_array_append_new(seen->messages, message_json(type, body));
    assert_true(seen->count < MESSAGES_MAX);
    encode_message_again(type, body, &seen->parts[seen->count++]);
}

static void see_layer(void *context, cx_packet_layer layer, size_t number)
{
    struct seen *seen = context;
    char text[32];

    switch (layer) {
    case CX_PACKET_SEALED: snprintf(text, sizeof(text), "encrypt v%zu", number); break;
    case CX_PACKET_CRC: snprintf(text, sizeof(text), "crc"); break;
    case CX_PACKET_COMPRESS: snprintf(text, sizeof(text), "compress lzw"); break;
    case CX_PACKET_COMPOUND: snprintf(text, sizeof(text), "compound %zu", number); break;
    }
    seen->compress = seen->compress || layer == CX_PACKET_COMPRESS;
    seen->crc = seen->crc || layer == CX_PACKET_CRC;
    json_array_append_new(seen->layers, json_string(text));
}

static struct seen seen_nothing(void)
{
    return (struct seen){.layers = json_array(), .messages = json_array()};
}

static void seen_free(struct seen *seen)
{
    json_decref(seen->layers);
    json_decref(seen->messages);
    for (size_t i = 0; i < seen->count; i++)
        cx_buffer_free(&seen->parts[i]);
}

/* ---- the vectors */

static json_t *vectors(const char *path)
{
    json_t *json = NULL;
    cx_err err;

    if (!cx_json_read_file(path, FILE_MAX, &json, &err))
        fail_msg("%s", err.message);
    return json;
}

static cx_buffer from_hex(const json_t *vector)
{
    const char *hex = cx_json_text_or_empty(vector, "hex");
    cx_buffer bytes = {0};
    size_t size = strlen(hex) / 2;
    cx_err err;

    assert_true(cx_from_hex(hex, cx_buffer_reserve(&bytes, size), size, &err));
    bytes.size = size;
    return bytes;
}

static cx_keyring *ring_of(const json_t *vector)
{
    const char *base64 = cx_json_text_or_empty(vector, "key_base64");
    cx_keyring *ring = NULL;
    cx_err err;

    if (base64[0] == '\0')
        return NULL;

    CX_AUTO(cx_free) char *text = cx_format("[\"%s\"]", base64);

    assert_true(cx_keyring_parse(cx_bytes_of(text), &ring, &err));
    return ring;
}

static void expect_equal(const json_t *vector, const char *what, json_t *got, const json_t *wanted)
{
    if (json_equal(got, wanted))
        return;
    CX_AUTO(cx_free) char *got_text = cx_json_line(got);
    CX_AUTO(cx_free) char *wanted_text = cx_json_line(wanted);

    fail_msg("%s: %s\n got    %s\n wanted %s", cx_json_text_or_empty(vector, "name"), what,
             got_text, wanted_text);
}

static void expect_same(const json_t *vector, cx_bytes got, cx_bytes wanted)
{
    if (!cx_bytes_equal(got, wanted))
        fail_msg("%s: encoded to other bytes", cx_json_text_or_empty(vector, "name"));
}

/* The datagram without its seal, since the nonce is another one each time. */
static cx_buffer without_seal(cx_bytes datagram, const cx_keyring *ring)
{
    cx_buffer plain = {0};
    cx_err err;

    if (ring == NULL)
        cx_buffer_add(&plain, datagram.data, datagram.size);
    else
        assert_true(cx_crypt_open(ring, (cx_bytes){0}, datagram, &plain, &err));
    return plain;
}

static void check_packet(const json_t *vector, cx_bytes datagram, const cx_keyring *ring)
{
    CX_AUTO(seen_free) struct seen seen = seen_nothing();
    CX_AUTO(cx_buffer_free) cx_buffer again = {0}, part = {0};
    CX_AUTO(cx_buffer_free) cx_buffer wanted = without_seal(datagram, ring);
    const json_t *decoded = json_object_get(vector, "decoded");
    const cx_packet_sink sink = {&seen, see_message, see_layer};
    cx_bytes parts[MESSAGES_MAX];
    cx_err err;

    if (!cx_packet_read(datagram, ring, &sink, &err))
        fail_msg("%s: %s", cx_json_text_or_empty(vector, "name"), err.message);
    expect_equal(vector, "layers", seen.layers, json_object_get(decoded, "layers"));
    expect_equal(vector, "messages", seen.messages, json_object_get(decoded, "messages"));

    cx_packet_options options = {.crc = seen.crc, .compress = seen.compress};

    for (size_t i = 0; i < seen.count; i++)
        parts[i] = cx_buffer_bytes(&seen.parts[i]);
    /* Made by hand: the last part is compressed by itself, even though it gets longer. */
    if (seen.compress && json_is_true(json_object_get(vector, "synthetic"))) {
        cx_packet_compress(parts[seen.count - 1], &part);
        parts[seen.count - 1] = cx_buffer_bytes(&part);
        options.compress = false;
    }
    cx_packet_write(parts, seen.count, &options, &again);
    expect_same(vector, cx_buffer_bytes(&again), cx_buffer_bytes(&wanted));
}

static void check_push_pull(const json_t *vector, cx_bytes body, cx_buffer *again)
{
    const json_t *wanted =
        json_array_get(json_object_get(json_object_get(vector, "decoded"), "messages"), 0);
    json_t *nodes = json_array();
    cx_push_pull push_pull;
    cx_err err;

    assert_true(cx_stream_read_push_pull(body, &push_pull, &err));
    cx_wire_put(again, CX_WIRE_PUSH_PULL, &cx_wire_push_header_record, &push_pull.header);
    for (int64_t i = 0; i < push_pull.header.nodes; i++) {
        cx_wire_push_node node;

        assert_true(cx_record_take(&push_pull.nodes, &cx_wire_push_node_record, &node, &err));
        cx_record_put(again, &cx_wire_push_node_record, &node);
        json_array_append_new(nodes, record_json(&cx_wire_push_node_record, &node));
    }
    assert_int_equal(push_pull.nodes.size, 0);
    encode_serf_again(push_pull.state, again);

    CX_AUTO(cx_json_free)
    json_t *json = json_pack("{s:s, s:o, s:o, s:o}", "type", "push_pull", "header",
                             record_json(&cx_wire_push_header_record, &push_pull.header), "nodes",
                             nodes, "user_state", serf_json(push_pull.state));

    expect_equal(vector, "push/pull", json, wanted);
}

static void check_stream_message(const json_t *vector, const cx_stream_message *message,
                                 cx_buffer *again)
{
    const json_t *wanted =
        json_array_get(json_object_get(json_object_get(vector, "decoded"), "messages"), 0);
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_bytes user;
    cx_err err;

    if (message->type == CX_WIRE_PUSH_PULL) {
        check_push_pull(vector, message->body, again);
        return;
    }
    if (message->type != CX_WIRE_USER) {
        json = message_json(message->type, message->body);
        encode_message_again(message->type, message->body, again);
    } else {
        assert_true(cx_stream_read_user(message->body, &user, &err));
        cx_wire_user_header header = {.user_msg_len = (int64_t)user.size};

        json = serf_json(user);
        json_object_set_new(json, "type", json_string("user"));
        json_object_set_new(json, "UserMsgLen", json_integer((json_int_t)user.size));
        cx_wire_put(again, CX_WIRE_USER, &cx_wire_user_header_record, &header);
        encode_serf_again(user, again);
    }
    expect_equal(vector, "message", json, wanted);
}

/* Brings the bytes in pieces of that size, as a socket would. */
static cx_stream_verdict scan_in_pieces(cx_bytes bytes, size_t piece, bool sealed, size_t *size,
                                        cx_err *err)
{
    cx_stream_frame frame = {0};
    cx_stream_verdict verdict = CX_STREAM_MORE;

    for (size_t at = 0; verdict == CX_STREAM_MORE && at < bytes.size;) {
        at = bytes.size - at < piece ? bytes.size : at + piece;
        verdict = cx_stream_scan(&frame, (cx_bytes){bytes.data, at}, sealed, err);
        if (verdict == CX_STREAM_WHOLE && at < bytes.size)
            fail_msg("the end was found before it came");
    }
    *size = frame.size;
    return verdict;
}

static void check_stream(const json_t *vector, cx_bytes bytes, const cx_keyring *ring)
{
    CX_AUTO(cx_stream_message_free) cx_stream_message message = {0};
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0}, again = {0}, opened = {0};
    CX_AUTO(cx_json_free) json_t *layers = json_array();
    static const size_t pieces[] = {1, 7, 1448, SIZE_MAX};
    size_t size = 0;
    cx_err err;

    for (size_t i = 0; i < CX_COUNT(pieces); i++) {
        if (scan_in_pieces(bytes, pieces[i], ring != NULL, &size, &err) != CX_STREAM_WHOLE)
            fail_msg("%s: not whole", cx_json_text_or_empty(vector, "name"));
        assert_int_equal(size, bytes.size);
    }
    if (!cx_stream_open(bytes, ring, &message, &err))
        fail_msg("%s: %s", cx_json_text_or_empty(vector, "name"), err.message);
    if (message.seal_version >= 0)
        json_array_append_new(layers,
                              json_string(message.seal_version == 0 ? "encrypt v0" : "encrypt v1"));
    if (message.compressed)
        json_array_append_new(layers, json_string("compress lzw"));
    expect_equal(vector, "layers", layers,
                 json_object_get(json_object_get(vector, "decoded"), "layers"));
    check_stream_message(vector, &message, &plain);

    const cx_packet_options options = {.compress = message.compressed};

    cx_stream_write(cx_buffer_bytes(&plain), &options, &again);
    if (ring != NULL)
        assert_true(cx_crypt_open(ring, (cx_bytes){bytes.data, 5},
                                  (cx_bytes){bytes.data + 5, bytes.size - 5}, &opened, &err));
    expect_same(vector, cx_buffer_bytes(&again), ring != NULL ? cx_buffer_bytes(&opened) : bytes);
}

static void every_capture_decodes_and_encodes_to_the_same_bytes(void **state)
{
    CX_AUTO(cx_json_free) json_t *all = vectors("test/vectors/memberlist.json");
    size_t i;
    json_t *vector;

    (void)state;
    assert_int_equal(json_array_size(all), 94);
    json_array_foreach (all, i, vector) {
        CX_AUTO(cx_buffer_free) cx_buffer bytes = from_hex(vector);
        CX_AUTO(cx_keyring_close) cx_keyring *ring = ring_of(vector);

        if (strcmp(cx_json_text_or_empty(vector, "transport"), "udp") == 0)
            check_packet(vector, cx_buffer_bytes(&bytes), ring);
        else
            check_stream(vector, cx_buffer_bytes(&bytes), ring);
    }
}

static bool packet_is_good(cx_bytes bytes, const cx_keyring *ring)
{
    CX_AUTO(seen_free) struct seen seen = seen_nothing();
    const cx_packet_sink sink = {&seen, see_message, see_layer};
    cx_err err;

    return cx_packet_read(bytes, ring, &sink, &err) && seen.refused == 0;
}

static bool stream_is_good(cx_bytes bytes, const cx_keyring *ring, cx_stream_verdict *verdict)
{
    CX_AUTO(cx_stream_message_free) cx_stream_message message = {0};
    cx_push_pull push_pull;
    cx_wire_any any;
    size_t size = 0;
    cx_bytes user;
    cx_err err;

    *verdict = scan_in_pieces(bytes, 1, ring != NULL, &size, &err);
    if (*verdict != CX_STREAM_WHOLE || !cx_stream_open(bytes, ring, &message, &err))
        return false;
    if (message.type == CX_WIRE_PUSH_PULL)
        return cx_stream_read_push_pull(message.body, &push_pull, &err) &&
               push_pull.state.size > 0 && push_pull.state.data[0] == CX_SERF_STATE;
    if (message.type == CX_WIRE_USER)
        return cx_stream_read_user(message.body, &user, &err);
    return cx_wire_record(message.type) != NULL &&
           cx_wire_read(message.body, cx_wire_record(message.type), &any, &err);
}

static void every_invalid_message_is_refused(void **state)
{
    CX_AUTO(cx_json_free) json_t *all = vectors("test/vectors/invalid.json");
    size_t i;
    json_t *vector;

    (void)state;
    assert_int_equal(json_array_size(all), 33);
    json_array_foreach (all, i, vector) {
        CX_AUTO(cx_buffer_free) cx_buffer bytes = from_hex(vector);
        CX_AUTO(cx_keyring_close) cx_keyring *ring = ring_of(vector);
        const char *name = cx_json_text_or_empty(vector, "name");
        bool decodes = json_is_true(json_object_get(vector, "decodes"));
        cx_stream_verdict verdict = CX_STREAM_WHOLE;
        bool good = strcmp(cx_json_text_or_empty(vector, "transport"), "udp") == 0
                        ? packet_is_good(cx_buffer_bytes(&bytes), ring)
                        : stream_is_good(cx_buffer_bytes(&bytes), ring, &verdict);

        /* A suspect message on a stream is well formed; its type is refused by the scan already. */
        if (strcmp(name, "tcp-gossip-type") == 0) {
            assert_int_equal(verdict, CX_STREAM_REFUSED);
            continue;
        }
        if (good != decodes)
            fail_msg("%s: %s", name, good ? "taken" : "refused");
        if (json_object_get(json_object_get(vector, "serf"), "error") != NULL &&
            verdict != CX_STREAM_REFUSED_ALOUD && verdict != CX_STREAM_WHOLE)
            fail_msg("%s: refused without an answer", name);
    }
}

/* ---- what no capture shows */

static void fields_are_in_the_order_of_the_wire(void **state)
{
    static const cx_record *const records[] = {
        &cx_wire_ping_record,        &cx_wire_indirect_record,   &cx_wire_ack_record,
        &cx_wire_accuse_record,      &cx_wire_alive_record,      &cx_wire_push_header_record,
        &cx_wire_push_node_record,   &cx_wire_coordinate_record, &cx_wire_leave_record,
        &cx_wire_join_record,        &cx_wire_serf_state_record, &cx_wire_user_event_record,
        &cx_wire_query_record,       &cx_wire_response_record,   &cx_wire_key_response_record,
        &cx_wire_conflict_record,    &cx_wire_relay_addr_record, &cx_wire_relay_header_record,
        &cx_wire_past_events_record,
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(records); i++)
        for (size_t j = 1; j < records[i]->count; j++)
            assert_true(strcmp(records[i]->fields[j - 1].name, records[i]->fields[j].name) < 0);
}

static void reading_takes_what_real_peers_take(void **state)
{
    static const struct {
        const char *name, *hex;
        bool good;
    } rows[] = {
        {"fields in any order", "82a55365714e6f07a44e6f6465a161", true},
        {"an unknown field is skipped", "83a55365714e6f07a1789301c0a179a44e6f6465a161", true},
        {"the last of two fields wins", "83a55365714e6f09a55365714e6f07a44e6f6465a161", true},
        {"str8 for a key and a text", "82d9055365714e6f07a44e6f6465d90161", true},
        {"a wide integer that fits", "82a55365714e6fcf0000000000000007a44e6f6465a161", true},
        {"a signed integer that fits",
         "82a55365714e6fd20000000"
         "7a44e6f6465a161",
         true},
        {"an array in declared order", "9207a161", true},
        {"an array with more",
         "960"
         "7a161c0c0c0c0",
         true},
        {"bin for a text", "82a55365714e6f07a44e6f6465c40161", false},
        {"a negative number", "82a55365714e6fd1ffffa44e6f6465a161", false},
        {"a text for a number", "82a55365714e6fa137a44e6f6465a161", false},
        {"a count above the bytes", "df7fffffffa55365714e6f07", false},
        {"a length above the bytes", "82a55365714e6f07a44e6f6465dbffffffff61", false},
        {"deeper than 16 levels",
         "83a55365714e6f07a178919191919191919191919191919191919191919101a44e6f6465a161", false},
        {"an extension type", "83a55365714e6f07a178d40100a44e6f6465a161", false},
        {"a type byte that does not exist", "83a55365714e6f07a178c1a44e6f6465a161", false},
        {"nothing", "", false},
        {"nil", "c0", false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        uint8_t bytes[256];
        size_t size = strlen(rows[i].hex) / 2;
        cx_wire_ping ping;
        cx_err err;

        assert_true(cx_from_hex(rows[i].hex, bytes, size, &err));
        bool good = cx_wire_read((cx_bytes){bytes, size}, &cx_wire_ping_record, &ping, &err);

        if (good != rows[i].good)
            fail_msg("%s: %s", rows[i].name, good ? "taken" : err.message);
        if (good && (ping.seq_no != 7 || ping.node.size != 1 || ping.node.data[0] != 'a'))
            fail_msg("%s: read wrongly", rows[i].name);
    }
}

static void count_message(void *context, uint8_t type, cx_bytes body)
{
    size_t *count = context;

    (void)type;
    (void)body;
    ++*count;
}

static size_t messages_in(cx_bytes datagram, bool *good)
{
    size_t count = 0;
    const cx_packet_sink sink = {&count, count_message, NULL};
    cx_err err;

    *good = cx_packet_read(datagram, NULL, &sink, &err);
    return count;
}

static void nesting_is_bounded(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_packet_options options = {0};
    cx_wire_nack nack = {.seq_no = 1};
    bool good = false;

    (void)state;
    cx_wire_put(&message, CX_WIRE_NACK, &cx_wire_nack_record, &nack);
    for (int level = 1; level <= 4; level++) {
        cx_buffer outer = {0};
        cx_bytes parts[] = {cx_buffer_bytes(&message), cx_buffer_bytes(&message)};

        cx_packet_write(parts, 2, &options, &outer);
        cx_buffer_free(&message);
        message = outer;

        size_t count = messages_in(cx_buffer_bytes(&message), &good);

        assert_int_equal(good, level <= 2);
        assert_int_equal(count, level == 1 ? 2 : level == 2 ? 4 : 0);
    }
}

static void what_a_packet_expands_to_is_bounded(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0}, compressed = {0}, datagram = {0};
    const cx_packet_options options = {0};
    bool good = true;

    (void)state;
    /* Three parts of 40 KiB each, when they are expanded: the second one is too much. */
    memset(cx_buffer_reserve(&plain, 40 * 1024), CX_WIRE_NACK, 40 * 1024);
    plain.size = 40 * 1024;
    cx_packet_compress(cx_buffer_bytes(&plain), &compressed);

    cx_bytes part = cx_buffer_bytes(&compressed), parts[] = {part, part, part};

    cx_packet_write(parts, 3, &options, &datagram);
    assert_int_equal(messages_in(cx_buffer_bytes(&datagram), &good), 1);
    assert_false(good);
}

static void a_stream_is_refused_before_it_is_there(void **state)
{
    static const struct {
        const char *name, *hex;
        bool sealed;
        cx_stream_verdict verdict;
    } rows[] = {
        {"more nodes than anybody has",
         "0683a44a6f696ec3a54e6f646573ce00200000ac5573657253746174654c656e00", false,
         CX_STREAM_REFUSED},
        {"a negative number of nodes", "0683a44a6f696ec3a54e6f646573ffac5573657253746174654c656e00",
         false, CX_STREAM_REFUSED},
        {"a negative user state", "0683a44a6f696ec3a54e6f64657300ac5573657253746174654c656eff",
         false, CX_STREAM_REFUSED},
        {"a user state of 21 MiB",
         "0683a44a6f696ec3a54e6f64657300ac5573657253746174654c656ece01500000", false,
         CX_STREAM_REFUSED},
        {"20 MiB of user state may come",
         "0683a44a6f696ec3a54e6f64657300ac5573657253746174654c656ece013f0000", false,
         CX_STREAM_MORE},
        {"a long header", "06de4000a44a6f696ec3", false, CX_STREAM_REFUSED},
        {"no msgpack at all", "06c1", false, CX_STREAM_REFUSED},
        {"a plain stream where a key is", "06", true, CX_STREAM_REFUSED_ALOUD},
        {"a sealed stream where no key is", "0a", false, CX_STREAM_REFUSED_ALOUD},
        {"20 MiB sealed may come", "0a01400000", true, CX_STREAM_MORE},
        {"one byte more may not", "0a01400001", true, CX_STREAM_REFUSED_ALOUD},
        {"a label", "f4", false, CX_STREAM_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        uint8_t bytes[128];
        size_t size = strlen(rows[i].hex) / 2;
        cx_stream_frame frame = {0};
        cx_err err;

        assert_true(cx_from_hex(rows[i].hex, bytes, size, &err));
        if (cx_stream_scan(&frame, (cx_bytes){bytes, size}, rows[i].sealed, &err) !=
            rows[i].verdict)
            fail_msg("%s", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_capture_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(every_invalid_message_is_refused),
        cmocka_unit_test(fields_are_in_the_order_of_the_wire),
        cmocka_unit_test(reading_takes_what_real_peers_take),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(what_a_packet_expands_to_is_bounded),
        cmocka_unit_test(a_stream_is_refused_before_it_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

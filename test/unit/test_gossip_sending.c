/* What we must never send (section 19): it stops or confuses real peers. A cluster lives through joins,
 * loss, kills, leaves, events and hostile input, and every packet and stream that any core sends is read
 * by a strict reader of its own. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "gossip/lzw.h"
#include "gossip/stream.h"
#include "gossip_world.h"

#define KEYRING "[\"NUDi22rkoCPAR6/+UegZ+jSUFHKCAsr/PieKBk+sb2o=\"]"

enum { DATAGRAM_MAX = 1400 + 5, PARTS_MAX = 127 };

struct reader {
    struct world *world;
    cx_keyring *ring;
    size_t packets, streams, compounds, compressed, checksums, foreign;
    size_t types[256], serf_types[16];
};

#define must(reader, condition)                                                                \
    do {                                                                                       \
        if (!(condition))                                                                      \
            fail_msg("sent: not %s (CX_SEED=%" PRIu64 ")", #condition, (reader)->world->seed); \
    } while (0)

static void check_vsn(struct reader *reader, cx_bytes vsn)
{
    must(reader, vsn.size == 6);
    for (size_t i = 0; i < 6; i += 3) {
        must(reader, vsn.data[i] >= 1 && vsn.data[i] <= vsn.data[i + 2]);
        must(reader, vsn.data[i + 2] <= vsn.data[i + 1]);
    }
}

static void check_query(struct reader *reader, const cx_wire_query *query)
{
    cx_bytes filters = query->filters, filter;
    size_t count = 0;
    cx_err err;

    if (filters.size > 0)
        must(reader, cx_msgpack_take_array(&filters, &count, &err));
    for (size_t i = 0; i < count; i++) {
        must(reader, cx_msgpack_take_bytes(&filters, &filter, &err));
        must(reader, filter.size > 0);
    }
    if (query->name.size >= 6 && memcmp(query->name.data, "_serf_", 6) == 0 &&
        !cx_bytes_equal(query->name, cx_bytes_of("_serf_ping")))
        must(reader, query->payload.size > 0);
}

static void check_serf(struct reader *reader, cx_bytes message)
{
    const cx_record *record;
    cx_bytes rest;
    cx_wire_any any;
    cx_err err;

    must(reader, message.size >= 2);
    must(reader, message.data[0] <= CX_SERF_RELAY);
    reader->serf_types[message.data[0]]++;
    rest = (cx_bytes){message.data + 1, message.size - 1};
    if (message.data[0] == CX_SERF_RELAY) {
        must(reader, cx_record_take(&rest, &cx_wire_relay_header_record, &any, &err));
        check_serf(reader, rest);
        return;
    }
    record = cx_wire_serf_record(message.data[0]);
    must(reader, cx_record_take(&rest, record, &any, &err));
    if (message.data[0] == CX_SERF_QUERY)
        check_query(reader, &any.query);
}

static void check_message(struct reader *reader, cx_bytes message);

static void check_compound(struct reader *reader, cx_bytes body)
{
    size_t count = body.size > 0 ? body.data[0] : 0, at = 1 + 2 * count;

    must(reader, count >= 2 && count <= PARTS_MAX && at <= body.size);
    reader->compounds++;
    for (size_t i = 0; i < count; i++) {
        size_t size = (size_t)body.data[1 + 2 * i] << 8 | body.data[2 + 2 * i];

        must(reader, size > 0 && size <= body.size - at);
        check_message(reader, (cx_bytes){body.data + at, size});
        at += size;
    }
    must(reader, at == body.size);
}

static void check_compressed(struct reader *reader, cx_bytes body)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    cx_wire_compress compress;
    cx_err err;

    must(reader, cx_record_take(&body, &cx_wire_compress_record, &compress, &err));
    must(reader, body.size == 0 && compress.algo == 0);
    must(reader, cx_lzw_decode(compress.buf, 65536, &plain, &err));
    must(reader, plain.size > 0);
    reader->compressed++;
    check_message(reader, cx_buffer_bytes(&plain));
}

static void check_message(struct reader *reader, cx_bytes message)
{
    cx_bytes body = {message.data + 1, message.size - 1};
    const cx_record *record;
    cx_wire_any any;
    cx_err err;

    must(reader, message.size > 1);
    reader->types[message.data[0]]++;
    if (message.data[0] == CX_WIRE_COMPOUND) {
        check_compound(reader, body);
        return;
    }
    if (message.data[0] == CX_WIRE_COMPRESS) {
        check_compressed(reader, body);
        return;
    }
    if (message.data[0] == CX_WIRE_USER) {
        check_serf(reader, body);
        return;
    }
    record = cx_wire_record(message.data[0]);
    must(reader, record != NULL);
    must(reader, cx_record_take(&body, record, &any, &err) && body.size == 0);
    if (message.data[0] == CX_WIRE_ALIVE)
        check_vsn(reader, any.alive.vsn);
}

static void on_packet(void *watcher, size_t from, size_t to, cx_bytes datagram)
{
    struct reader *reader = watcher;
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    cx_err err;

    (void)from;
    reader->packets++;
    reader->foreign += to == SIZE_MAX;
    must(reader, datagram.size <= DATAGRAM_MAX);
    if (reader->ring != NULL) {
        must(reader, cx_crypt_open(reader->ring, (cx_bytes){0}, datagram, &plain, &err));
        must(reader, datagram.data[0] == 1);
        datagram = cx_buffer_bytes(&plain);
    }
    if (datagram.size > 0 && datagram.data[0] == CX_WIRE_CRC) {
        must(reader, datagram.size > 5);
        reader->checksums++;
        datagram = (cx_bytes){datagram.data + 5, datagram.size - 5};
    }
    check_message(reader, datagram);
}

static void check_push_pull(struct reader *reader, cx_bytes body)
{
    cx_push_pull push_pull;
    cx_wire_push_node node;
    cx_err err;

    must(reader, cx_stream_read_push_pull(body, &push_pull, &err));
    must(reader, push_pull.header.nodes >= 0);
    for (int64_t i = 0; i < push_pull.header.nodes; i++) {
        must(reader, cx_record_take(&push_pull.nodes, &cx_wire_push_node_record, &node, &err));
        check_vsn(reader, node.vsn);
        must(reader, node.state >= 0 && node.state <= 3 && node.port > 0 && node.name.size > 0);
    }
    must(reader, push_pull.nodes.size == 0);
    check_serf(reader, push_pull.state);
}

static void on_stream(void *watcher, size_t from, cx_bytes bytes)
{
    struct reader *reader = watcher;
    CX_AUTO(cx_stream_message_free) cx_stream_message message = {0};
    cx_wire_any any;
    cx_err err;

    (void)from;
    reader->streams++;
    must(reader, cx_stream_open(bytes, reader->ring, &message, &err));
    if (message.type == CX_WIRE_PUSH_PULL) {
        check_push_pull(reader, message.body);
        return;
    }
    must(reader, message.type == CX_WIRE_PING || message.type == CX_WIRE_ACK ||
                     message.type == CX_WIRE_ERROR);
    must(reader, cx_wire_read(message.body, cx_wire_record(message.type), &any, &err));
}

/* ---- hostile input */

struct hostile {
    cx_buffer plain[256]; /* messages of captures and inventions, without their wrapping */
    size_t count;
};

static void collect(void *context, uint8_t type, cx_bytes body)
{
    struct hostile *hostile = context;

    if (hostile->count == CX_COUNT(hostile->plain))
        return;
    cx_buffer_add(&hostile->plain[hostile->count], &type, 1);
    cx_buffer_add(&hostile->plain[hostile->count++], body.data, body.size);
}

static void invent(struct hostile *hostile, const char *hex)
{
    cx_buffer *bytes = &hostile->plain[hostile->count++];
    size_t size = strlen(hex) / 2;
    cx_err err;

    assert_true(cx_from_hex(hex, cx_buffer_reserve(bytes, size), size, &err));
    bytes->size = size;
}

static struct hostile hostile_messages(void)
{
    struct hostile hostile = {0};
    const cx_packet_sink sink = {.context = &hostile, .message = collect};
    CX_AUTO(cx_json_free) json_t *all = NULL;
    json_t *vector;
    size_t i;
    cx_err err;

    /* a query with an empty filter; key queries with nil and empty payload; alive with 3 versions; all
     * with Lamport times and names that would be news */
    invent(&hostile, "080484a746696c7465727391a0a54c54696d6507a24944cd0101a44e616d65a2717a");
    invent(&hostile, "080484a54c54696d6508a24944cd0102a44e616d65ad5f736572665f7573652d6b6579"
                     "a75061796c6f6164c0");
    invent(&hostile, "080484a54c54696d6508a24944cd0103a44e616d65ad5f736572665f7573652d6b6579"
                     "a75061796c6f6164c0");
    invent(&hostile, "080484a54c54696d6509a24944cd0104a44e616d65b15f736572665f696e7374616c6c"
                     "2d6b6579a75061796c6f6164a0");
    invent(&hostile, "0486a441646472a40a00006fab496e6361726e6174696f6e05a44d657461a2ff80a44e6f64"
                     "65a3657669a4506f7274cd1f0aa356736ea3010502");
    assert_true(cx_json_read_file("test/vectors/memberlist.json", 4 << 20, &all, &err));
    json_array_foreach (all, i, vector) {
        const char *hex = cx_json_text_or_empty(vector, "hex");
        size_t size = strlen(hex) / 2;
        CX_AUTO(cx_free) uint8_t *bytes = cx_alloc(size, 1);

        if (strcmp(cx_json_text_or_empty(vector, "transport"), "udp") != 0 ||
            json_is_true(json_object_get(vector, "encrypted")))
            continue;
        assert_true(cx_from_hex(hex, bytes, size, &err));
        assert_true(cx_packet_read((cx_bytes){bytes, size}, NULL, &sink, &err));
    }
    return hostile;
}

static void hostile_free(struct hostile *hostile)
{
    for (size_t i = 0; i < hostile->count; i++)
        cx_buffer_free(&hostile->plain[i]);
}

/* One of the messages, often changed somewhere, in a packet as a member would seal it. */
static void attack(struct world *world, const struct hostile *hostile, const cx_keyring *ring,
                   cx_rng *rng)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0}, datagram = {0};
    const cx_buffer *plain = &hostile->plain[cx_rng_below(rng, hostile->count)];
    const cx_packet_options options = {
        .ring = ring, .nonces = rng, .crc = cx_rng_below(rng, 2) == 0};
    size_t target = (size_t)cx_rng_below(rng, world->count);
    cx_bytes part;

    cx_buffer_add(&message, plain->data, plain->size);
    for (uint64_t changes = cx_rng_below(rng, 3); changes > 0; changes--)
        message.data[cx_rng_below(rng, message.size)] = (uint8_t)cx_rng_next(rng);
    part = cx_buffer_bytes(&message);
    cx_packet_write(&part, 1, &options, &datagram);
    if (world->up[target])
        world_input(world, target,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_PACKET,
                                       .from = world_addr((size_t)cx_rng_below(rng, world->count)),
                                       .bytes = cx_buffer_bytes(&datagram)});
}

/* ---- what operators do */

static void operate(struct world *world, cx_rng *rng)
{
    static const cx_gossip_tag set[] = {{"state", "draining"}};
    static const uint8_t payload[400] = {7};
    size_t node = (size_t)cx_rng_below(rng, world->count);
    char value[16], name[32];
    cx_gossip_tag number[] = {{"number", value}};

    if (!world->up[node]) {
        world_start(world, node);
        world_join(world, node, (node + 1) % world->count, 1);
        return;
    }
    snprintf(value, sizeof(value), "%u", (unsigned)cx_rng_below(rng, 1000));
    snprintf(name, sizeof(name), "node-%u", (unsigned)cx_rng_below(rng, world->count));
    switch (cx_rng_below(rng, 8)) {
    case 0: world_kill(world, node); break;
    case 1: world_input(world, node, &(cx_gossip_event){.kind = CX_GOSSIP_ON_LEAVE}); break;
    case 2:
        world_input(world, node,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_TAGS, .set = number, .set_count = 1});
        break;
    case 3:
        world_input(world, node,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_TAGS, .set = set, .set_count = 1});
        break;
    case 4:
        world_input(world, node,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_USER_EVENT,
                                       .name = "deploy",
                                       .bytes = {payload, (size_t)cx_rng_below(rng, 400)}});
        break;
    case 5:
        world_input(world, node, &(cx_gossip_event){.kind = CX_GOSSIP_ON_PING, .node = name});
        break;
    case 6:
        world_input(world, node,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_REMOVE,
                                       .node = name,
                                       .prune = cx_rng_below(rng, 2) == 0});
        break;
    default: world_input(world, node, &(cx_gossip_event){.kind = CX_GOSSIP_ON_REJOIN}); break;
    }
    if (world->has_left[node])
        world_kill(world, node);
}

static void live(struct reader *reader, bool under_attack)
{
    struct world *world = reader->world;
    CX_AUTO(hostile_free) struct hostile hostile = hostile_messages();
    cx_rng rng = cx_rng_seed(world->seed + 1);

    world->watcher = reader;
    world->on_packet = on_packet;
    world->on_stream = on_stream;
    world_start_all(world);
    for (int i = 0; i < 600; i++) {
        world_run(world, 200);
        if (cx_rng_below(&rng, 5) == 0)
            operate(world, &rng);
        for (int j = 0; j < 20 && under_attack; j++)
            attack(world, &hostile, reader->ring, &rng);
    }
}

static void nothing_is_sent_that_harms_a_real_peer(void **state)
{
    static const struct {
        const char *keyring;
        bool compress, attack;
    } rows[] = {
        {NULL, false, false}, {NULL, true, true}, {KEYRING, false, true}, {KEYRING, true, true}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(world_free) struct world *world = world_new(12, 500 + i);
        CX_AUTO(cx_keyring_close) cx_keyring *ring = NULL;
        struct reader reader = {.world = world};
        cx_err err;

        if (rows[i].keyring != NULL)
            assert_true(cx_keyring_parse(cx_bytes_of(rows[i].keyring), &ring, &err));
        reader.ring = ring;
        world->keyring = rows[i].keyring;
        world->compress = rows[i].compress;
        world->loss_percent = 5;
        live(&reader, rows[i].attack);
        /* The reader has seen something of everything. */
        must(&reader, reader.packets > 1000 && reader.streams > 50 && reader.compounds > 100);
        must(&reader, reader.checksums > 100 && (!rows[i].compress || reader.compressed > 10));
        must(&reader, reader.types[CX_WIRE_ALIVE] > 10 && reader.types[CX_WIRE_SUSPECT] > 10);
        must(&reader, reader.types[CX_WIRE_NACK] > 10 && reader.types[CX_WIRE_INDIRECT] > 10);
        must(&reader, reader.serf_types[CX_SERF_LEAVE] > 10);
        must(&reader, reader.serf_types[CX_SERF_USER_EVENT] > 10);
        must(&reader, !rows[i].attack || reader.serf_types[CX_SERF_QUERY] > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_sent_that_harms_a_real_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

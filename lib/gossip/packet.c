#include "gossip/packet.h"

#include <assert.h>
#include <zlib.h>

#include "gossip/lzw.h"
#include "gossip/wire.h"

enum { LEVELS_MAX = 2, CRC_SIZE = 5, ALGORITHM_LZW = 0 };

struct reader {
    const cx_packet_sink *sink;
    size_t budget;               /* bytes that may still come out of compressed messages */
    int compounds, compressions; /* levels that we are in */
};

static bool read_message(struct reader *reader, cx_bytes message, cx_err *err);

static void tell(const struct reader *reader, cx_packet_layer layer, size_t number)
{
    if (reader->sink->layer != NULL)
        reader->sink->layer(reader->sink->context, layer, number);
}

static bool read_parts(struct reader *reader, cx_bytes body, cx_err *err)
{
    size_t count = body.size > 0 ? body.data[0] : 0;

    if (body.size < 1 || 2 * count > body.size - 1)
        return cx_fail(err, CX_MALFORMED, "compound: its table of %zu parts is cut", count);

    const uint8_t *size_at = body.data + 1;
    cx_bytes rest = {size_at + 2 * count, body.size - 1 - 2 * count};

    bool all_good = true;

    tell(reader, CX_PACKET_COMPOUND, count);
    for (size_t i = 0; i < count; i++, size_at += 2) {
        size_t size = (size_t)size_at[0] << 8 | size_at[1];

        if (size > rest.size)
            return cx_fail(err, CX_MALFORMED, "compound: part %zu of %zu is cut", i + 1, count);
        /* A bad part takes nothing away from the others. */
        all_good = read_message(reader, (cx_bytes){rest.data, size}, err) && all_good;
        rest = (cx_bytes){rest.data + size, rest.size - size};
    }
    return all_good;
}

static bool read_compound(struct reader *reader, cx_bytes body, cx_err *err)
{
    if (reader->compounds == LEVELS_MAX)
        return cx_fail(err, CX_MALFORMED, "compound: more than %d levels", LEVELS_MAX);
    reader->compounds++;

    bool done = read_parts(reader, body, err);

    reader->compounds--;
    return done;
}

static bool read_compressed(struct reader *reader, cx_bytes body, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};

    if (reader->compressions == LEVELS_MAX)
        return cx_fail(err, CX_MALFORMED, "compress: more than %d levels", LEVELS_MAX);
    if (!cx_packet_decompress(&body, reader->budget, &plain, err))
        return false;
    reader->budget -= plain.size;
    tell(reader, CX_PACKET_COMPRESS, 0);
    reader->compressions++;

    bool done = read_message(reader, cx_buffer_bytes(&plain), err);

    reader->compressions--;
    return done;
}

static bool read_message(struct reader *reader, cx_bytes message, cx_err *err)
{
    if (message.size == 0)
        return cx_fail(err, CX_MALFORMED, "an empty message");

    cx_bytes body = {message.data + 1, message.size - 1};

    switch (message.data[0]) {
    case CX_WIRE_COMPOUND: return read_compound(reader, body, err);
    case CX_WIRE_COMPRESS: return read_compressed(reader, body, err);
    default: reader->sink->message(reader->sink->context, message.data[0], body); return true;
    }
}

static uint32_t checksum(cx_bytes bytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), bytes.data, bytes.size);
}

/* Checks and takes a checksum off. Shorter than one it is a message of an unknown type. */
static bool open_crc(struct reader *reader, cx_bytes *message, cx_err *err)
{
    if (message->size < CRC_SIZE || message->data[0] != CX_WIRE_CRC)
        return true;

    const uint8_t *sum = message->data + 1;
    uint32_t wanted =
        (uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | (uint32_t)sum[3];

    *message = (cx_bytes){message->data + CRC_SIZE, message->size - CRC_SIZE};
    if (checksum(*message) != wanted)
        return cx_fail(err, CX_MALFORMED, "the checksum is wrong");
    tell(reader, CX_PACKET_CRC, 0);
    return true;
}

static void put_u16(cx_buffer *buffer, size_t value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};

    cx_buffer_add(buffer, bytes, sizeof(bytes));
}

static void put_compound(const cx_bytes *parts, size_t count, cx_buffer *buffer)
{
    const uint8_t head[] = {CX_WIRE_COMPOUND, (uint8_t)count};

    cx_buffer_add(buffer, head, sizeof(head));
    for (size_t i = 0; i < count; i++)
        put_u16(buffer, parts[i].size);
    for (size_t i = 0; i < count; i++)
        cx_buffer_add(buffer, parts[i].data, parts[i].size);
}

/* ---- public */

bool cx_packet_read(cx_bytes datagram, const cx_keyring *ring, const cx_packet_sink *sink,
                    cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0};
    struct reader reader = {.sink = sink, .budget = CX_PACKET_PLAIN_MAX};

    if (cx_keyring_count(ring) > 0) {
        if (!cx_crypt_open(ring, (cx_bytes){0}, datagram, &plain, err))
            return false;
        tell(&reader, CX_PACKET_SEALED, datagram.data[0]);
        datagram = cx_buffer_bytes(&plain);
    }
    return open_crc(&reader, &datagram, err) && read_message(&reader, datagram, err);
}

void cx_packet_write(const cx_bytes *parts, size_t count, const cx_packet_options *options,
                     cx_buffer *datagram)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0}, compressed = {0}, checked = {0};

    /* Real peers stop at an empty part and misread more parts than that (section 19). */
    assert(count >= 1 && count <= CX_PACKET_PARTS_MAX);
    for (size_t i = 0; i < count; i++)
        assert(parts[i].size > 0 && parts[i].size <= UINT16_MAX);

    if (count == 1)
        cx_buffer_add(&message, parts[0].data, parts[0].size);
    else
        put_compound(parts, count, &message);

    cx_bytes inner = cx_buffer_bytes(&message);

    if (options->compress) {
        cx_packet_compress(inner, &compressed);
        if (compressed.size < inner.size)
            inner = cx_buffer_bytes(&compressed);
    }
    if (options->crc) {
        uint32_t sum = checksum(inner);
        const uint8_t head[CRC_SIZE] = {CX_WIRE_CRC, (uint8_t)(sum >> 24), (uint8_t)(sum >> 16),
                                        (uint8_t)(sum >> 8), (uint8_t)sum};

        cx_buffer_add(&checked, head, sizeof(head));
        cx_buffer_add(&checked, inner.data, inner.size);
        inner = cx_buffer_bytes(&checked);
    }
    if (cx_keyring_count(options->ring) > 0)
        cx_crypt_seal(options->ring, options->nonces, (cx_bytes){0}, inner, datagram);
    else
        cx_buffer_add(datagram, inner.data, inner.size);
}

size_t cx_packet_compound_overhead(size_t count)
{
    return 2 + 2 * count;
}

void cx_packet_compress(cx_bytes plain, cx_buffer *message)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};

    assert(plain.size > 0); /* section 19 */
    cx_lzw_encode(plain, &data);

    cx_wire_compress compress = {.algo = ALGORITHM_LZW, .buf = cx_buffer_bytes(&data)};

    cx_wire_put(message, CX_WIRE_COMPRESS, &cx_wire_compress_record, &compress);
}

bool cx_packet_decompress(cx_bytes *rest, size_t size_max, cx_buffer *plain, cx_err *err)
{
    cx_wire_compress compress;

    if (!cx_record_take(rest, &cx_wire_compress_record, &compress, err))
        return false;
    if (compress.algo != ALGORITHM_LZW)
        return cx_fail(err, CX_MALFORMED, "Cannot decompress unknown algorithm %u", compress.algo);
    return cx_lzw_decode(compress.buf, size_max, plain, err);
}

#include "gossip/stream.h"

#include <assert.h>

enum {
    SEALED_HEAD_SIZE = 5,
    NODE_SIZE_MIN = 20,     /* no record of a node is shorter */
    HEADER_VALUES_MAX = 64, /* in a header of three fields, with some that nobody knows */
    VALUES_MAX = CX_STREAM_MESSAGE_MAX,
};

/* ---- finding the end */

static cx_stream_verdict refuse_type(uint8_t type, bool sealed, cx_err *err)
{
    if (type == CX_WIRE_ENCRYPT) {
        cx_fail(err, CX_PROTOCOL, "Remote state is encrypted and encryption is not configured");
        return CX_STREAM_REFUSED_ALOUD;
    }
    if (sealed) {
        cx_fail(err, CX_PROTOCOL, "Encryption is configured but remote state is not encrypted");
        return CX_STREAM_REFUSED_ALOUD;
    }
    cx_fail(err, CX_PROTOCOL, "message type %u on a stream", type);
    return CX_STREAM_REFUSED;
}

static cx_stream_verdict scan_type(cx_stream_frame *frame, uint8_t type, bool sealed, cx_err *err)
{
    if (sealed != (type == CX_WIRE_ENCRYPT))
        return refuse_type(type, sealed, err);
    switch (type) {
    case CX_WIRE_ENCRYPT: frame->phase = CX_STREAM_LENGTH; break;
    case CX_WIRE_PUSH_PULL:
    case CX_WIRE_USER: frame->phase = CX_STREAM_HEADER; break;
    case CX_WIRE_PING:
    case CX_WIRE_ACK:
    case CX_WIRE_COMPRESS:
    case CX_WIRE_ERROR: frame->phase = CX_STREAM_VALUES; break;
    default: return refuse_type(type, sealed, err);
    }
    frame->at = 1;
    frame->scan.wanted = 1;
    return CX_STREAM_MORE;
}

static cx_stream_verdict scan_length(cx_stream_frame *frame, cx_bytes bytes, cx_err *err)
{
    if (bytes.size < SEALED_HEAD_SIZE)
        return CX_STREAM_MORE;

    uint32_t size = (uint32_t)bytes.data[1] << 24 | (uint32_t)bytes.data[2] << 16 |
                    (uint32_t)bytes.data[3] << 8 | (uint32_t)bytes.data[4];

    if (size > CX_STREAM_MESSAGE_MAX) {
        cx_fail(err, CX_TOO_LARGE, "Remote node state is larger than limit (%u)", size);
        return CX_STREAM_REFUSED_ALOUD;
    }
    frame->size = SEALED_HEAD_SIZE + (size_t)size;
    frame->phase = CX_STREAM_LAST;
    return CX_STREAM_MORE;
}

/* The header is whole: how many values and bytes follow it? */
static bool read_header(cx_stream_frame *frame, cx_bytes bytes, cx_err *err)
{
    cx_bytes header = {bytes.data + 1, frame->at - 1};
    cx_wire_push_header push = {0};
    cx_wire_user_header user = {0};

    if (bytes.data[0] == CX_WIRE_USER) {
        if (!cx_record_take(&header, &cx_wire_user_header_record, &user, err))
            return false;
        push.user_state_len = user.user_msg_len;
    } else if (!cx_record_take(&header, &cx_wire_push_header_record, &push, err)) {
        return false;
    }
    if (push.nodes < 0 || push.nodes > CX_STREAM_NODES_MAX || push.user_state_len < 0 ||
        push.user_state_len > CX_STREAM_MESSAGE_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%lld nodes and %lld bytes announced on a stream",
                       (long long)push.nodes, (long long)push.user_state_len);
    frame->scan.wanted = (uint64_t)push.nodes;
    frame->tail = (size_t)push.user_state_len;
    frame->phase = CX_STREAM_VALUES;
    return true;
}

static cx_stream_verdict scan_values(cx_stream_frame *frame, cx_bytes bytes, cx_err *err)
{
    bool done = false;
    cx_bytes first = {bytes.data + 1, bytes.size - 1};

    if (first.size > 0 && !cx_msgpack_is_map(first) && !cx_msgpack_is_array(first)) {
        cx_fail(err, CX_MALFORMED, "no record after the type on a stream");
        return CX_STREAM_REFUSED;
    }
    if (frame->phase == CX_STREAM_HEADER) {
        if (!cx_msgpack_scan_on(&frame->scan, bytes, &frame->at, HEADER_VALUES_MAX, &done, err) ||
            (done && !read_header(frame, bytes, err)))
            return CX_STREAM_REFUSED;
        if (!done)
            return CX_STREAM_MORE;
    }
    if (!cx_msgpack_scan_on(&frame->scan, bytes, &frame->at, VALUES_MAX, &done, err))
        return CX_STREAM_REFUSED;
    if (!done)
        return CX_STREAM_MORE;
    frame->size = frame->at + frame->tail;
    frame->phase = CX_STREAM_LAST;
    return CX_STREAM_MORE;
}

/* ---- public */

cx_stream_verdict cx_stream_scan(cx_stream_frame *frame, cx_bytes bytes, bool sealed, cx_err *err)
{
    cx_stream_verdict verdict = CX_STREAM_MORE;

    if (frame->phase == CX_STREAM_TYPE && bytes.size > 0)
        verdict = scan_type(frame, bytes.data[0], sealed, err);
    if (verdict == CX_STREAM_MORE && frame->phase == CX_STREAM_LENGTH)
        verdict = scan_length(frame, bytes, err);
    if (verdict == CX_STREAM_MORE &&
        (frame->phase == CX_STREAM_HEADER || frame->phase == CX_STREAM_VALUES))
        verdict = scan_values(frame, bytes, err);
    if (verdict == CX_STREAM_MORE && frame->phase == CX_STREAM_LAST && bytes.size >= frame->size)
        return CX_STREAM_WHOLE;
    if (verdict == CX_STREAM_MORE && (bytes.size > CX_STREAM_MESSAGE_MAX + SEALED_HEAD_SIZE ||
                                      frame->size > CX_STREAM_MESSAGE_MAX + SEALED_HEAD_SIZE)) {
        cx_fail(err, CX_TOO_LARGE, "more than %d bytes on a stream", CX_STREAM_MESSAGE_MAX);
        return CX_STREAM_REFUSED;
    }
    return verdict;
}

bool cx_stream_open(cx_bytes bytes, const cx_keyring *ring, cx_stream_message *message, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer opened = {0}, plain = {0};

    *message = (cx_stream_message){.seal_version = -1};
    if (cx_keyring_count(ring) > 0) {
        if (bytes.size < SEALED_HEAD_SIZE || bytes.data[0] != CX_WIRE_ENCRYPT)
            return cx_fail(err, CX_PROTOCOL,
                           "Encryption is configured but remote state is not encrypted");

        cx_bytes sealed = {bytes.data + SEALED_HEAD_SIZE, bytes.size - SEALED_HEAD_SIZE};

        if (!cx_crypt_open(ring, (cx_bytes){bytes.data, SEALED_HEAD_SIZE}, sealed, &opened, err))
            return false;
        message->seal_version = sealed.data[0];
        bytes = cx_buffer_bytes(&opened);
    }
    if (bytes.size > 0 && bytes.data[0] == CX_WIRE_COMPRESS) {
        cx_bytes rest = {bytes.data + 1, bytes.size - 1};

        if (!cx_packet_decompress(&rest, CX_STREAM_PLAIN_MAX, &plain, err))
            return false;
        message->compressed = true;
        bytes = cx_buffer_bytes(&plain);
    }
    if (bytes.size == 0)
        return cx_fail(err, CX_MALFORMED, "an empty message on a stream");
    message->type = bytes.data[0];
    message->body = (cx_bytes){bytes.data + 1, bytes.size - 1};
    message->plain = message->compressed ? plain : opened;
    if (message->compressed)
        plain = (cx_buffer){0};
    else
        opened = (cx_buffer){0};
    return true;
}

void cx_stream_message_free(cx_stream_message *message)
{
    cx_buffer_free(&message->plain);
    *message = (cx_stream_message){.seal_version = -1};
}

void cx_stream_write(cx_bytes message, const cx_packet_options *options, cx_buffer *bytes)
{
    CX_AUTO(cx_buffer_free) cx_buffer compressed = {0};

    assert(message.size > 0 && message.size <= CX_STREAM_MESSAGE_MAX - CX_CRYPT_OVERHEAD);
    if (options->compress) {
        cx_packet_compress(message, &compressed);
        message = cx_buffer_bytes(&compressed);
    }
    if (cx_keyring_count(options->ring) == 0) {
        cx_buffer_add(bytes, message.data, message.size);
        return;
    }

    size_t size = message.size + CX_CRYPT_OVERHEAD;
    const uint8_t head[SEALED_HEAD_SIZE] = {CX_WIRE_ENCRYPT, (uint8_t)(size >> 24),
                                            (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                                            (uint8_t)size};

    cx_buffer_add(bytes, head, sizeof(head));
    cx_crypt_seal(options->ring, options->nonces, (cx_bytes){head, sizeof(head)}, message, bytes);
}

bool cx_stream_read_push_pull(cx_bytes body, cx_push_pull *push_pull, cx_err *err)
{
    const cx_wire_push_header *header = &push_pull->header;

    *push_pull = (cx_push_pull){0};
    if (!cx_record_take(&body, &cx_wire_push_header_record, &push_pull->header, err))
        return false;
    if (header->nodes < 0 || header->nodes > CX_STREAM_NODES_MAX ||
        (uint64_t)header->nodes > body.size / NODE_SIZE_MIN)
        return cx_fail(err, CX_MALFORMED, "push/pull: %lld nodes in %zu bytes",
                       (long long)header->nodes, body.size);
    push_pull->nodes = body;
    for (int64_t i = 0; i < header->nodes; i++)
        if (!cx_msgpack_take_any(&body, NULL, err))
            return cx_wrap(err, "push/pull node %lld", (long long)i);
    push_pull->nodes.size -= body.size;
    if (header->user_state_len < 0 || (uint64_t)header->user_state_len > body.size)
        return cx_fail(err, CX_MALFORMED, "push/pull: %lld bytes of user state in %zu bytes",
                       (long long)header->user_state_len, body.size);
    push_pull->state = (cx_bytes){body.data, (size_t)header->user_state_len};
    return true;
}

bool cx_stream_read_user(cx_bytes body, cx_bytes *message, cx_err *err)
{
    cx_wire_user_header header;

    if (!cx_record_take(&body, &cx_wire_user_header_record, &header, err))
        return false;
    if (header.user_msg_len < 0 || (uint64_t)header.user_msg_len > body.size)
        return cx_fail(err, CX_MALFORMED, "user message: %lld bytes in %zu",
                       (long long)header.user_msg_len, body.size);
    *message = (cx_bytes){body.data, (size_t)header.user_msg_len};
    return true;
}

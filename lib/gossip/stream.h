/* Streams: the one message that goes each way on a connection (section 11).
 *
 * Bytes come in pieces; cx_stream_scan finds the end of the message without reading any byte twice and
 * refuses what is too large before it is there. Then cx_stream_open takes the wrapping off. Pure. */
#pragma once

#include "gossip/packet.h"
#include "gossip/wire.h"

enum {
    CX_STREAM_MESSAGE_MAX = 20 * 1024 * 1024, /* bytes, sealed or plain, without the 5 of a head */
    CX_STREAM_PLAIN_MAX = 40 * 1024 * 1024,   /* bytes that a compressed one may become */
    CX_STREAM_NODES_MAX = 1024 * 1024,        /* in a push/pull */
};

/* {0} at the start of a stream. */
typedef struct cx_stream_frame {
    enum {
        CX_STREAM_TYPE,   /* nothing is known yet */
        CX_STREAM_HEADER, /* of a push/pull or a user message */
        CX_STREAM_VALUES, /* records to the end of the message, or before its last bytes */
        CX_STREAM_LENGTH, /* the length of a sealed message */
        CX_STREAM_LAST,   /* `size` is known */
    } phase;
    size_t at;   /* bytes that have been scanned */
    size_t size; /* LAST: of the whole message */
    size_t tail; /* bytes after the values */
    cx_msgpack_scan scan;
} cx_stream_frame;

typedef enum cx_stream_verdict {
    CX_STREAM_MORE,          /* more bytes are needed */
    CX_STREAM_WHOLE,         /* frame->size bytes are the message */
    CX_STREAM_REFUSED,       /* close it */
    CX_STREAM_REFUSED_ALOUD, /* answer with the error's message, then close it */
} cx_stream_verdict;

/* All bytes since the start of the stream, each time more of them. sealed: whether a key is there. */
cx_stream_verdict cx_stream_scan(cx_stream_frame *frame, cx_bytes bytes, bool sealed, cx_err *err);

/* A message without its wrapping. The views are of the bytes that it was made from or of `plain`. */
typedef struct cx_stream_message {
    uint8_t type;
    cx_bytes body;
    cx_buffer plain;
    int seal_version; /* -1: it was not sealed */
    bool compressed;
} cx_stream_message;

/* Fails with what the peer is to be told. */
CX_MUST_CHECK bool cx_stream_open(cx_bytes bytes, const cx_keyring *ring,
                                  cx_stream_message *message, cx_err *err);
void cx_stream_message_free(cx_stream_message *message);

/* Appends a message (with its type byte), wrapped. compress: always, even when it gets longer. */
void cx_stream_write(cx_bytes message, const cx_packet_options *options, cx_buffer *bytes);

/* A push/pull whose counts are right; the node records are whole values, not yet looked at. */
typedef struct cx_push_pull {
    cx_wire_push_header header;
    cx_bytes nodes; /* header.nodes records, one after the other */
    cx_bytes state; /* Serf's, may be empty */
} cx_push_pull;

CX_MUST_CHECK bool cx_stream_read_push_pull(cx_bytes body, cx_push_pull *push_pull, cx_err *err);
/* The Serf message in a user message. */
CX_MUST_CHECK bool cx_stream_read_user(cx_bytes body, cx_bytes *message, cx_err *err);

/* Packets: what one datagram holds (sections 5 to 8 and 10).
 *
 * Writing, from the inside out: message or compound, compressed if that is shorter, checksum, sealed.
 * Reading takes compress and compound in any order, two levels of each. Pure. */
#pragma once

#include "gossip/crypt.h"

enum {
    CX_PACKET_PARTS_MAX = 127,       /* of a compound that we write: real peers misread more */
    CX_PACKET_BUDGET = 1400,         /* bytes of a packet that we write, without checksum */
    CX_PACKET_PLAIN_MAX = 64 * 1024, /* all that a packet may decompress to, together */
};

typedef enum cx_packet_layer {
    CX_PACKET_SEALED,
    CX_PACKET_CRC,
    CX_PACKET_COMPRESS,
    CX_PACKET_COMPOUND,
} cx_packet_layer;

/* Who takes the messages of a packet. The body is the message without its type byte and lives for
 * the call. `layer` may be NULL; number: the version of SEALED, the parts of COMPOUND. */
typedef struct cx_packet_sink {
    void *context;
    void (*message)(void *context, uint8_t type, cx_bytes body);
    void (*layer)(void *context, cx_packet_layer layer, size_t number);
} cx_packet_sink;

/* Gives each message of a datagram to the sink, in order. ring NULL or empty: plain packets only, else
 * sealed ones only. When it fails, the messages without fault of a compound have been given. */
CX_MUST_CHECK bool cx_packet_read(cx_bytes datagram, const cx_keyring *ring,
                                  const cx_packet_sink *sink, cx_err *err);

typedef struct cx_packet_options {
    const cx_keyring *ring; /* NULL or empty: plain */
    cx_rng *nonces;
    bool crc, compress;
} cx_packet_options;

/* Appends the datagram that carries the parts (1 to CX_PACKET_PARTS_MAX, none of them empty). */
void cx_packet_write(const cx_bytes *parts, size_t count, const cx_packet_options *options,
                     cx_buffer *datagram);
/* Bytes that a compound adds: two, and two for each part. */
size_t cx_packet_compound_overhead(size_t count);

/* Compress messages, for packets and streams. Appends to the buffer. */
void cx_packet_compress(cx_bytes plain, cx_buffer *message);
CX_MUST_CHECK bool cx_packet_decompress(cx_bytes *rest, size_t size_max, cx_buffer *plain,
                                        cx_err *err);

/* The bytes of one stream to a gossip core: one that somebody opened, or the answer on one that the core
 * opened; whole or in pieces; plain or sealed. */
#include "gossip_target.h"

static void bring(struct target *target, uint64_t stream, cx_bytes bytes, size_t piece)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < piece ? bytes.size : piece;

        target_input(target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_BYTES,
                                                .stream = stream,
                                                .bytes = {bytes.data, size}});
        bytes = (cx_bytes){bytes.data + size, bytes.size - size};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer bytes = {0};
    uint8_t flags = size > 0 ? data[0] : 0;
    struct target target;
    uint64_t stream = 2;

    if (size < 2)
        return 0;
    target = target_open(flags);
    target_befriend(&target);
    if ((flags & TARGET_SEALED) != 0) {
        const cx_packet_options options = {.ring = target.ring, .nonces = &target.rng};

        cx_stream_write((cx_bytes){data + 1, size - 1}, &options, &bytes);
    } else {
        cx_buffer_add(&bytes, data + 1, size - 1);
    }
    if ((flags & TARGET_OUTGOING) != 0)
        stream = target.opened;
    else
        target_input(&target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_ACCEPT,
                                                 .stream = stream,
                                                 .from = target_addr(12)});
    bring(&target, stream, cx_buffer_bytes(&bytes), (flags & TARGET_PIECES) != 0 ? 13 : 4096);
    target_input(&target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_END, .stream = stream});
    target_close(&target);
    return 0;
}

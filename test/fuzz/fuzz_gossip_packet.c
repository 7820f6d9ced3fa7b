/* One datagram to a gossip core: plain, sealed by somebody who has the key, or as it comes to a core with
 * a key. */
#include "gossip_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer datagram = {0};
    uint8_t flags = size > 0 ? data[0] : 0;
    struct target target;

    if (size < 2 || size > CX_GOSSIP_PACKET_MAX)
        return 0;
    target = target_open(flags);
    target_befriend(&target);
    if ((flags & TARGET_SEALED) != 0)
        cx_crypt_seal(target.ring, &target.rng, (cx_bytes){0}, (cx_bytes){data + 1, size - 1},
                      &datagram);
    else
        cx_buffer_add(&datagram, data + 1, size - 1);
    target_input(&target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_PACKET,
                                             .from = target_addr(12),
                                             .bytes = cx_buffer_bytes(&datagram)});
    target_close(&target);
    return 0;
}

/* The LZW decoder takes anything; what the encoder makes comes back. */
#include <stdlib.h>
#include <string.h>

#include "gossip/lzw.h"

enum { PLAIN_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer plain = {0}, compressed = {0}, again = {0};
    cx_err err;

    if (!cx_lzw_decode((cx_bytes){data, size}, PLAIN_MAX, &plain, &err) && plain.size > PLAIN_MAX)
        abort();
    cx_lzw_encode((cx_bytes){data, size}, &compressed);
    if (!cx_lzw_decode(cx_buffer_bytes(&compressed), size, &again, &err) || again.size != size ||
        (size > 0 && memcmp(again.data, data, size) != 0))
        abort();
    return 0;
}

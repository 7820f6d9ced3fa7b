/* LZW as memberlist compresses with it (section 6): GIF's variant, codes of 9 to 12 bits packed from
 * the least significant bit, 8 bit literals. The encoder gives the very bytes that Go's
 * compress/lzw gives. Pure. */
#pragma once

#include "base/err.h"

/* Appends the compressed form. An empty input is not to be sent (section 19). */
void cx_lzw_encode(cx_bytes plain, cx_buffer *compressed);

/* Appends what the data expands to. MALFORMED: a code that was never given, no end code; TOO_LARGE:
 * more than size_max bytes come out, of which no more than that were produced. Bytes after the end
 * code are ignored. */
CX_MUST_CHECK bool cx_lzw_decode(cx_bytes compressed, size_t size_max, cx_buffer *plain,
                                 cx_err *err);

#include "gossip/lzw.h"

#include <string.h>

enum {
    CODE_CLEAR = 256,
    CODE_END = 257,
    CODE_MAX = 4095,
    CODE_NONE = 0xffff,
    WIDTH_MIN = 9,
    WIDTH_MAX = 12,
    SLOTS = 16384, /* of the encoder's hash table: a power of two, four times what it holds */
};

/* ---- encoder */

struct encoder {
    cx_buffer *out;
    uint32_t bits; /* not yet written, from the lowest */
    unsigned bit_count;
    unsigned width;
    uint32_t high;         /* the last code given out */
    uint32_t slots[SLOTS]; /* key (code, byte) in the upper 20 bits, its code below; 0: free */
};

static void emit(struct encoder *encoder, uint32_t code)
{
    encoder->bits |= code << encoder->bit_count;
    encoder->bit_count += encoder->width;
    while (encoder->bit_count >= 8) {
        uint8_t byte = (uint8_t)(encoder->bits & 0xff);

        cx_buffer_add(encoder->out, &byte, 1);
        encoder->bits >>= 8;
        encoder->bit_count -= 8;
    }
}

static void restart(struct encoder *encoder)
{
    encoder->width = WIDTH_MIN;
    encoder->high = CODE_END;
    memset(encoder->slots, 0, sizeof(encoder->slots));
}

/* Takes the next code; false when the table was full and is empty again. */
static bool next_code(struct encoder *encoder)
{
    encoder->high++;
    if (encoder->high == 1U << encoder->width)
        encoder->width++;
    if (encoder->high < CODE_MAX)
        return true;
    emit(encoder, CODE_CLEAR);
    restart(encoder);
    return false;
}

/* The slot of (code, byte), or the free one where it belongs. */
static uint32_t *slot_of(struct encoder *encoder, uint32_t key)
{
    uint32_t at = (key * 2654435761U) >> 18;

    while (encoder->slots[at] != 0 && encoder->slots[at] >> 12 != key)
        at = (at + 1) & (SLOTS - 1);
    return &encoder->slots[at];
}

/* ---- decoder */

struct decoder {
    cx_bytes rest;
    uint32_t bits;
    unsigned bit_count;
    unsigned width;
    uint32_t high;
    uint32_t last; /* CODE_NONE: no entry follows from it */
    uint16_t prefix[CODE_MAX + 1];
    uint8_t suffix[CODE_MAX + 1];
};

static bool read_code(struct decoder *decoder, uint32_t *code)
{
    while (decoder->bit_count < decoder->width) {
        if (decoder->rest.size == 0)
            return false;
        decoder->bits |= (uint32_t)decoder->rest.data[0] << decoder->bit_count;
        decoder->bit_count += 8;
        decoder->rest.data++;
        decoder->rest.size--;
    }
    *code = decoder->bits & ((1U << decoder->width) - 1);
    decoder->bits >>= decoder->width;
    decoder->bit_count -= decoder->width;
    return true;
}

static bool is_full(const struct decoder *decoder)
{
    return decoder->high == CODE_MAX && decoder->width == WIDTH_MAX;
}

/* Writes the string of a code backwards, up to the end of `text`; returns where it begins. Prefixes
 * are always smaller than the code that they belong to, so this ends. */
static uint8_t *unwind(const struct decoder *decoder, uint32_t code, uint8_t *end)
{
    for (; code > CODE_CLEAR; code = decoder->prefix[code])
        *--end = decoder->suffix[code];
    *--end = (uint8_t)code;
    return end;
}

/* What the decoder learns from each code that isn't clear or end. */
static void learn(struct decoder *decoder, uint32_t code, uint8_t first)
{
    if (decoder->last != CODE_NONE) {
        decoder->prefix[decoder->high] = (uint16_t)decoder->last;
        decoder->suffix[decoder->high] = first;
    }
    decoder->last = code;
    decoder->high++;
    if (decoder->high < 1U << decoder->width)
        return;
    if (decoder->width < WIDTH_MAX) {
        decoder->width++;
        return;
    }
    decoder->last = CODE_NONE; /* the table stays as it is until a clear */
    decoder->high--;
}

/* ---- public */

void cx_lzw_encode(cx_bytes plain, cx_buffer *compressed)
{
    struct encoder encoder = {.out = compressed};
    uint32_t code = CODE_NONE;

    restart(&encoder);
    emit(&encoder, CODE_CLEAR);
    for (size_t i = 0; i < plain.size; i++) {
        uint8_t byte = plain.data[i];

        if (code == CODE_NONE) {
            code = byte;
            continue;
        }

        /* Never 0 for a taken slot: the codes given out are above 257. */
        uint32_t key = code << 8 | byte, *slot = slot_of(&encoder, key);

        if (*slot != 0) {
            code = *slot & CODE_MAX;
            continue;
        }
        emit(&encoder, code);
        if (next_code(&encoder))
            *slot = key << 12 | encoder.high;
        code = byte;
    }
    if (code != CODE_NONE) {
        emit(&encoder, code);
        next_code(&encoder);
    }
    emit(&encoder, CODE_END);
    if (encoder.bit_count > 0) {
        uint8_t byte = (uint8_t)(encoder.bits & 0xff);

        cx_buffer_add(compressed, &byte, 1);
    }
}

bool cx_lzw_decode(cx_bytes compressed, size_t size_max, cx_buffer *plain, cx_err *err)
{
    struct decoder decoder = {
        .rest = compressed, .width = WIDTH_MIN, .high = CODE_END, .last = CODE_NONE};
    uint8_t text[CODE_MAX + 2], *end = text + sizeof(text);
    size_t produced = 0;
    uint32_t code = 0;

    while (read_code(&decoder, &code)) {
        if (code == CODE_END)
            return true;
        if (code == CODE_CLEAR) {
            decoder.width = WIDTH_MIN;
            decoder.high = CODE_END;
            decoder.last = CODE_NONE;
            continue;
        }

        bool is_new = code == decoder.high && decoder.last != CODE_NONE;
        uint8_t *from = NULL;

        if (code > decoder.high || (code == decoder.high && !is_new && !is_full(&decoder)))
            return cx_fail(err, CX_MALFORMED, "compressed data: code %u was never given", code);
        if (is_new) { /* the last string and its own first byte again */
            from = unwind(&decoder, decoder.last, end - 1);
            end[-1] = *from;
        } else {
            from = unwind(&decoder, code, end);
        }

        size_t size = (size_t)(end - from);

        if (size > size_max - produced)
            return cx_fail(err, CX_TOO_LARGE, "compressed data: more than %zu bytes", size_max);
        cx_buffer_add(plain, from, size);
        produced += size;
        learn(&decoder, code, *from);
    }
    return cx_fail(err, CX_MALFORMED, "compressed data: no end code");
}

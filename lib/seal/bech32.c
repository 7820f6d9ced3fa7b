#include "seal/bech32.h"

#include <ctype.h>
#include <string.h>

static const char alphabet[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

enum { CHECKSUM_SIZE = 6, GROUP_BITS = 5 };

/* The checksum's polynomial over 5-bit groups (BIP 173, "Checksum"). */
static uint32_t polymod_step(uint32_t sum, uint8_t value)
{
    static const uint32_t generator[] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd,
                                         0x2a1462b3};
    uint32_t top = sum >> 25;

    sum = ((sum & 0x1ffffff) << 5) ^ value;
    for (size_t i = 0; i < CX_COUNT(generator); i++)
        if ((top >> i) & 1)
            sum ^= generator[i];
    return sum;
}

static uint32_t polymod_prefix(const char *prefix, size_t size)
{
    uint32_t sum = 1;

    for (size_t i = 0; i < size; i++)
        sum = polymod_step(sum, (uint8_t)prefix[i] >> 5);
    sum = polymod_step(sum, 0);
    for (size_t i = 0; i < size; i++)
        sum = polymod_step(sum, (uint8_t)prefix[i] & 31);
    return sum;
}

char *cx_bech32(const char *prefix, cx_bytes data)
{
    size_t prefix_size = strlen(prefix);
    size_t groups = (data.size * 8 + GROUP_BITS - 1) / GROUP_BITS;
    char *text = cx_alloc(prefix_size + 1 + groups + CHECKSUM_SIZE + 1, 1);
    uint32_t sum = polymod_prefix(prefix, prefix_size);
    char *to = text + prefix_size + 1;

    memcpy(text, prefix, prefix_size);
    text[prefix_size] = '1';
    for (size_t group = 0; group < groups; group++) {
        uint8_t value = 0;

        for (size_t bit = group * GROUP_BITS; bit < (group + 1) * GROUP_BITS; bit++) {
            bool set = bit / 8 < data.size && (data.data[bit / 8] >> (7 - bit % 8)) & 1;

            value = (uint8_t)(value << 1 | set);
        }
        sum = polymod_step(sum, value);
        *to++ = alphabet[value];
    }
    for (size_t i = 0; i < CHECKSUM_SIZE; i++)
        sum = polymod_step(sum, 0);
    sum ^= 1;
    for (size_t i = 0; i < CHECKSUM_SIZE; i++)
        *to++ = alphabet[(sum >> (GROUP_BITS * (CHECKSUM_SIZE - 1 - i))) & 31];
    return text;
}

static bool has_mixed_case(const char *text)
{
    bool upper = false, lower = false;

    for (; *text; text++) {
        upper |= isupper((unsigned char)*text) != 0;
        lower |= islower((unsigned char)*text) != 0;
    }
    return upper && lower;
}

bool cx_from_bech32(const char *text, const char *prefix, uint8_t *data, size_t size, cx_err *err)
{
    size_t prefix_size = strlen(prefix);
    size_t text_size = strlen(text);
    size_t groups = (size * 8 + GROUP_BITS - 1) / GROUP_BITS;

    if (text_size > CX_BECH32_MAX || strncasecmp(text, prefix, prefix_size) != 0 ||
        text[prefix_size] != '1')
        return cx_fail(err, CX_INVALID, "it does not begin with %s1", prefix);
    if (text_size != prefix_size + 1 + groups + CHECKSUM_SIZE || has_mixed_case(text))
        return cx_fail(err, CX_INVALID, "%s1…: wrong length or mixed case", prefix);

    uint32_t sum = polymod_prefix(prefix, prefix_size);
    const char *from = text + prefix_size + 1;
    uint32_t bits = 0;
    size_t bit_count = 0, written = 0;

    for (size_t i = 0; i < groups + CHECKSUM_SIZE; i++) {
        const char *at = strchr(alphabet, tolower((unsigned char)from[i]));

        if (!at || !*at)
            return cx_fail(err, CX_INVALID, "%s1…: a character that bech32 does not have", prefix);

        uint8_t value = (uint8_t)(at - alphabet);

        sum = polymod_step(sum, value);
        if (i >= groups)
            continue;
        bits = bits << GROUP_BITS | value;
        bit_count += GROUP_BITS;
        if (bit_count >= 8) {
            bit_count -= 8;
            data[written++] = (uint8_t)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    if (sum != 1 || bits != 0)
        return cx_fail(err, CX_INVALID, "%s1…: the checksum is wrong, check for a typing error",
                       prefix);
    return true;
}

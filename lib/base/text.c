#include "base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <sodium.h>

enum {
    NEAREST_SIZE_MAX = 64, /* longer words are not compared: nobody mistypes those */
    ID_SIZE_MAX = 64,
    HOST_SIZE_MAX = 253, /* of a DNS name */
    PORT_MAX = 65535,
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edit distance with swaps of neighbours (optimal string alignment), case does not count. Both
 * words have at most NEAREST_SIZE_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_SIZE_MAX + 1];
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);

    for (size_t j = 0; j <= b_size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        int left = tolower((unsigned char)a[i - 1]);

        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            int right = tolower((unsigned char)b[j - 1]);

            row[j] = smaller(smaller(above[j], row[j - 1]) + 1, above[j - 1] + (left != right));
            if (i > 1 && j > 1 && left == tolower((unsigned char)b[j - 2]) &&
                right == tolower((unsigned char)a[i - 2]))
                row[j] = smaller(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_word(const char *text, size_t size, const char *also)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] == '\0' || (!is_letter_or_digit(text[i]) && strchr(also, text[i]) == NULL))
            return false;
    return true;
}

/* An IPv6 address, perhaps with the zone of a link-local one. */
static bool is_ipv6(const char *host)
{
    const char *zone = strchr(host, '%');
    CX_AUTO(cx_free)
    char *address = cx_strndup(host, zone == NULL ? HOST_SIZE_MAX : (size_t)(zone - host));
    struct in6_addr ignored;

    return inet_pton(AF_INET6, address, &ignored) == 1 &&
           (zone == NULL || (zone[1] != '\0' && is_word(zone + 1, strlen(zone + 1), "._-")));
}

static bool parse_port(const char *text, uint16_t *port)
{
    unsigned long number = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        number = number * 10 + (unsigned long)(*text - '0');
        if (number > PORT_MAX)
            return false;
    }
    *port = (uint16_t)number;
    return number > 0;
}

static bool bad_address(cx_err *err, const char *text)
{
    cx_fail(err, CX_INVALID, "'%.128s' is no address", text);
    return cx_hint(err, "write HOST:PORT or [IPV6]:PORT, with a port from 1 to 65535");
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

static char *to_base64(cx_bytes bytes, int variant)
{
    size_t size = sodium_base64_encoded_len(bytes.size, variant);
    char *text = cx_alloc(size, 1);

    return sodium_bin2base64(text, size, bytes.data, bytes.size, variant);
}

const char *cx_nearest(const char *word, const char *const *words, size_t count)
{
    size_t size = strlen(word);
    size_t best = 2 + size / 4;
    const char *nearest = NULL;

    if (size > NEAREST_SIZE_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i]) > NEAREST_SIZE_MAX)
            continue;

        size_t distant = distance(word, words[i]);

        if (distant < best && distant < size) { /* something of the word must be left */
            best = distant;
            nearest = words[i];
        }
    }
    return nearest;
}

bool cx_check_id(const char *what, const char *text, cx_err *err)
{
    size_t size = strnlen(text, ID_SIZE_MAX + 1);

    if (size > 0 && size <= ID_SIZE_MAX && is_letter_or_digit(text[0]) &&
        is_word(text, size, "._-"))
        return true;
    cx_fail(err, CX_INVALID, "%s '%.64s%s' is no id", what, text, size > ID_SIZE_MAX ? "…" : "");
    return cx_hint(err, "1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit");
}

bool cx_parse_host_port(const char *text, uint16_t default_port, char **host, uint16_t *port,
                        cx_err *err)
{
    bool bracket = text[0] == '[';
    const char *first = text + bracket;
    size_t size = strcspn(first, bracket ? "]" : ":");
    const char *rest = first + size;
    uint16_t number = default_port;

    if (size == 0 || size > HOST_SIZE_MAX || (bracket && *rest++ != ']'))
        return bad_address(err, text);
    if (*rest == '\0' ? number == 0 : *rest != ':' || !parse_port(rest + 1, &number))
        return bad_address(err, text);

    CX_AUTO(cx_free) char *name = cx_strndup(first, size);

    if (bracket ? !is_ipv6(name) : !is_word(name, size, ".-_") || name[0] == '-')
        return bad_address(err, text);
    *host = CX_TAKE(name);
    *port = number;
    return true;
}

char *cx_hex(cx_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = cx_alloc(bytes.size * 2 + 1, 1);

    for (size_t i = 0; i < bytes.size; i++) {
        text[2 * i] = digits[bytes.data[i] >> 4];
        text[2 * i + 1] = digits[bytes.data[i] & 15];
    }
    return text;
}

bool cx_from_hex(const char *text, uint8_t *data, size_t size, cx_err *err)
{
    size_t digits = strlen(text);

    if (digits != size * 2)
        return cx_fail(err, CX_MALFORMED, "%zu hex digits where %zu belong", digits, size * 2);
    for (size_t i = 0; i < digits; i++)
        if (hex_value(text[i]) < 0)
            return cx_fail(err, CX_MALFORMED, "hex digit %zu is none", i + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    return true;
}

char *cx_base64(cx_bytes bytes)
{
    return to_base64(bytes, sodium_base64_VARIANT_ORIGINAL);
}

char *cx_base64url(cx_bytes bytes)
{
    return to_base64(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* Not sodium_base642bin, which knows one alphabet and one way of padding at a time. */
bool cx_from_base64(const char *text, size_t size_max, cx_buffer *data, cx_err *err)
{
    size_t digits = strcspn(text, "=");
    size_t padding = strlen(text + digits);
    size_t size = digits / 4 * 3 + (digits % 4 == 0 ? 0 : digits % 4 - 1);
    uint32_t bits = 0;

    if (digits % 4 == 1 || (padding > 0 && (padding > 2 || (digits + padding) % 4 != 0 ||
                                            strspn(text + digits, "=") != padding)))
        return cx_fail(err, CX_MALFORMED, "base64 is cut off or padded wrongly");
    if (size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "base64 of %zu bytes, at most %zu are allowed", size,
                       size_max);
    for (size_t i = 0; i < digits; i++)
        if (base64_value(text[i]) < 0)
            return cx_fail(err, CX_MALFORMED, "base64 character %zu is none", i + 1);

    /* What is left over of the last character must be 0, so that bytes have one writing only. */
    if ((digits % 4 == 2 && (base64_value(text[digits - 1]) & 15) != 0) ||
        (digits % 4 == 3 && (base64_value(text[digits - 1]) & 3) != 0))
        return cx_fail(err, CX_MALFORMED, "base64 ends with bits that belong to no byte");

    uint8_t *to = cx_buffer_reserve(data, size);
    size_t done = 0;

    for (size_t i = 0; i < digits; i++) {
        bits = bits << 6 | (uint32_t)base64_value(text[i]);
        if (i % 4 > 0)
            to[done++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    data->size += size;
    data->data[data->size] = '\0';
    return true;
}

void cx_percent_add(cx_buffer *to, const char *text, bool keeps_slash)
{
    for (const uint8_t *at = (const uint8_t *)text; *at != '\0'; at++) {
        bool is_plain = (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') ||
                        (*at >= '0' && *at <= '9') || strchr("-._~", *at) != NULL ||
                        (keeps_slash && *at == '/');

        if (is_plain)
            cx_buffer_add(to, at, 1);
        else
            cx_buffer_addf(to, "%%%02X", *at);
    }
}

char *cx_percent_encoded(const char *text)
{
    CX_AUTO(cx_buffer_free) cx_buffer encoded = {0};

    cx_buffer_add_text(&encoded, "");
    cx_percent_add(&encoded, text, false);
    return cx_buffer_take_text(&encoded);
}

void cx_ulid(int64_t wall_ms, char text[CX_ULID_SIZE])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    enum { TIME_DIGITS = 10, RANDOM_DIGITS = 16 };
    uint64_t time = wall_ms < 0 ? 0 : (uint64_t)wall_ms & ((UINT64_C(1) << 48) - 1);
    uint8_t random[RANDOM_DIGITS];

    cx_random(random, sizeof(random));
    for (size_t i = TIME_DIGITS; i > 0; i--) {
        text[i - 1] = digits[time % 32];
        time /= 32;
    }
    for (size_t i = 0; i < RANDOM_DIGITS; i++) /* 5 bits of each byte */
        text[TIME_DIGITS + i] = digits[random[i] % 32];
    text[TIME_DIGITS + RANDOM_DIGITS] = '\0';
}

/* A kernel without getrandom can run nothing of ours. */
void cx_random(void *data, size_t size)
{
    uint8_t *to = data;

    while (size > 0) {
        ssize_t got = getrandom(to, size, 0);

        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            to += got;
            size -= (size_t)got;
        }
    }
}

void cx_sha256(cx_bytes bytes, uint8_t digest[CX_SHA256_SIZE])
{
    if (EVP_Digest(bytes.size > 0 ? bytes.data : digest, bytes.size, digest, NULL, EVP_sha256(),
                   NULL) != 1)
        abort();
}

bool cx_is_mail_address(const char *text)
{
    enum { ADDRESS_MAX = 254 }; /* RFC 5321 */
    size_t size = strlen(text), local = strcspn(text, "@");

    return local > 0 && local + 1 < size && size <= ADDRESS_MAX &&
           strcspn(text, " \t\r\n<>,;:\"()[]\\") == size;
}

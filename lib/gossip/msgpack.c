#include "gossip/msgpack.h"

#include <string.h>

#include <msgpack/pack.h>

/* ---- writing */

static int append(void *data, const char *bytes, size_t size)
{
    cx_buffer_add(data, bytes, size);
    return 0;
}

static msgpack_packer packer(cx_buffer *buffer)
{
    return (msgpack_packer){.data = buffer, .callback = append};
}

/* ---- reading */

enum kind { NIL, BOOL, UINT, NEGATIVE, REAL, RAW, BIN, ARRAY, MAP };

/* The head of a value. What it announces is there: `number` bytes, items or pairs are not more than
 * the bytes that follow. */
struct token {
    enum kind kind;
    uint64_t number; /* value, length or count */
    int64_t negative;
    double real;
};

static uint64_t big_endian(const uint8_t *data, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | data[i];
    return value;
}

/* What a type byte says: its kind, how many bytes of number follow it, or the number in it. */
static bool head(uint8_t type, struct token *token, size_t *number_size)
{
    *number_size = 0;
    *token = (struct token){0};
    if (type <= 0x7f) {
        *token = (struct token){UINT, type, 0, 0};
    } else if (type <= 0x8f) {
        *token = (struct token){MAP, type & 0x0f, 0, 0};
    } else if (type <= 0x9f) {
        *token = (struct token){ARRAY, type & 0x0f, 0, 0};
    } else if (type <= 0xbf) {
        *token = (struct token){RAW, type & 0x1f, 0, 0};
    } else if (type >= 0xe0) {
        *token = (struct token){NEGATIVE, 0, (int64_t)type - 0x100, 0};
    } else if (type == 0xc0) {
        token->kind = NIL;
    } else if (type == 0xc2 || type == 0xc3) {
        *token = (struct token){BOOL, type & 1, 0, 0};
    } else if (type >= 0xc4 && type <= 0xc6) {
        token->kind = BIN;
        *number_size = (size_t)1 << (type - 0xc4);
    } else if (type == 0xca || type == 0xcb) {
        token->kind = REAL;
        *number_size = type == 0xca ? 4 : 8;
    } else if (type >= 0xcc && type <= 0xcf) {
        token->kind = UINT;
        *number_size = (size_t)1 << (type - 0xcc);
    } else if (type >= 0xd0 && type <= 0xd3) {
        token->kind = NEGATIVE;
        *number_size = (size_t)1 << (type - 0xd0);
    } else if (type >= 0xd9 && type <= 0xdb) {
        token->kind = RAW;
        *number_size = (size_t)1 << (type - 0xd9);
    } else if (type == 0xdc || type == 0xdd) {
        token->kind = ARRAY;
        *number_size = type == 0xdc ? 2 : 4;
    } else if (type == 0xde || type == 0xdf) {
        token->kind = MAP;
        *number_size = type == 0xde ? 2 : 4;
    } else {
        return false; /* 0xc1 and extension types: nothing on this wire has them */
    }
    return true;
}

/* Gives the token the number that followed its type byte. */
static void complete(struct token *token, const uint8_t *number, size_t size)
{
    uint64_t bits = big_endian(number, size);

    if (token->kind == REAL && size == 4) {
        uint32_t bits32 = (uint32_t)bits;
        float value;

        memcpy(&value, &bits32, sizeof(value));
        token->real = (double)value;
    } else if (token->kind == REAL) {
        memcpy(&token->real, &bits, sizeof(token->real));
    } else if (token->kind == NEGATIVE) {
        unsigned shift = 64 - 8 * (unsigned)size;

        token->negative = (int64_t)(bits << shift) >> shift;
        if (token->negative >= 0)
            *token = (struct token){UINT, (uint64_t)token->negative, 0, 0};
    } else {
        token->number = bits;
    }
}

static bool take(cx_bytes *rest, struct token *token, cx_err *err)
{
    size_t number_size = 0;

    if (rest->size == 0)
        return cx_fail(err, CX_MALFORMED, "msgpack: the bytes end before a value");
    if (!head(rest->data[0], token, &number_size))
        return cx_fail(err, CX_MALFORMED, "msgpack: type byte 0x%02x", rest->data[0]);
    if (number_size > rest->size - 1)
        return cx_fail(err, CX_MALFORMED, "msgpack: the bytes end within a value");
    if (number_size > 0)
        complete(token, rest->data + 1, number_size);
    *rest = (cx_bytes){rest->data + 1 + number_size, rest->size - 1 - number_size};

    size_t least = token->kind == MAP ? rest->size / 2 : rest->size;

    if (token->kind >= RAW && token->number > least)
        return cx_fail(err, CX_MALFORMED, "msgpack: %llu announced, %zu bytes left",
                       (unsigned long long)token->number, rest->size);
    return true;
}

static bool unexpected(const char *wanted, cx_err *err)
{
    return cx_fail(err, CX_MALFORMED, "msgpack: another kind of value where %s belongs", wanted);
}

static cx_bytes cut(cx_bytes *rest, uint64_t size)
{
    cx_bytes front = {rest->data, (size_t)size};

    *rest = (cx_bytes){rest->data + size, rest->size - (size_t)size};
    return front;
}

static bool skip(cx_bytes *rest, int depth, cx_err *err)
{
    struct token token;

    if (depth > CX_MSGPACK_DEPTH_MAX)
        return cx_fail(err, CX_MALFORMED, "msgpack: more than %d levels", CX_MSGPACK_DEPTH_MAX);
    if (!take(rest, &token, err))
        return false;
    if (token.kind == RAW || token.kind == BIN)
        cut(rest, token.number);
    if (token.kind != ARRAY && token.kind != MAP)
        return true;

    uint64_t count = token.kind == MAP ? 2 * token.number : token.number;

    for (uint64_t i = 0; i < count; i++)
        if (!skip(rest, depth + 1, err))
            return false;
    return true;
}

static bool take_count(cx_bytes *rest, enum kind kind, size_t *count, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind != kind && token.kind != NIL)
        return unexpected(kind == MAP ? "a map" : "a list", err);
    *count = token.kind == NIL ? 0 : (size_t)token.number;
    return true;
}

/* ---- public */

void cx_msgpack_put_nil(cx_buffer *buffer)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_nil(&out);
}

void cx_msgpack_put_bool(cx_buffer *buffer, bool value)
{
    msgpack_packer out = packer(buffer);

    if (value)
        msgpack_pack_true(&out);
    else
        msgpack_pack_false(&out);
}

void cx_msgpack_put_uint(cx_buffer *buffer, uint64_t value)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_uint64(&out, value);
}

void cx_msgpack_put_int(cx_buffer *buffer, int64_t value)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_int64(&out, value);
}

void cx_msgpack_put_double(cx_buffer *buffer, double value)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_double(&out, value);
}

void cx_msgpack_put_raw(cx_buffer *buffer, cx_bytes value)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_v4raw(&out, value.size);
    msgpack_pack_v4raw_body(&out, value.data, value.size);
}

void cx_msgpack_put_text(cx_buffer *buffer, const char *text)
{
    cx_msgpack_put_raw(buffer, cx_bytes_of(text));
}

void cx_msgpack_put_array(cx_buffer *buffer, size_t count)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_array(&out, count);
}

void cx_msgpack_put_map(cx_buffer *buffer, size_t count)
{
    msgpack_packer out = packer(buffer);

    msgpack_pack_map(&out, count);
}

bool cx_msgpack_take_uint(cx_bytes *rest, uint64_t max, uint64_t *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind != UINT && token.kind != NIL)
        return unexpected("an unsigned integer", err);
    if (token.number > max)
        return cx_fail(err, CX_MALFORMED, "msgpack: %llu does not fit its field",
                       (unsigned long long)token.number);
    *value = token.number;
    return true;
}

bool cx_msgpack_take_int(cx_bytes *rest, int64_t *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind != UINT && token.kind != NEGATIVE && token.kind != NIL)
        return unexpected("an integer", err);
    if (token.number > INT64_MAX)
        return cx_fail(err, CX_MALFORMED, "msgpack: %llu does not fit its field",
                       (unsigned long long)token.number);
    *value = token.kind == NEGATIVE ? token.negative : (int64_t)token.number;
    return true;
}

bool cx_msgpack_take_bool(cx_bytes *rest, bool *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if ((token.kind != BOOL && token.kind != UINT && token.kind != NIL) || token.number > 1)
        return unexpected("a truth value", err);
    *value = token.number == 1;
    return true;
}

bool cx_msgpack_take_double(cx_bytes *rest, double *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind == REAL)
        *value = token.real;
    else if (token.kind == NEGATIVE)
        *value = (double)token.negative;
    else if (token.kind == UINT || token.kind == NIL)
        *value = (double)token.number;
    else
        return unexpected("a number", err);
    return true;
}

bool cx_msgpack_take_text(cx_bytes *rest, cx_bytes *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind != RAW && token.kind != NIL)
        return unexpected("a text", err);
    *value = cut(rest, token.number);
    return true;
}

bool cx_msgpack_take_bytes(cx_bytes *rest, cx_bytes *value, cx_err *err)
{
    struct token token;

    if (!take(rest, &token, err))
        return false;
    if (token.kind != RAW && token.kind != BIN && token.kind != NIL)
        return unexpected("a byte string", err);
    *value = (cx_bytes){0};
    if (token.kind != NIL)
        *value = cut(rest, token.number);
    return true;
}

bool cx_msgpack_take_array(cx_bytes *rest, size_t *count, cx_err *err)
{
    return take_count(rest, ARRAY, count, err);
}

bool cx_msgpack_take_map(cx_bytes *rest, size_t *count, cx_err *err)
{
    return take_count(rest, MAP, count, err);
}

bool cx_msgpack_take_any(cx_bytes *rest, cx_bytes *value, cx_err *err)
{
    const uint8_t *from = rest->data;

    if (!skip(rest, 0, err))
        return false;
    if (value != NULL)
        *value = (cx_bytes){from, (size_t)(rest->data - from)};
    return true;
}

bool cx_msgpack_is_nil(cx_bytes rest)
{
    return rest.size > 0 && rest.data[0] == 0xc0;
}

bool cx_msgpack_is_array(cx_bytes rest)
{
    return rest.size > 0 &&
           ((rest.data[0] & 0xf0) == 0x90 || rest.data[0] == 0xdc || rest.data[0] == 0xdd);
}

bool cx_msgpack_is_map(cx_bytes rest)
{
    return rest.size > 0 &&
           ((rest.data[0] & 0xf0) == 0x80 || rest.data[0] == 0xde || rest.data[0] == 0xdf);
}

bool cx_msgpack_scan_on(cx_msgpack_scan *scan, cx_bytes bytes, size_t *at, uint64_t wanted_max,
                        bool *done, cx_err *err)
{
    while (scan->wanted > 0 && *at < bytes.size) {
        size_t number_size, left = bytes.size - *at - 1;
        struct token token;

        if (!head(bytes.data[*at], &token, &number_size))
            return cx_fail(err, CX_MALFORMED, "msgpack: type byte 0x%02x", bytes.data[*at]);
        if (number_size > left)
            break;
        if (number_size > 0)
            complete(&token, bytes.data + *at + 1, number_size);
        if ((token.kind == RAW || token.kind == BIN) && token.number > left - number_size)
            break;

        uint64_t inside = token.kind == ARRAY ? token.number
                          : token.kind == MAP ? 2 * token.number
                                              : 0;

        if (inside > wanted_max - scan->wanted)
            return cx_fail(err, CX_TOO_LARGE, "msgpack: too many values");
        scan->wanted += inside;
        scan->wanted--;
        *at += 1 + number_size;
        if (token.kind == RAW || token.kind == BIN)
            *at += (size_t)token.number;
    }
    *done = scan->wanted == 0;
    return true;
}

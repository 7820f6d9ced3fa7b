/* Secrets that are known by their shape. */
#include <string.h>

#include "base/redact_parts.h"

enum {
    PEM_MAX = 64 * 1024, /* how far the end of a key is looked for */
    URL_MAX = 512,       /* of what stands between :// and @ */
    TOKEN_MIN = 8,
    TOKEN_MAX = 16 * 1024,
    NAME_SIZE = 32, /* a scheme, an AWS key id, and a byte more */
    AWS_ID_SIZE = 20,
    AWS_SECRET_SIZE = 40,
    KEY_DER_MIN = 48,
    MINISIGN_MIN = 200, /* 158 bytes in base64; a public key has 56 characters */
};

static bool hit_all(redact_hit *hit, size_t keep, size_t cut, cx_secret kind)
{
    *hit = (redact_hit){.keep = keep, .cut = cut, .kind = kind};
    return cut > 0;
}

/* ---- keys in PEM */

static size_t find_text(cx_bytes text, size_t from, size_t size_max, const char *word)
{
    size_t left = from < text.size ? text.size - from : 0;
    const uint8_t *hit =
        left == 0 ? NULL
                  : memmem(text.data + from, left < size_max ? left : size_max, word, strlen(word));

    return hit == NULL ? SIZE_MAX : (size_t)(hit - text.data);
}

/* Where a key whose end is missing ends: after the last line that can be one of a key. */
static size_t end_of_body(cx_bytes text, size_t at)
{
    for (;;) {
        size_t line = at, end;

        while (line < text.size && (text.data[line] == '\n' || text.data[line] == '\r'))
            line++;
        while (redact_escape(text, line) > 0 && strchr("nr", text.data[line + 1]) != NULL)
            line += 2;
        end = line;
        if (redact_is_at(text, line, "Proc-Type:", false) ||
            redact_is_at(text, line, "DEK-Info:", false)) {
            while (end < text.size && text.data[end] != '\n' && redact_escape(text, end) == 0)
                end++;
        } else {
            end += redact_span(text, line, PEM_MAX, redact_is_base64);
            while (end < text.size && text.data[end] == '=')
                end++;
            /* A line that goes on with anything else is none of a key. */
            if (end < text.size && strchr("\r\n\"'\\ \t", text.data[end]) == NULL)
                end = line;
        }
        if (end == line)
            return at;
        at = end;
    }
}

static bool private_key(cx_bytes text, size_t at, redact_hit *hit)
{
    static const char begin[] = "-----BEGIN ", key[] = "PRIVATE KEY", dashes[] = "-----";
    size_t label = at + strlen(begin), named, closed, end;

    if (!redact_is_at(text, at, begin, false))
        return false;
    named = find_text(text, label, 64, key);
    closed = find_text(text, label, 96, dashes);
    if (named == SIZE_MAX || closed == SIZE_MAX || named > closed)
        return false;
    closed += strlen(dashes);
    end = find_text(text, closed, PEM_MAX, "-----END ");
    if (end != SIZE_MAX && end > find_text(text, closed, PEM_MAX, begin))
        end = SIZE_MAX; /* that of another block */
    if (end != SIZE_MAX)
        end = find_text(text, end + strlen("-----END "), 96, dashes);
    end = end == SIZE_MAX ? end_of_body(text, closed) : end + strlen(dashes);
    return hit_all(hit, 0, end - at, CX_SECRET_PRIVATE_KEY);
}

/* ---- tokens with a prefix */

static bool is_token(uint8_t byte)
{
    return redact_is_url64(byte) || (byte != '\0' && strchr(".~+/=", byte) != NULL);
}

static bool prefixed(cx_bytes text, size_t at, redact_hit *hit)
{
    static const struct {
        const char *prefix;
        cx_secret kind;
        size_t min; /* characters after the prefix */
    } tokens[] = {
        {"cxj1.", CX_SECRET_JOIN_TOKEN, TOKEN_MIN},
        {"AGE-SECRET-KEY-", CX_SECRET_AGE_IDENTITY, 1},
        {"AGE-PLUGIN-", CX_SECRET_AGE_IDENTITY, TOKEN_MIN},
        {"xoxb-", CX_SECRET_SERVICE_TOKEN, TOKEN_MIN},
        {"xoxp-", CX_SECRET_SERVICE_TOKEN, TOKEN_MIN},
        {"xoxa-", CX_SECRET_SERVICE_TOKEN, TOKEN_MIN},
        {"xapp-", CX_SECRET_SERVICE_TOKEN, TOKEN_MIN},
        {"ghp_", CX_SECRET_SERVICE_TOKEN, 20},
        {"gho_", CX_SECRET_SERVICE_TOKEN, 20},
        {"ghs_", CX_SECRET_SERVICE_TOKEN, 20},
        {"github_pat_", CX_SECRET_SERVICE_TOKEN, 20},
        {"glpat-", CX_SECRET_SERVICE_TOKEN, 16},
        {"sk_live_", CX_SECRET_SERVICE_TOKEN, 16},
        {"hvs.", CX_SECRET_SERVICE_TOKEN, 16},
    };

    for (size_t i = 0; i < CX_COUNT(tokens); i++) {
        size_t prefix = strlen(tokens[i].prefix), rest;

        /* What an age identity is in lower case, age reads too. */
        if (!redact_is_at(text, at, tokens[i].prefix, tokens[i].kind == CX_SECRET_AGE_IDENTITY))
            continue;
        rest = redact_span(text, at + prefix, TOKEN_MAX, is_token);
        if (rest >= tokens[i].min)
            return hit_all(hit, 0, prefix + rest, tokens[i].kind);
    }
    return false;
}

static bool json_web_token(cx_bytes text, size_t at, redact_hit *hit)
{
    size_t end = at;

    if (!redact_is_at(text, at, "eyJ", false))
        return false;
    for (int part = 0; part < 3; part++) {
        size_t size = redact_span(text, end, part == 0 ? 512 : TOKEN_MAX, redact_is_url64);

        if (size < 4 || (part < 2 && (end + size >= text.size || text.data[end + size] != '.')))
            return false;
        end += size + (part < 2);
    }
    return hit_all(hit, 0, end - at, CX_SECRET_SERVICE_TOKEN);
}

static bool bearer(cx_bytes text, size_t at, redact_hit *hit)
{
    static const char word[] = "bearer";
    size_t value = at + strlen(word), size;

    if (!redact_is_at(text, at, word, true))
        return false;
    while (value < text.size && (text.data[value] == ' ' || text.data[value] == '\t'))
        value++;
    size = redact_span(text, value, TOKEN_MAX, is_token);
    if (value == at + strlen(word) || size < TOKEN_MIN)
        return false;
    return hit_all(hit, value - at, size, CX_SECRET_BEARER);
}

/* ---- keys in base64 */

/* Upper case, lower case and digits: chance has all three, words seldom do. */
static bool is_mixed(cx_bytes text, size_t at, size_t size)
{
    bool upper = false, lower = false, digit = false;

    for (size_t i = at; i < at + size; i++) {
        upper |= text.data[i] >= 'A' && text.data[i] <= 'Z';
        lower |= text.data[i] >= 'a' && text.data[i] <= 'z';
        digit |= text.data[i] >= '0' && text.data[i] <= '9';
    }
    return upper && lower && digit;
}

static bool is_upper_or_digit(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

static bool aws_id(cx_bytes text, size_t at, redact_hit *hit)
{
    if (!redact_is_at(text, at, "AKIA", false) && !redact_is_at(text, at, "ASIA", false))
        return false;
    if (redact_span(text, at, NAME_SIZE, is_upper_or_digit) != AWS_ID_SIZE ||
        redact_span(text, at, NAME_SIZE, redact_is_word) != AWS_ID_SIZE)
        return false;
    return hit_all(hit, 0, AWS_ID_SIZE, CX_SECRET_AWS_KEY);
}

/* A private key's DER in base64 without the lines around it: how PKCS #8, SEC 1, PKCS #1 and OpenSSH
 * begin. */
static bool is_key_der(cx_bytes text, size_t at)
{
    static const char *const begins[] = {"MIGHAgEA", "MIG2AgEA", "MIHuAgEA",           "MC4CAQAw",
                                         "MHcCAQEE", "MIGkAgEB", "b3BlbnNzaC1rZXktdjE"};

    for (size_t i = 0; i < CX_COUNT(begins); i++)
        if (redact_is_at(text, at, begins[i], false))
            return true;
    return redact_is_at(text, at, "MII", false) && (redact_is_at(text, at + 6, "IBADAN", false) ||
                                                    redact_is_at(text, at + 6, "IBAAKC", false));
}

/* `-----BEGIN ` in base64, as in Kubernetes' secrets; but for certificates and public keys. */
static bool is_key_pem(cx_bytes text, size_t at)
{
    return redact_is_at(text, at, "LS0tLS1CRUdJTi", false) &&
           !redact_is_at(text, at, "LS0tLS1CRUdJTiBDRVJU", false) &&
           !redact_is_at(text, at, "LS0tLS1CRUdJTiBQVUJM", false);
}

static bool base64_key(cx_bytes text, size_t at, redact_hit *hit)
{
    size_t size, pad = 0;

    if (at > 0 && redact_is_base64(text.data[at - 1]) &&
        (at < 2 || redact_escape(text, at - 2) == 0))
        return false; /* the midst of a longer run */
    size = redact_span(text, at, TOKEN_MAX, redact_is_base64);
    while (at + size + pad < text.size && text.data[at + size + pad] == '=')
        pad++;
    if (size >= KEY_DER_MIN && (is_key_der(text, at) || is_key_pem(text, at))) {
        size_t body = end_of_body(text, at) - at;

        return hit_all(hit, 0, body > size + pad ? body : size + pad, CX_SECRET_PRIVATE_KEY);
    }
    if (size >= MINISIGN_MIN && redact_is_at(text, at, "RW", false))
        return hit_all(hit, 0, size + pad, CX_SECRET_MINISIGN_KEY);
    if ((size == 43 && pad == 1) || (size == 22 && pad == 2))
        return hit_all(hit, 0, size + pad, CX_SECRET_KEY_BYTES);
    /* A path begins with a slash. */
    if (size == AWS_SECRET_SIZE && pad == 0 && text.data[at] != '/' && is_mixed(text, at, size) &&
        (at + size == text.size || !redact_is_word(text.data[at + size])))
        return hit_all(hit, 0, size, CX_SECRET_AWS_KEY);
    return false;
}

/* ---- URLs */

static bool is_of_url(uint8_t byte)
{
    return byte > ' ' && byte != 0x7f && strchr("\"'<>`\\", byte) == NULL;
}

static bool is_scheme(uint8_t byte)
{
    return redact_is_word(byte) || byte == '+' || byte == '-' || byte == '.';
}

/* Between :// and the last @ of the authority. A password may hold a slash all the same: then what has
 * a colon, but is no host:port, counts. */
static size_t userinfo_size(cx_bytes text, size_t from)
{
    size_t whole = redact_span(text, from, URL_MAX, is_of_url), authority = 0, at_sign = 0,
           colon = SIZE_MAX;

    while (authority < whole && strchr("/?#", text.data[from + authority]) == NULL) {
        if (text.data[from + authority] == '@')
            at_sign = authority;
        if (text.data[from + authority] == ':' && colon == SIZE_MAX)
            colon = authority;
        authority++;
    }
    if (at_sign > 0 || colon == SIZE_MAX || authority == whole)
        return at_sign;
    for (size_t i = colon + 1; i < authority; i++)
        if (text.data[from + i] < '0' || text.data[from + i] > '9')
            for (size_t end = whole; end > authority; end--)
                if (text.data[from + end - 1] == '@')
                    return end - 1;
    return 0;
}

static bool url_credentials(cx_bytes text, size_t at, redact_hit *hit)
{
    static const char *const remote_login[] = {"ssh", "git+ssh", "sftp"};
    size_t scheme = redact_span(text, at, NAME_SIZE, is_scheme), from = at + scheme + 3, size;

    if (scheme == 0 || !redact_is_at(text, at + scheme, "://", false))
        return false;
    size = userinfo_size(text, from);
    if (size == 0 || redact_mark_size(text, from) == size)
        return false;
    for (size_t i = 0; i < CX_COUNT(remote_login); i++)
        if (scheme == strlen(remote_login[i]) && redact_is_at(text, at, remote_login[i], true) &&
            memchr(text.data + from, ':', size) == NULL)
            return false; /* git@host: a user's name alone is no secret */
    return hit_all(hit, from - at, size, CX_SECRET_URL_CREDENTIALS);
}

static bool webhook(cx_bytes text, size_t at, redact_hit *hit)
{
    static const char *const hosts[] = {"hooks.slack.com/", "discord.com/api/webhooks/",
                                        "outlook.office.com/webhook/"};

    for (size_t i = 0; i < CX_COUNT(hosts); i++) {
        size_t host = strlen(hosts[i]);

        if (redact_is_at(text, at, hosts[i], true))
            return hit_all(hit, host, redact_span(text, at + host, TOKEN_MAX, is_of_url),
                           CX_SECRET_SERVICE_TOKEN);
    }
    return false;
}

bool redact_shape(cx_bytes text, size_t at, redact_hit *hit)
{
    uint8_t first = text.data[at];

    if (first == '-')
        return private_key(text, at, hit);
    if (!redact_is_base64(first))
        return false;
    /* Most words begin with another letter than any of these. */
    if (strchr("cAaxghs", first) != NULL && prefixed(text, at, hit))
        return true;
    if ((first == 'e' && json_web_token(text, at, hit)) ||
        ((first | 0x20) == 'b' && bearer(text, at, hit)) ||
        (first == 'A' && aws_id(text, at, hit)) ||
        (strchr("hHdDoO", first) != NULL && webhook(text, at, hit)))
        return true;
    return base64_key(text, at, hit) || url_credentials(text, at, hit);
}

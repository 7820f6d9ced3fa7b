#include "pki/token.h"

#include <ctype.h>
#include <string.h>

#include <sodium.h>

#include "base/json.h"
#include "base/text.h"
#include "pki/key.h"

static const char prefix[] = "cxj1.";

void cx_token_generate(int64_t now_ms, cx_token *token)
{
    uint8_t secret[32];

    *token = (cx_token){0};
    cx_ulid(now_ms, token->id);
    cx_random(secret, sizeof secret);
    sodium_bin2base64(token->secret, sizeof token->secret, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(secret, sizeof secret);
}

char *cx_token_text(const cx_token *token)
{
    CX_AUTO(cx_json_free)
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", token->id, "cluster",
                             token->cluster, "node_id", token->node_id, "url", token->url,
                             "ca_sha256", token->ca_sha256, "secret", token->secret);
    CX_AUTO(cx_free_secret) char *line = cx_json_line(json);
    CX_AUTO(cx_free_secret) char *base64 = cx_base64url(cx_bytes_of(line));

    return cx_format("%s%s", prefix, base64);
}

static bool copy_text(const json_t *json, const char *key, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(json, key));

    if (!text || !text[0] || strlen(text) >= size)
        return false;
    strcpy(to, text);
    return true;
}

static bool is_hex(const char *text, size_t size)
{
    return strlen(text) == size && strspn(text, "0123456789abcdef") == size;
}

static bool is_acceptable(const cx_token *token)
{
    cx_err ignored;

    return cx_check_id("cluster", token->cluster, &ignored) &&
           cx_check_id("node", token->node_id, &ignored) &&
           cx_check_id("id", token->id, &ignored) &&
           is_hex(token->ca_sha256, CX_FINGERPRINT_SIZE - 1) &&
           strlen(token->secret) == CX_TOKEN_SECRET_SIZE - 1 &&
           strncmp(token->url, "https://", 8) == 0 && strpbrk(token->url, " \t\r\n\"'<>\\") == NULL;
}

bool cx_token_parse(const char *text, cx_token *token, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer bytes = {0};
    CX_AUTO(cx_free_secret) char *base64 = NULL;
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_err ignored = {0};

    while (isspace((unsigned char)*text))
        text++;

    size_t size = strlen(text);

    while (size > 0 && isspace((unsigned char)text[size - 1]))
        size--;
    *token = (cx_token){0};
    if (size <= sizeof prefix - 1 || size > CX_TOKEN_TEXT_MAX ||
        strncmp(text, prefix, sizeof prefix - 1) != 0) {
        cx_fail(err, CX_TOKEN_INVALID, "this is not a join token: those begin with %s", prefix);
        return cx_hint(err, "cx-ca token create --node-id ID makes one, on the CA's host");
    }
    base64 = cx_strndup(text + sizeof prefix - 1, size - (sizeof prefix - 1));
    if (!cx_from_base64(base64, CX_TOKEN_TEXT_MAX, &bytes, &ignored) ||
        !cx_json_parse(cx_buffer_bytes(&bytes), CX_TOKEN_TEXT_MAX, "token", &json, &ignored) ||
        !copy_text(json, "id", token->id, sizeof token->id) ||
        !copy_text(json, "cluster", token->cluster, sizeof token->cluster) ||
        !copy_text(json, "node_id", token->node_id, sizeof token->node_id) ||
        !copy_text(json, "url", token->url, sizeof token->url) ||
        !copy_text(json, "ca_sha256", token->ca_sha256, sizeof token->ca_sha256) ||
        !copy_text(json, "secret", token->secret, sizeof token->secret) || !is_acceptable(token)) {
        cx_token_wipe(token);
        cx_fail(err, CX_TOKEN_INVALID, "the join token is damaged or cut");
        return cx_hint(err, "copy the whole of it: it is one word");
    }
    return true;
}

void cx_token_wipe(cx_token *token)
{
    sodium_memzero(token, sizeof *token);
}

void cx_token_secret_hash(const char *secret, char hash[CX_FINGERPRINT_SIZE])
{
    uint8_t digest[CX_SHA256_SIZE];

    cx_sha256(cx_bytes_of(secret), digest);
    sodium_bin2hex(hash, CX_FINGERPRINT_SIZE, digest, sizeof digest);
}

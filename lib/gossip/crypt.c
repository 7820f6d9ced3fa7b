#include "gossip/crypt.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include <openssl/evp.h>
#include <sodium.h>

#include "base/json.h"
#include "base/text.h"

enum {
    VERSION_PADDED = 0,
    VERSION_PLAIN = 1,
    NONCE_SIZE = 12,
    TAG_SIZE = 16,
    BLOCK_SIZE = 16,
};

struct key {
    size_t size;
    uint8_t bytes[CX_KEYRING_KEY_MAX];
};

/* In sodium_malloc memory as a whole. */
struct cx_keyring {
    size_t count;
    struct key keys[CX_KEYRING_KEYS_MAX];
};

static bool is_key_size(size_t size)
{
    return size == 16 || size == 24 || size == 32;
}

static const EVP_CIPHER *cipher_of(const struct key *key)
{
    return key->size == 16   ? EVP_aes_128_gcm()
           : key->size == 24 ? EVP_aes_192_gcm()
                             : EVP_aes_256_gcm();
}

/* Where the key is in the ring; count when it isn't. */
static size_t place_of(const cx_keyring *ring, cx_bytes key)
{
    size_t at = 0;

    while (at < ring->count && (ring->keys[at].size != key.size ||
                                sodium_memcmp(ring->keys[at].bytes, key.data, key.size) != 0))
        at++;
    return at;
}

static void wipe(cx_buffer *buffer)
{
    if (buffer->data != NULL)
        sodium_memzero(buffer->data, buffer->capacity);
    cx_buffer_free(buffer);
}

static bool add_text_key(cx_keyring *ring, const json_t *item, size_t at, cx_err *err)
{
    CX_AUTO(wipe) cx_buffer key = {0};
    bool changed = false;

    /* What is wrong is not repeated: it may be a key with one character too many. */
    if (!json_is_string(item) ||
        !cx_from_base64(json_string_value(item), CX_KEYRING_KEY_MAX, &key, err) ||
        !is_key_size(key.size))
        return cx_fail(err, CX_CONFIG, "key ring: key %zu is not base64 of 16, 24 or 32 bytes",
                       at + 1);
    return cx_keyring_install(ring, cx_buffer_bytes(&key), &changed, err);
}

static void close_context(EVP_CIPHER_CTX **owner)
{
    EVP_CIPHER_CTX_free(*owner);
    *owner = NULL;
}

/* Plain bytes into `plain`, which has room for them; false: this key does not open it. */
static bool open_with(const struct key *key, cx_bytes authenticated, const uint8_t *nonce,
                      cx_bytes cipher, uint8_t *plain)
{
    CX_AUTO(close_context) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t tag[TAG_SIZE];
    int size = 0, last = 0;

    memcpy(tag, cipher.data + cipher.size, TAG_SIZE);
    return context != NULL &&
           EVP_DecryptInit_ex(context, cipher_of(key), NULL, key->bytes, nonce) == 1 &&
           EVP_DecryptUpdate(context, NULL, &size, authenticated.data, (int)authenticated.size) ==
               1 &&
           EVP_DecryptUpdate(context, plain, &size, cipher.data, (int)cipher.size) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
           EVP_DecryptFinal_ex(context, plain + size, &last) == 1;
}

/* Takes PKCS7 padding from the end; all of its bytes must be right. */
static bool unpad(const uint8_t *plain, size_t *size)
{
    size_t padding = *size > 0 ? plain[*size - 1] : 0;

    if (padding == 0 || padding > BLOCK_SIZE || padding > *size)
        return false;
    for (size_t i = *size - padding; i < *size; i++)
        if (plain[i] != padding)
            return false;
    *size -= padding;
    return true;
}

/* ---- public */

cx_keyring *cx_keyring_new(void)
{
    cx_keyring *ring = sodium_init() < 0 ? NULL : sodium_malloc(sizeof(*ring));

    if (ring == NULL) /* as when other memory is exhausted */
        return cx_alloc(SIZE_MAX, 1);
    memset(ring, 0, sizeof(*ring));
    return ring;
}

bool cx_keyring_parse(cx_bytes text, cx_keyring **ring, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *list = NULL;
    CX_AUTO(cx_keyring_close) cx_keyring *parsed = cx_keyring_new();

    if (!cx_json_parse(text, CX_KEYRING_TEXT_MAX, "key ring", &list, err))
        return cx_fail(err, CX_CONFIG, "key ring: not a JSON list of base64 keys");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cx_fail(err, CX_CONFIG, "key ring: not a JSON list with at least one key");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!add_text_key(parsed, json_array_get(list, i), i, err))
            return false;
    *ring = CX_TAKE(parsed);
    return true;
}

void cx_keyring_close(cx_keyring **owner)
{
    sodium_free(*owner);
    *owner = NULL;
}

void cx_keyring_write(const cx_keyring *ring, cx_buffer *text)
{
    char base64[sodium_base64_ENCODED_LEN(CX_KEYRING_KEY_MAX, sodium_base64_VARIANT_ORIGINAL)];

    cx_buffer_add_text(text, "[");
    for (size_t i = 0; i < ring->count; i++) {
        sodium_bin2base64(base64, sizeof(base64), ring->keys[i].bytes, ring->keys[i].size,
                          sodium_base64_VARIANT_ORIGINAL);
        cx_buffer_add_text(text, i == 0 ? "\n  \"" : ",\n  \"");
        cx_buffer_add_text(text, base64);
        cx_buffer_add_text(text, "\"");
    }
    cx_buffer_add_text(text, "\n]\n");
    sodium_memzero(base64, sizeof(base64));
}

size_t cx_keyring_count(const cx_keyring *ring)
{
    return ring == NULL ? 0 : ring->count;
}

cx_bytes cx_keyring_key(const cx_keyring *ring, size_t at)
{
    assert(at < ring->count);
    return (cx_bytes){ring->keys[at].bytes, ring->keys[at].size};
}

bool cx_keyring_install(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err)
{
    *changed = false;
    if (!is_key_size(key.size))
        return cx_fail(err, CX_INVALID, "a key of %zu bytes, not 16, 24 or 32", key.size);
    if (place_of(ring, key) < ring->count)
        return true;
    if (ring->count == CX_KEYRING_KEYS_MAX)
        return cx_fail(err, CX_TOO_LARGE, "the key ring has %d keys already", CX_KEYRING_KEYS_MAX);
    ring->keys[ring->count].size = key.size;
    memcpy(ring->keys[ring->count].bytes, key.data, key.size);
    ring->count++;
    *changed = true;
    return true;
}

bool cx_keyring_use(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err)
{
    size_t at = place_of(ring, key);

    *changed = false;
    if (at == ring->count)
        return cx_fail(err, CX_NOT_FOUND, "the key is not in the key ring");
    if (at == 0)
        return true;

    struct key chosen = ring->keys[at];

    memmove(&ring->keys[1], &ring->keys[0], at * sizeof(chosen));
    ring->keys[0] = chosen;
    sodium_memzero(&chosen, sizeof(chosen));
    *changed = true;
    return true;
}

bool cx_keyring_remove(cx_keyring *ring, cx_bytes key, bool *changed, cx_err *err)
{
    size_t at = place_of(ring, key);

    *changed = false;
    if (at == ring->count)
        return true;
    if (at == 0)
        return cx_fail(err, CX_BUSY, "the primary key can't be removed");
    memmove(&ring->keys[at], &ring->keys[at + 1], (ring->count - at - 1) * sizeof(ring->keys[0]));
    ring->count--;
    sodium_memzero(&ring->keys[ring->count], sizeof(ring->keys[0]));
    *changed = true;
    return true;
}

void cx_crypt_seal(const cx_keyring *ring, cx_rng *nonces, cx_bytes authenticated, cx_bytes plain,
                   cx_buffer *sealed)
{
    assert(cx_keyring_count(ring) > 0 && plain.size <= INT_MAX && authenticated.size <= INT_MAX);

    CX_AUTO(close_context) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t *out = cx_buffer_reserve(sealed, CX_CRYPT_OVERHEAD + plain.size);
    uint8_t *nonce = out + 1, *cipher = nonce + NONCE_SIZE, *tag = cipher + plain.size;
    int size = 0;

    out[0] = VERSION_PLAIN;
    cx_rng_fill(nonces, nonce, NONCE_SIZE);
    /* OpenSSL fails here for nothing but memory. */
    if (context == NULL ||
        EVP_EncryptInit_ex(context, cipher_of(&ring->keys[0]), NULL, ring->keys[0].bytes, nonce) !=
            1 ||
        EVP_EncryptUpdate(context, NULL, &size, authenticated.data, (int)authenticated.size) != 1 ||
        EVP_EncryptUpdate(context, cipher, &size, plain.data, (int)plain.size) != 1 ||
        EVP_EncryptFinal_ex(context, tag, &size) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) != 1)
        cx_alloc(SIZE_MAX, 1);
    sealed->size += CX_CRYPT_OVERHEAD + plain.size;
}

bool cx_crypt_open(const cx_keyring *ring, cx_bytes authenticated, cx_bytes sealed,
                   cx_buffer *plain, cx_err *err)
{
    if (sealed.size < CX_CRYPT_OVERHEAD || sealed.size > INT_MAX)
        return cx_fail(err, CX_MALFORMED, "sealed message of %zu bytes", sealed.size);
    if (sealed.data[0] > VERSION_PLAIN)
        return cx_fail(err, CX_MALFORMED, "sealed message of version %u", sealed.data[0]);

    const uint8_t *nonce = sealed.data + 1;
    cx_bytes cipher = {nonce + NONCE_SIZE, sealed.size - CX_CRYPT_OVERHEAD};
    uint8_t *out = cx_buffer_reserve(plain, cipher.size);

    for (size_t i = 0; i < cx_keyring_count(ring); i++) {
        size_t size = cipher.size;

        if (!open_with(&ring->keys[i], authenticated, nonce, cipher, out))
            continue;
        if (sealed.data[0] == VERSION_PADDED && !unpad(out, &size))
            return cx_fail(err, CX_MALFORMED, "sealed message with bad padding");
        plain->size += size;
        return true;
    }
    return cx_fail(err, CX_PERMISSION, "no key of the ring opens the message");
}

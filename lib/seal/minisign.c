#include "seal/minisign.h"

#include <string.h>

#include <sodium.h>

#include "base/io.h"
#include "base/text.h"

enum { HASH_SIZE = 64, CHECKSUM_SIZE = 32 };

static const char comment_prefix[] = "untrusted comment: ";
static const char trusted_prefix[] = "trusted comment: ";

/* The files' binary parts; byte arrays only, so there is no padding. */
struct secret_blob {
    uint8_t signature_algorithm[2]; /* "Ed" */
    uint8_t kdf_algorithm[2];       /* "Sc", or zeros without a password */
    uint8_t checksum_algorithm[2];  /* "B2" */
    uint8_t kdf_salt[32], kdf_opslimit[8], kdf_memlimit[8];
    uint8_t id[CX_MINISIGN_ID_SIZE];
    uint8_t key[64];
    uint8_t checksum[CHECKSUM_SIZE];
};

struct public_blob {
    uint8_t signature_algorithm[2];
    uint8_t id[CX_MINISIGN_ID_SIZE];
    uint8_t key[32];
};

struct signature_blob {
    uint8_t algorithm[2]; /* "ED" over the BLAKE2b hash, "Ed" over the bytes */
    uint8_t id[CX_MINISIGN_ID_SIZE];
    uint8_t signature[64];
};

struct cx_minisign_secret {
    uint8_t id[CX_MINISIGN_ID_SIZE];
    uint8_t key[64];
};

static bool from_base64(cx_bytes text, void *data, size_t size)
{
    size_t written = 0;
    const char *end = NULL;

    return sodium_base642bin(data, size, (const char *)text.data, text.size, NULL, &written, &end,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           written == size && end == (const char *)text.data + text.size;
}

static cx_bytes take_line(cx_bytes *rest)
{
    const uint8_t *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
    size_t size = end ? (size_t)(end - rest->data) : rest->size;
    cx_bytes line = {rest->data, size};

    size += end != NULL;
    *rest = (cx_bytes){rest->data + size, rest->size - size};
    while (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    return line;
}

static bool begins(cx_bytes line, const char *prefix)
{
    return line.size >= strlen(prefix) && memcmp(line.data, prefix, strlen(prefix)) == 0;
}

static void checksum(const struct secret_blob *blob, uint8_t sum[CHECKSUM_SIZE])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, CHECKSUM_SIZE);
    crypto_generichash_update(&state, blob->signature_algorithm, 2);
    crypto_generichash_update(&state, blob->id, sizeof blob->id);
    crypto_generichash_update(&state, blob->key, sizeof blob->key);
    crypto_generichash_final(&state, sum, CHECKSUM_SIZE);
}

static char *file_text(const char *comment, const void *blob, size_t size)
{
    char *base64 = cx_base64((cx_bytes){blob, size});
    char *text = cx_format("%s%s\n%s\n", comment_prefix, comment, base64);

    sodium_memzero(base64, strlen(base64));
    cx_free(&base64);
    return text;
}

void cx_minisign_generate(char **secret_text, char **public_text)
{
    struct secret_blob secret = {.signature_algorithm = "Ed", .checksum_algorithm = "B2"};
    struct public_blob public = {.signature_algorithm = "Ed"};

    if (sodium_init() < 0)
        abort();
    cx_random(secret.id, sizeof secret.id);
    crypto_sign_keypair(public.key, secret.key);
    memcpy(public.id, secret.id, sizeof public.id);
    checksum(&secret, secret.checksum);

    CX_AUTO(cx_free) char *id = cx_minisign_id_text(secret.id);
    CX_AUTO(cx_free) char *comment = cx_format("minisign public key %s", id);

    *secret_text = file_text("minisign secret key, without a password", &secret, sizeof secret);
    *public_text = file_text(comment, &public, sizeof public);
    sodium_memzero(&secret, sizeof secret);
}

/* An Ed25519 secret key is the seed and the public key that the seed yields. */
static bool halves_fit(const struct secret_blob *blob)
{
    uint8_t public[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
    bool fit;

    crypto_sign_seed_keypair(public, secret, blob->key);
    fit = sodium_memcmp(secret, blob->key, sizeof secret) == 0;
    sodium_memzero(secret, sizeof secret);
    return fit;
}

static bool parse_secret(cx_bytes text, const char *path, struct secret_blob *blob, cx_err *err)
{
    uint8_t sum[CHECKSUM_SIZE];
    static const uint8_t no_password[2];

    if (!begins(take_line(&text), comment_prefix) ||
        !from_base64(take_line(&text), blob, sizeof *blob) ||
        memcmp(blob->signature_algorithm, "Ed", 2) != 0)
        return cx_fail(err, CX_INVALID, "%s is not a minisign secret key", path);
    if (memcmp(blob->kdf_algorithm, no_password, 2) != 0) {
        cx_fail(err, CX_INVALID, "%s has a password, which nobody types at night", path);
        return cx_hint(err, "minisign -G -W makes a key without one");
    }
    /* minisign 0.11 itself leaves the checksum empty where there is no password. */
    checksum(blob, sum);
    if (!halves_fit(blob) || (!sodium_is_zero(blob->checksum, sizeof blob->checksum) &&
                              sodium_memcmp(sum, blob->checksum, sizeof sum) != 0))
        return cx_fail(err, CX_CORRUPT, "%s: the key's checksum is wrong", path);
    return true;
}

bool cx_minisign_read_secret(const char *path, cx_minisign_secret **secret, cx_err *err)
{
    cx_buffer text = {0};
    struct secret_blob blob;

    if (sodium_init() < 0)
        return cx_fail(err, CX_INTERNAL, "libsodium can't be initialised");

    bool read = cx_read_secret_file(path, CX_MINISIGN_FILE_MAX, &text, err) &&
                parse_secret(cx_buffer_bytes(&text), path, &blob, err);

    if (read) {
        *secret = sodium_malloc(sizeof **secret);
        if (*secret) {
            memcpy((*secret)->id, blob.id, sizeof blob.id);
            memcpy((*secret)->key, blob.key, sizeof blob.key);
        } else {
            read = cx_fail(err, CX_INTERNAL, "no locked memory for %s", path);
        }
    }
    sodium_memzero(&blob, sizeof blob);
    if (text.data)
        sodium_memzero(text.data, text.capacity);
    cx_buffer_free(&text);
    return read;
}

void cx_minisign_secret_free(cx_minisign_secret **owner)
{
    sodium_free(*owner); /* wipes */
    *owner = NULL;
}

void cx_minisign_public_of(const cx_minisign_secret *secret, cx_minisign_public *public_key)
{
    memcpy(public_key->id, secret->id, sizeof public_key->id);
    memcpy(public_key->key, secret->key + 32, sizeof public_key->key); /* seed, then public key */
}

bool cx_minisign_read_public(const char *path, cx_minisign_public *public_key, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    return cx_read_file(path, CX_MINISIGN_FILE_MAX, &text, err) &&
           cx_minisign_parse_public(cx_buffer_bytes(&text), path, public_key, err);
}

bool cx_minisign_parse_public(cx_bytes text, const char *name, cx_minisign_public *public_key,
                              cx_err *err)
{
    struct public_blob blob;
    cx_bytes line = take_line(&text);

    if (begins(line, comment_prefix))
        line = take_line(&text);
    if (!from_base64(line, &blob, sizeof blob) || memcmp(blob.signature_algorithm, "Ed", 2) != 0)
        return cx_fail(err, CX_INVALID, "%s is not a minisign public key", name);
    memcpy(public_key->id, blob.id, sizeof blob.id);
    memcpy(public_key->key, blob.key, sizeof blob.key);
    return true;
}

char *cx_minisign_id_text(const uint8_t id[CX_MINISIGN_ID_SIZE])
{
    cx_buffer text = {0};

    for (size_t i = CX_MINISIGN_ID_SIZE; i > 0; i--) /* a little-endian number */
        cx_buffer_addf(&text, "%02X", id[i - 1]);
    return cx_buffer_take_text(&text);
}

char *cx_minisign_sign(const cx_minisign_secret *secret, cx_bytes bytes,
                       const char *trusted_comment)
{
    struct signature_blob blob = {.algorithm = "ED"};
    uint8_t hash[HASH_SIZE], global[64];
    cx_buffer covered = {0};

    crypto_generichash(hash, sizeof hash, bytes.data, bytes.size, NULL, 0);
    memcpy(blob.id, secret->id, sizeof blob.id);
    crypto_sign_detached(blob.signature, NULL, hash, sizeof hash, secret->key);
    cx_buffer_add(&covered, blob.signature, sizeof blob.signature);
    cx_buffer_add_text(&covered, trusted_comment);
    crypto_sign_detached(global, NULL, covered.data, covered.size, secret->key);
    cx_buffer_free(&covered);

    CX_AUTO(cx_free) char *first = file_text("signature by cx", &blob, sizeof blob);
    CX_AUTO(cx_free) char *second = cx_base64((cx_bytes){global, sizeof global});

    return cx_format("%s%s%s\n%s\n", first, trusted_prefix, trusted_comment, second);
}

bool cx_minisign_verify(const cx_minisign_public *public_key, cx_bytes bytes, cx_bytes signature,
                        char **trusted_comment, cx_err *err)
{
    struct signature_blob blob;
    uint8_t hash[HASH_SIZE], global[64];

    if (sodium_init() < 0)
        return cx_fail(err, CX_INTERNAL, "libsodium can't be initialised");
    if (!begins(take_line(&signature), comment_prefix) ||
        !from_base64(take_line(&signature), &blob, sizeof blob))
        return cx_fail(err, CX_MALFORMED, "it is not a minisign signature");

    cx_bytes comment = take_line(&signature);

    if (!begins(comment, trusted_prefix) || comment.size > CX_MINISIGN_COMMENT_MAX ||
        !from_base64(take_line(&signature), global, sizeof global))
        return cx_fail(err, CX_MALFORMED, "minisign signature: no trusted comment");
    comment = (cx_bytes){comment.data + sizeof trusted_prefix - 1,
                         comment.size - (sizeof trusted_prefix - 1)};
    if (memcmp(blob.id, public_key->id, sizeof blob.id) != 0) {
        CX_AUTO(cx_free) char *signer = cx_minisign_id_text(blob.id);
        CX_AUTO(cx_free) char *trusted = cx_minisign_id_text(public_key->id);

        return cx_fail(err, CX_PERMISSION, "it was signed by key %s, not by the trusted key %s",
                       signer, trusted);
    }
    if (memcmp(blob.algorithm, "ED", 2) == 0) {
        crypto_generichash(hash, sizeof hash, bytes.data, bytes.size, NULL, 0);
        bytes = (cx_bytes){hash, sizeof hash};
    } else if (memcmp(blob.algorithm, "Ed", 2) != 0) {
        return cx_fail(err, CX_MALFORMED, "minisign signature: unknown algorithm");
    }

    CX_AUTO(cx_buffer_free) cx_buffer covered = {0};

    cx_buffer_add(&covered, blob.signature, sizeof blob.signature);
    cx_buffer_add(&covered, comment.data, comment.size);
    if (crypto_sign_verify_detached(blob.signature, bytes.data, bytes.size, public_key->key) != 0)
        return cx_fail(err, CX_CORRUPT, "the signature does not fit: the content was changed");
    if (crypto_sign_verify_detached(global, covered.data, covered.size, public_key->key) != 0)
        return cx_fail(err, CX_CORRUPT, "the signature's trusted comment was changed");
    if (trusted_comment)
        *trusted_comment = cx_strndup((const char *)comment.data, comment.size);
    return true;
}

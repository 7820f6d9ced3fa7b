#include "seal/age.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sodium.h>

#include "base/io.h"
#include "base/text.h"
#include "seal/bech32.h"

enum {
    FILE_KEY_SIZE = 16,
    NONCE_SIZE = 16, /* of the payload's key */
    MAC_SIZE = 32,
    TAG_SIZE = 16,
    CHUNK_SIZE = 64 * 1024,
    SALT_SIZE = 16, /* of scrypt */
    WRAPPED_SIZE = FILE_KEY_SIZE + TAG_SIZE,
    BASE64_COLUMNS = 64,
    STANZA_ARGUMENTS_MAX = 8,
    STANZA_BODY_MAX = 1024,
    STANZAS_MAX = 64,
    IDENTITY_FILE_MAX = 64 * 1024,
    PASSPHRASE_MAX = 1024,
};

static const char magic[] = "age-encryption.org/v1\n";
static const char x25519_info[] = "age-encryption.org/v1/X25519";
static const char scrypt_label[] = "age-encryption.org/v1/scrypt";

struct cx_age_identities {
    uint8_t secret[CX_AGE_IDENTITIES_MAX][CX_AGE_KEY_SIZE];
    size_t count;
};

/* ---- primitives */

static void hkdf(cx_bytes key, cx_bytes salt, const char *info, uint8_t out[32])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key.data,
                                          key.size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
                                          strlen(info)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.data,
                                          salt.size),
        OSSL_PARAM_construct_end(),
    };

    /* An empty salt is left out: the RFC's default is the same zeros. */
    if (salt.size == 0)
        params[3] = OSSL_PARAM_construct_end();
    if (EVP_KDF_derive(context, out, 32, params) != 1)
        abort(); /* only out of memory: all sizes are constants */
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

static void header_mac(const uint8_t file_key[FILE_KEY_SIZE], cx_bytes header,
                       uint8_t mac[MAC_SIZE])
{
    uint8_t key[32];
    unsigned size = MAC_SIZE;

    hkdf((cx_bytes){file_key, FILE_KEY_SIZE}, (cx_bytes){0}, "header", key);
    HMAC(EVP_sha256(), key, sizeof key, header.data, header.size, mac, &size);
    sodium_memzero(key, sizeof key);
}

static void wrap(const uint8_t key[32], const uint8_t file_key[FILE_KEY_SIZE],
                 uint8_t wrapped[WRAPPED_SIZE])
{
    static const uint8_t zero[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

    crypto_aead_chacha20poly1305_ietf_encrypt(wrapped, NULL, file_key, FILE_KEY_SIZE, NULL, 0, NULL,
                                              zero, key);
}

static bool unwrap(const uint8_t key[32], const uint8_t wrapped[WRAPPED_SIZE],
                   uint8_t file_key[FILE_KEY_SIZE])
{
    static const uint8_t zero[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

    return crypto_aead_chacha20poly1305_ietf_decrypt(file_key, NULL, NULL, wrapped, WRAPPED_SIZE,
                                                     NULL, 0, zero, key) == 0;
}

static bool x25519_wrap_key(const uint8_t secret[32], const uint8_t theirs[32],
                            const uint8_t share[32], const uint8_t recipient[32], uint8_t key[32])
{
    uint8_t shared[32], salt[64];

    /* All zeros come of a point of small order: refused. */
    if (crypto_scalarmult(shared, secret, theirs) != 0)
        return false;
    memcpy(salt, share, 32);
    memcpy(salt + 32, recipient, 32);
    hkdf((cx_bytes){shared, 32}, (cx_bytes){salt, 64}, x25519_info, key);
    sodium_memzero(shared, sizeof shared);
    return true;
}

static bool scrypt_wrap_key(const char *passphrase, const uint8_t salt[SALT_SIZE], int log_n,
                            uint8_t key[32], cx_err *err)
{
    uint8_t labelled[sizeof scrypt_label - 1 + SALT_SIZE];

    memcpy(labelled, scrypt_label, sizeof scrypt_label - 1);
    memcpy(labelled + sizeof scrypt_label - 1, salt, SALT_SIZE);
    if (crypto_pwhash_scryptsalsa208sha256_ll((const uint8_t *)passphrase, strlen(passphrase),
                                              labelled, sizeof labelled, (uint64_t)1 << log_n, 8, 1,
                                              key, 32) != 0)
        return cx_fail(err, CX_INTERNAL, "scrypt: not enough memory");
    return true;
}

/* ---- writing */

static void add_base64(cx_buffer *out, cx_bytes bytes)
{
    CX_AUTO(cx_free) char *text = cx_base64(bytes);

    text[strcspn(text, "=")] = '\0';
    cx_buffer_add_text(out, text);
}

/* A stanza's body: lines of 64 columns, the last one shorter (perhaps empty). */
static void add_body(cx_buffer *out, cx_bytes body)
{
    CX_AUTO(cx_free) char *text = cx_base64(body);
    size_t size = strcspn(text, "=");

    for (size_t at = 0; at + BASE64_COLUMNS <= size; at += BASE64_COLUMNS) {
        cx_buffer_add(out, text + at, BASE64_COLUMNS);
        cx_buffer_add(out, "\n", 1);
    }
    cx_buffer_add(out, text + size - size % BASE64_COLUMNS, size % BASE64_COLUMNS);
    cx_buffer_add(out, "\n", 1);
}

static bool add_x25519_stanza(cx_buffer *out, const uint8_t recipient[32],
                              const uint8_t file_key[FILE_KEY_SIZE])
{
    uint8_t secret[32], share[32], key[32], wrapped[WRAPPED_SIZE];

    cx_random(secret, sizeof secret);
    crypto_scalarmult_base(share, secret);

    bool made = x25519_wrap_key(secret, recipient, share, recipient, key);

    if (made) {
        wrap(key, file_key, wrapped);
        cx_buffer_add_text(out, "-> X25519 ");
        add_base64(out, (cx_bytes){share, sizeof share});
        cx_buffer_add_text(out, "\n");
        add_body(out, (cx_bytes){wrapped, sizeof wrapped});
    }
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(key, sizeof key);
    return made;
}

static void chunk_nonce(uint64_t counter, bool last, uint8_t nonce[12])
{
    memset(nonce, 0, 12);
    for (int i = 0; i < 8; i++)
        nonce[10 - i] = (uint8_t)(counter >> (8 * i));
    nonce[11] = last;
}

/* Ends the header with its MAC and adds the payload (age.md, "Payload"). */
static void add_mac_and_payload(cx_buffer *out, size_t header_at,
                                const uint8_t file_key[FILE_KEY_SIZE], cx_bytes plain)
{
    uint8_t mac[MAC_SIZE], nonce[NONCE_SIZE], key[32], chunk_at[12];

    cx_buffer_add_text(out, "---");
    header_mac(file_key, (cx_bytes){out->data + header_at, out->size - header_at}, mac);
    cx_buffer_add_text(out, " ");
    add_base64(out, (cx_bytes){mac, sizeof mac});
    cx_buffer_add_text(out, "\n");
    cx_random(nonce, sizeof nonce);
    cx_buffer_add(out, nonce, sizeof nonce);
    hkdf((cx_bytes){file_key, FILE_KEY_SIZE}, (cx_bytes){nonce, sizeof nonce}, "payload", key);
    for (uint64_t counter = 0;; counter++) {
        size_t size = plain.size < CHUNK_SIZE ? plain.size : CHUNK_SIZE;
        bool last = size == plain.size;
        uint8_t *to = cx_buffer_reserve(out, size + TAG_SIZE);

        chunk_nonce(counter, last, chunk_at);
        crypto_aead_chacha20poly1305_ietf_encrypt(to, NULL, plain.data, size, NULL, 0, NULL,
                                                  chunk_at, key);
        out->size += size + TAG_SIZE;
        if (last)
            break;
        plain.data += size;
        plain.size -= size;
    }
    sodium_memzero(key, sizeof key);
}

/* ---- reading */

struct stanza {
    cx_bytes arguments[STANZA_ARGUMENTS_MAX];
    size_t argument_count;
    uint8_t body[STANZA_BODY_MAX];
    size_t body_size;
};

static bool take_line(cx_bytes *rest, cx_bytes *line)
{
    const uint8_t *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;

    if (!end)
        return false;
    *line = (cx_bytes){rest->data, (size_t)(end - rest->data)};
    *rest = (cx_bytes){end + 1, rest->size - line->size - 1};
    return true;
}

static bool is(cx_bytes bytes, const char *text)
{
    return cx_bytes_equal(bytes, cx_bytes_of(text));
}

/* Canonical unpadded base64, exactly size bytes (age.md refuses every other writing). */
static bool from_base64(cx_bytes text, uint8_t *data, size_t size)
{
    size_t written = 0;
    const char *end = NULL;

    return sodium_base642bin(data, size, (const char *)text.data, text.size, NULL, &written, &end,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           written == size && end == (const char *)text.data + text.size;
}

static bool take_stanza(cx_bytes line, cx_bytes *rest, struct stanza *stanza)
{
    *stanza = (struct stanza){0};
    line = (cx_bytes){line.data + 3, line.size - 3};
    while (stanza->argument_count < STANZA_ARGUMENTS_MAX) {
        const uint8_t *space = line.size ? memchr(line.data, ' ', line.size) : NULL;
        size_t size = space ? (size_t)(space - line.data) : line.size;

        if (size == 0)
            return false;
        stanza->arguments[stanza->argument_count++] = (cx_bytes){line.data, size};
        if (!space)
            break;
        line = (cx_bytes){space + 1, line.size - size - 1};
    }
    for (;;) {
        cx_bytes body;

        if (!take_line(rest, &body) || body.size > BASE64_COLUMNS)
            return false;

        size_t size = body.size * 3 / 4;

        if (size > STANZA_BODY_MAX - stanza->body_size ||
            !from_base64(body, stanza->body + stanza->body_size, size))
            return false;
        stanza->body_size += size;
        if (body.size < BASE64_COLUMNS)
            return true;
    }
}

/* How a stanza is opened: 1 opened, 0 not ours, -1 err. */
typedef int opener(const struct stanza *stanza, const void *with, uint8_t file_key[FILE_KEY_SIZE],
                   cx_err *err);

static int open_x25519(const struct stanza *stanza, const void *with,
                       uint8_t file_key[FILE_KEY_SIZE], cx_err *err)
{
    const cx_age_identities *identities = with;
    uint8_t share[32], key[32], recipient[32];

    (void)err;
    if (!is(stanza->arguments[0], "X25519") || stanza->argument_count != 2 ||
        stanza->body_size != WRAPPED_SIZE || !from_base64(stanza->arguments[1], share, 32))
        return 0;
    for (size_t i = 0; i < identities->count; i++) {
        crypto_scalarmult_base(recipient, identities->secret[i]);

        bool opened = x25519_wrap_key(identities->secret[i], share, share, recipient, key) &&
                      unwrap(key, stanza->body, file_key);

        sodium_memzero(key, sizeof key);
        if (opened)
            return 1;
    }
    return 0;
}

static int open_scrypt(const struct stanza *stanza, const void *with,
                       uint8_t file_key[FILE_KEY_SIZE], cx_err *err)
{
    uint8_t salt[SALT_SIZE], key[32];
    int log_n = 0;

    if (!is(stanza->arguments[0], "scrypt") || stanza->argument_count != 3 ||
        stanza->body_size != WRAPPED_SIZE ||
        !from_base64(stanza->arguments[1], salt, sizeof salt) || stanza->arguments[2].size > 2)
        return 0;
    for (size_t i = 0; i < stanza->arguments[2].size; i++) {
        uint8_t digit = stanza->arguments[2].data[i];

        if (digit < '0' || digit > '9' || (i == 0 && digit == '0'))
            return 0;
        log_n = log_n * 10 + (digit - '0');
    }
    if (log_n > CX_AGE_SCRYPT_LOG_N_MAX) {
        cx_fail(err, CX_TOO_LARGE, "age file: work factor %d, at most %d is accepted", log_n,
                CX_AGE_SCRYPT_LOG_N_MAX);
        return -1;
    }
    if (!scrypt_wrap_key(with, salt, log_n, key, err))
        return -1;

    bool opened = unwrap(key, stanza->body, file_key);

    sodium_memzero(key, sizeof key);
    return opened;
}

static bool malformed(cx_err *err)
{
    return cx_fail(err, CX_MALFORMED, "it is not an age file, or its header is damaged");
}

/* Reads the header, opens the file key, checks the MAC; rest is the payload then. */
static bool open_header(cx_bytes sealed, opener *open, const void *with,
                        uint8_t file_key[FILE_KEY_SIZE], cx_bytes *rest, cx_err *err)
{
    cx_bytes line;
    size_t stanzas = 0;
    int opened = 0;
    struct stanza stanza;

    *rest =
        (cx_bytes){sealed.data, sealed.size < CX_AGE_HEADER_MAX ? sealed.size : CX_AGE_HEADER_MAX};
    if (rest->size < sizeof magic - 1 || memcmp(rest->data, magic, sizeof magic - 1) != 0)
        return malformed(err);
    rest->data += sizeof magic - 1;
    rest->size -= sizeof magic - 1;
    for (;;) {
        if (!take_line(rest, &line) || line.size < 4)
            return malformed(err);
        if (memcmp(line.data, "--- ", 4) == 0)
            break;
        if (memcmp(line.data, "-> ", 3) != 0 || ++stanzas > STANZAS_MAX ||
            !take_stanza(line, rest, &stanza))
            return malformed(err);
        if (opened == 0)
            opened = open(&stanza, with, file_key, err);
        if (opened < 0)
            return false;
    }
    if (stanzas == 0)
        return malformed(err);
    if (opened == 0)
        return cx_fail(err, CX_PERMISSION, "it was not sealed to this identity or passphrase");

    uint8_t mac[MAC_SIZE], wanted[MAC_SIZE];

    if (!from_base64((cx_bytes){line.data + 4, line.size - 4}, mac, sizeof mac))
        return malformed(err);
    header_mac(file_key, (cx_bytes){sealed.data, (size_t)(line.data + 3 - sealed.data)}, wanted);
    if (sodium_memcmp(mac, wanted, MAC_SIZE) != 0)
        return cx_fail(err, CX_CORRUPT, "age file: the header was changed");
    *rest = (cx_bytes){rest->data, sealed.size - (size_t)(rest->data - sealed.data)};
    return true;
}

static bool open_payload(cx_bytes rest, const uint8_t key[32], size_t size_max, cx_buffer *plain,
                         cx_err *err)
{
    uint8_t nonce[12];
    size_t total = 0;

    for (uint64_t counter = 0;; counter++) {
        bool last = rest.size <= CHUNK_SIZE + TAG_SIZE;
        size_t size = last ? rest.size : CHUNK_SIZE + TAG_SIZE;

        /* Only content that is empty as a whole may end with an empty chunk. */
        if (size < TAG_SIZE || (size == TAG_SIZE && counter > 0))
            return cx_fail(err, CX_CORRUPT, "age file: it is cut");
        if (size - TAG_SIZE > size_max - total)
            return cx_fail(err, CX_TOO_LARGE, "age file: more than %zu bytes", size_max);
        chunk_nonce(counter, last, nonce);

        uint8_t *to = cx_buffer_reserve(plain, size);

        if (crypto_aead_chacha20poly1305_ietf_decrypt(to, NULL, NULL, rest.data, size, NULL, 0,
                                                      nonce, key) != 0)
            return cx_fail(err, CX_CORRUPT, "age file: chunk %llu was changed or the file is cut",
                           (unsigned long long)counter);
        plain->size += size - TAG_SIZE;
        total += size - TAG_SIZE;
        rest = (cx_bytes){rest.data + size, rest.size - size};
        if (last)
            return true;
    }
}

static bool open_file(cx_bytes sealed, opener *open, const void *with, size_t size_max,
                      cx_buffer *plain, cx_err *err)
{
    uint8_t file_key[FILE_KEY_SIZE], key[32];
    size_t before = plain->size;
    cx_bytes rest;
    bool opened = open_header(sealed, open, with, file_key, &rest, err);

    if (opened && rest.size < NONCE_SIZE)
        opened = cx_fail(err, CX_CORRUPT, "age file: it is cut");
    if (opened) {
        hkdf((cx_bytes){file_key, sizeof file_key}, (cx_bytes){rest.data, NONCE_SIZE}, "payload",
             key);
        rest = (cx_bytes){rest.data + NONCE_SIZE, rest.size - NONCE_SIZE};
        opened = open_payload(rest, key, size_max, plain, err);
        sodium_memzero(key, sizeof key);
    }
    sodium_memzero(file_key, sizeof file_key);
    if (!opened && plain->data)
        plain->size = before;
    return opened;
}

/* ---- keys */

/* Calls add for each line that is neither empty nor a comment. */
static bool each_line(cx_bytes text, const char *name,
                      bool (*add)(void *to, const char *line, cx_err *err), void *to, cx_err *err)
{
    size_t number = 0;

    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        size_t used = size;

        number++;
        while (used > 0 && (text.data[used - 1] == '\r' || text.data[used - 1] == ' '))
            used--;
        if (used > 0 && text.data[0] != '#') {
            char *line = cx_strndup((const char *)text.data, used);
            bool added = add(to, line, err);

            cx_free_secret(&line);
            if (!added)
                return cx_wrap(err, "%s:%zu", name, number);
        }
        size += end != NULL;
        text = (cx_bytes){text.data + size, text.size - size};
    }
    return true;
}

static bool add_recipient(void *to, const char *line, cx_err *err)
{
    return cx_age_add_recipient(to, line, err);
}

static bool add_identity(void *to, const char *line, cx_err *err)
{
    cx_age_identities *identities = to;

    if (identities->count >= CX_AGE_IDENTITIES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d identities", CX_AGE_IDENTITIES_MAX);
    if (!cx_from_bech32(line, "age-secret-key-", identities->secret[identities->count],
                        CX_AGE_KEY_SIZE, err))
        return cx_wrap(err, "age identity");
    identities->count++;
    return true;
}

bool cx_age_add_recipient(cx_age_recipients *recipients, const char *text, cx_err *err)
{
    if (recipients->count >= CX_AGE_RECIPIENTS_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d recipients", CX_AGE_RECIPIENTS_MAX);
    if (strncasecmp(text, "age-secret-key-", 15) == 0) {
        cx_fail(err, CX_INVALID, "this is an age identity, which is secret, not a recipient");
        return cx_hint(err, "age-keygen -y prints the recipient of an identity file");
    }
    if (!cx_from_bech32(text, "age", recipients->keys[recipients->count], CX_AGE_KEY_SIZE, err))
        return cx_wrap(err, "age recipient");
    recipients->count++;
    return true;
}

bool cx_age_read_recipients(const char *path, cx_age_recipients *recipients, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (!cx_read_file(path, IDENTITY_FILE_MAX, &text, err) ||
        !each_line(cx_buffer_bytes(&text), path, add_recipient, recipients, err))
        return false;
    if (recipients->count == 0)
        return cx_fail(err, CX_INVALID, "%s has no recipient", path);
    return true;
}

static void wipe_buffer(cx_buffer *buffer)
{
    if (buffer->data)
        sodium_memzero(buffer->data, buffer->capacity);
    cx_buffer_free(buffer);
}

bool cx_age_read_identities(const char *path, cx_age_identities **identities, cx_err *err)
{
    CX_AUTO(wipe_buffer) cx_buffer text = {0};
    bool is_stdin = strcmp(path, "-") == 0;

    return (is_stdin ? cx_read_file(path, IDENTITY_FILE_MAX, &text, err)
                     : cx_read_secret_file(path, IDENTITY_FILE_MAX, &text, err)) &&
           cx_age_parse_identities(cx_buffer_bytes(&text), is_stdin ? "standard input" : path,
                                   identities, err);
}

bool cx_age_parse_identities(cx_bytes text, const char *name, cx_age_identities **identities,
                             cx_err *err)
{
    if (sodium_init() < 0)
        return cx_fail(err, CX_INTERNAL, "libsodium can't be initialised");

    CX_AUTO(cx_age_identities_free)
    cx_age_identities *made = sodium_malloc(sizeof(cx_age_identities));

    if (!made)
        return cx_fail(err, CX_INTERNAL, "no locked memory for identities");
    memset(made, 0, sizeof *made);
    if (!each_line(text, name, add_identity, made, err))
        return false;
    if (made->count == 0)
        return cx_fail(err, CX_INVALID, "%s has no age identity", name);
    *identities = CX_TAKE(made);
    return true;
}

void cx_age_identities_free(cx_age_identities **owner)
{
    sodium_free(*owner); /* wipes */
    *owner = NULL;
}

void cx_age_recipients_of(const cx_age_identities *identities, cx_age_recipients *recipients)
{
    *recipients = (cx_age_recipients){0};
    for (size_t i = 0; i < identities->count && i < CX_AGE_RECIPIENTS_MAX; i++)
        crypto_scalarmult_base(recipients->keys[recipients->count++], identities->secret[i]);
}

void cx_age_generate(char **identity, char **recipient)
{
    uint8_t secret[CX_AGE_KEY_SIZE], public[CX_AGE_KEY_SIZE];

    cx_random(secret, sizeof secret);
    crypto_scalarmult_base(public, secret);
    *identity = cx_bech32("age-secret-key-", (cx_bytes){secret, sizeof secret});
    for (char *at = *identity; *at; at++)
        if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
    *recipient = cx_age_recipient_text(public);
    sodium_memzero(secret, sizeof secret);
}

char *cx_age_recipient_text(const uint8_t key[CX_AGE_KEY_SIZE])
{
    return cx_bech32("age", (cx_bytes){key, CX_AGE_KEY_SIZE});
}

/* ---- whole files */

bool cx_age_seal(const cx_age_recipients *recipients, cx_bytes plain, cx_buffer *sealed,
                 cx_err *err)
{
    uint8_t file_key[FILE_KEY_SIZE];
    size_t header_at = sealed->size;
    bool made = true;

    if (recipients->count == 0)
        return cx_fail(err, CX_INVALID, "nobody to seal to: there is no recipient");
    cx_random(file_key, sizeof file_key);
    cx_buffer_add_text(sealed, magic);
    for (size_t i = 0; i < recipients->count && made; i++)
        made = add_x25519_stanza(sealed, recipients->keys[i], file_key);
    if (made)
        add_mac_and_payload(sealed, header_at, file_key, plain);
    sodium_memzero(file_key, sizeof file_key);
    if (made)
        return true;
    sealed->size = header_at;
    return cx_fail(err, CX_INVALID, "age recipient: not a usable key (a point of small order)");
}

bool cx_age_seal_passphrase(const char *passphrase, cx_bytes plain, cx_buffer *sealed, cx_err *err)
{
    uint8_t file_key[FILE_KEY_SIZE], salt[SALT_SIZE], key[32], wrapped[WRAPPED_SIZE];
    size_t header_at = sealed->size;

    if (!passphrase[0] || strlen(passphrase) > PASSPHRASE_MAX)
        return cx_fail(err, CX_INVALID, "a passphrase has 1 to %d bytes", PASSPHRASE_MAX);
    cx_random(file_key, sizeof file_key);
    cx_random(salt, sizeof salt);
    if (!scrypt_wrap_key(passphrase, salt, CX_AGE_SCRYPT_LOG_N, key, err))
        return false;
    wrap(key, file_key, wrapped);
    cx_buffer_add_text(sealed, magic);
    cx_buffer_add_text(sealed, "-> scrypt ");
    add_base64(sealed, (cx_bytes){salt, sizeof salt});
    cx_buffer_addf(sealed, " %d\n", CX_AGE_SCRYPT_LOG_N);
    add_body(sealed, (cx_bytes){wrapped, sizeof wrapped});
    add_mac_and_payload(sealed, header_at, file_key, plain);
    sodium_memzero(file_key, sizeof file_key);
    sodium_memzero(key, sizeof key);
    return true;
}

bool cx_age_open(const cx_age_identities *identities, cx_bytes sealed, size_t size_max,
                 cx_buffer *plain, cx_err *err)
{
    return open_file(sealed, open_x25519, identities, size_max, plain, err);
}

bool cx_age_open_passphrase(const char *passphrase, cx_bytes sealed, size_t size_max,
                            cx_buffer *plain, cx_err *err)
{
    if (!passphrase[0] || strlen(passphrase) > PASSPHRASE_MAX)
        return cx_fail(err, CX_INVALID, "a passphrase has 1 to %d bytes", PASSPHRASE_MAX);
    return open_file(sealed, open_scrypt, passphrase, size_max, plain, err);
}

size_t cx_age_sealed_size(size_t plain_size, size_t recipient_count)
{
    /* "-> X25519 " share(43) "\n" body(43) "\n"; "--- " mac(43) "\n" */
    size_t header = sizeof magic - 1 + recipient_count * (10 + 43 + 1 + 43 + 1) + 4 + 43 + 1;
    size_t chunks = plain_size == 0 ? 1 : (plain_size + CHUNK_SIZE - 1) / CHUNK_SIZE;

    return header + NONCE_SIZE + plain_size + chunks * TAG_SIZE;
}

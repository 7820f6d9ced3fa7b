#include "repo/segment.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <zstd.h>

#include "base/text.h"

enum { LEVEL = 3 }; /* zstd's own default: the disk or the network is slower from here on */

static const char folder[] = "segments/";
static const char ending[] = ".zst.age";

struct cx_sealer {
    const cx_age_recipients *recipients;
    ZSTD_CCtx *context;
    cx_buffer compressed;
};

void cx_segment_id(const cx_naming *naming, cx_bytes content, uint8_t id[CX_SEGMENT_ID_SIZE])
{
    HMAC(EVP_sha256(), naming->key, sizeof naming->key, content.data, content.size, id, NULL);
}

void cx_naming_derive(const cx_naming *naming, const char *use, uint8_t secret[32])
{
    cx_segment_id(naming, cx_bytes_of(use), secret);
}

char *cx_segment_object(const uint8_t id[CX_SEGMENT_ID_SIZE])
{
    CX_AUTO(cx_free) char *hex = cx_hex((cx_bytes){id, CX_SEGMENT_ID_SIZE});

    return cx_format("%s%.2s/%s%s", folder, hex, hex, ending);
}

bool cx_segment_of_object(const char *name, uint8_t id[CX_SEGMENT_ID_SIZE])
{
    enum { HEX_SIZE = 2 * CX_SEGMENT_ID_SIZE };
    char hex[HEX_SIZE + 1];
    cx_err ignored;
    const char *at = name + strlen(folder);

    if (strncmp(name, folder, strlen(folder)) != 0 || strlen(at) != 3 + HEX_SIZE + strlen(ending) ||
        at[2] != '/' || strcmp(at + 3 + HEX_SIZE, ending) != 0 || memcmp(at, at + 3, 2) != 0)
        return false;
    memcpy(hex, at + 3, HEX_SIZE);
    hex[HEX_SIZE] = '\0';
    return strspn(hex, "0123456789abcdef") == HEX_SIZE &&
           cx_from_hex(hex, id, CX_SEGMENT_ID_SIZE, &ignored);
}

cx_sealer *cx_sealer_open(const cx_age_recipients *recipients)
{
    cx_sealer *sealer = cx_alloc(1, sizeof *sealer);

    sealer->recipients = recipients;
    sealer->context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(sealer->context, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(sealer->context, ZSTD_c_checksumFlag, 1);
    return sealer;
}

void cx_sealer_close(cx_sealer **owner)
{
    cx_sealer *sealer = CX_TAKE(*owner);

    if (sealer == NULL)
        return;
    ZSTD_freeCCtx(sealer->context);
    cx_buffer_free(&sealer->compressed);
    cx_free(&sealer);
}

bool cx_seal(cx_sealer *sealer, cx_bytes content, cx_buffer *stored, cx_err *err)
{
    size_t bound = ZSTD_compressBound(content.size);
    size_t size;

    cx_buffer_clear(&sealer->compressed);
    size = ZSTD_compress2(sealer->context, cx_buffer_reserve(&sealer->compressed, bound), bound,
                          content.data, content.size);
    if (ZSTD_isError(size))
        return cx_fail(err, CX_INTERNAL, "zstd: %s", ZSTD_getErrorName(size));
    return cx_age_seal(sealer->recipients, (cx_bytes){sealer->compressed.data, size}, stored, err);
}

bool cx_unseal(const cx_age_identities *identities, cx_bytes stored, size_t size_max,
               cx_buffer *content, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer compressed = {0};
    unsigned long long size;
    size_t got;

    if (!cx_age_open(identities, stored, ZSTD_compressBound(size_max), &compressed, err))
        return false;
    /* One frame that tells its size, so that nothing grows without a bound. */
    size = ZSTD_getFrameContentSize(compressed.data, compressed.size);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
        return cx_fail(err, CX_CORRUPT, "it is no zstd frame of a known size");
    if (size > size_max)
        return cx_fail(err, CX_TOO_LARGE, "%llu bytes of content, at most %zu are allowed", size,
                       size_max);
    got = ZSTD_decompress(cx_buffer_reserve(content, (size_t)size + 1), (size_t)size,
                          compressed.data, compressed.size);
    if (ZSTD_isError(got))
        return cx_fail(err, CX_CORRUPT, "zstd: %s", ZSTD_getErrorName(got));
    content->size += got;
    return true;
}

#include "pki/openssl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>

#include "base/text.h"

/* OpenSSL fails here only when memory ran out, which ends the process as in cx_alloc. */
static void *never_null(void *made)
{
    if (made == NULL)
        abort();
    return made;
}

bool cx_openssl_fail(cx_err *err, cx_code code, const char *format, ...)
{
    char context[sizeof(err->message)];
    unsigned long number = ERR_peek_error();
    const char *reason = number != 0 ? ERR_reason_error_string(number) : NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(context, sizeof(context), format, args);
    va_end(args);
    ERR_clear_error();
    if (reason == NULL)
        return cx_fail(err, code, "%s", context);
    return cx_fail(err, code, "%s: %s", context, reason);
}

void cx_bio_free(BIO **owner)
{
    BIO_free(*owner);
    *owner = NULL;
}

void cx_names_free(GENERAL_NAMES **owner)
{
    GENERAL_NAMES_free(*owner);
    *owner = NULL;
}

void cx_integer_free(ASN1_INTEGER **owner)
{
    ASN1_INTEGER_free(*owner);
    *owner = NULL;
}

void cx_asn1_time_free(ASN1_TIME **owner)
{
    ASN1_TIME_free(*owner);
    *owner = NULL;
}

BIO *cx_bio_of(cx_bytes bytes)
{
    /* Every reader in lib/pki bounds its input far below INT_MAX. */
    return never_null(
        BIO_new_mem_buf(bytes.data != NULL ? (const void *)bytes.data : "", (int)bytes.size));
}

BIO *cx_bio_new(void)
{
    return never_null(BIO_new(BIO_s_mem()));
}

void cx_bio_take(BIO *bio, cx_buffer *buffer)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);

    if (size <= 0)
        return;
    cx_buffer_reserve(buffer, (size_t)size + 1);
    cx_buffer_add(buffer, data, (size_t)size);
}

int64_t cx_asn1_time_ms(const ASN1_TIME *time)
{
    struct tm parts;

    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1)
        return 0;
    return (int64_t)timegm(&parts) * 1000;
}

char *cx_asn1_serial(const ASN1_INTEGER *serial)
{
    int size = ASN1_STRING_length(serial);

    return cx_hex((cx_bytes){ASN1_STRING_get0_data(serial), size > 0 ? (size_t)size : 0});
}

ASN1_TIME *cx_asn1_time_of(int64_t wall_ms)
{
    return never_null(ASN1_TIME_set(NULL, (time_t)(wall_ms / 1000)));
}

const EVP_MD *cx_digest_for(const EVP_PKEY *key)
{
    if (EVP_PKEY_is_a(key, "ED25519"))
        return NULL;
    return EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
}

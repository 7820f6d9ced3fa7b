#include "pki/san.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pki/openssl.h"

enum { DNS_NAME_MAX = 253, DNS_LABEL_MAX = 63 };

static const char DNS[] = "DNS:", IP[] = "IP:", URI[] = "URI:";

static bool has_prefix(const char *text, const char *prefix)
{
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

/* The bytes of an address in network order; their number, 0 when text is no address. */
static size_t parse_ip(const char *text, uint8_t bytes[16])
{
    if (inet_pton(AF_INET, text, bytes) == 1)
        return 4;
    return inet_pton(AF_INET6, text, bytes) == 1 ? 16 : 0;
}

static void add_once(cx_list *sans, char *text)
{
    if (cx_list_has(sans, text))
        cx_free(&text);
    else
        cx_list_take(sans, text);
}

static void add_ip(cx_list *sans, const uint8_t *bytes, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (size != 4 && size != 16)
        return;
    inet_ntop(size == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text));
    add_once(sans, cx_format("%s%s", IP, text));
}

static void add_dns(cx_list *sans, const char *name)
{
    char *text = cx_format("%s%s", DNS, name);

    for (char *at = text + sizeof(DNS) - 1; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    add_once(sans, text);
}

static bool add_one(cx_list *sans, const char *text, cx_err *err)
{
    bool as_ip = has_prefix(text, IP), as_dns = has_prefix(text, DNS);
    const char *name = text + (as_ip ? sizeof(IP) - 1 : as_dns ? sizeof(DNS) - 1 : 0);
    uint8_t bytes[16];
    size_t size = as_dns ? 0 : parse_ip(name, bytes);

    if (has_prefix(text, URI)) {
        cx_fail(err, CX_INVALID, "alternative name \"%.100s\": a certificate has one URI only",
                text);
        return cx_hint(err, "the URI is the identity, made of cluster and name");
    }
    if (sans->count >= CX_SANS_MAX)
        return cx_fail(err, CX_INVALID, "more than %d alternative names", CX_SANS_MAX);
    if (size > 0)
        add_ip(sans, bytes, size);
    else if (!as_ip && cx_is_dns_name(name))
        add_dns(sans, name);
    else {
        cx_fail(err, CX_INVALID, "alternative name \"%.100s\": neither a host name nor an address",
                text);
        return cx_hint(err, "write DNS:host.example.com or IP:10.0.0.1");
    }
    return true;
}

static GENERAL_NAME *name_of(int kind, ASN1_STRING *value)
{
    GENERAL_NAME *name = GENERAL_NAME_new();

    if (name == NULL || value == NULL)
        abort();
    GENERAL_NAME_set0_value(name, kind, value);
    return name;
}

static ASN1_STRING *string_of(int type, const void *data, size_t size)
{
    ASN1_STRING *string = ASN1_STRING_type_new(type);

    /* Names are bounded far below INT_MAX. */
    if (string == NULL || ASN1_STRING_set(string, data, (int)size) != 1)
        abort();
    return string;
}

static GENERAL_NAME *to_name(const char *san)
{
    const char *dns = san + sizeof(DNS) - 1;
    uint8_t bytes[16];

    if (!has_prefix(san, IP))
        return name_of(GEN_DNS, string_of(V_ASN1_IA5STRING, dns, strlen(dns)));
    return name_of(GEN_IPADD,
                   string_of(V_ASN1_OCTET_STRING, bytes, parse_ip(san + sizeof(IP) - 1, bytes)));
}

bool cx_sans_add(cx_list *sans, const char *text, cx_err *err)
{
    CX_AUTO(cx_free) char *copy = cx_strdup(text);
    char *rest = copy;

    for (char *one = strsep(&rest, ","); one != NULL; one = strsep(&rest, ","))
        if (!add_one(sans, one, err))
            return false;
    return true;
}

bool cx_is_dns_name(const char *text)
{
    size_t size = strlen(text);

    if (size == 0 || size > DNS_NAME_MAX)
        return false;
    for (const char *label = text;; label += strcspn(label, ".") + 1) {
        size_t length = strcspn(label, ".");

        if (length == 0 || length > DNS_LABEL_MAX || label[0] == '-' || label[length - 1] == '-')
            return false;
        for (size_t i = 0; i < length; i++)
            if (!isalnum((unsigned char)label[i]) && label[i] != '-' && label[i] != '_')
                return false;
        if (label[length] == '\0')
            return true;
    }
}

bool cx_sans_equal(const cx_list *a, const cx_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!cx_list_has(b, a->items[i]))
            return false;
    return true;
}

bool cx_sans_to_names(const cx_list *sans, const char *uri, GENERAL_NAMES **names, cx_err *err)
{
    CX_AUTO(cx_names_free) GENERAL_NAMES *made = sk_GENERAL_NAME_new_null();

    if (uri != NULL && sk_GENERAL_NAME_push(made, name_of(GEN_URI, string_of(V_ASN1_IA5STRING, uri,
                                                                             strlen(uri)))) <= 0)
        return cx_openssl_fail(err, CX_INTERNAL, "alternative names");
    for (size_t i = 0; i < sans->count; i++)
        if (sk_GENERAL_NAME_push(made, to_name(sans->items[i])) <= 0)
            return cx_openssl_fail(err, CX_INTERNAL, "alternative names");
    *names = CX_TAKE(made);
    return true;
}

void cx_sans_from_names(const GENERAL_NAMES *names, cx_list *sans)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && sans->count < CX_SANS_MAX; i++) {
        int kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind);
        const uint8_t *data = NULL;
        size_t size;

        if (kind != GEN_DNS && kind != GEN_IPADD)
            continue;
        data = ASN1_STRING_get0_data(value);
        size = (size_t)ASN1_STRING_length(value);
        if (kind == GEN_IPADD)
            add_ip(sans, data, size);
        else if (memchr(data, '\0', size) == NULL && size <= DNS_NAME_MAX) {
            CX_AUTO(cx_free) char *name = cx_strndup((const char *)data, size);

            add_dns(sans, name);
        }
    }
}

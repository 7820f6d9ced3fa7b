/* Identities: what is read as one is written back as the same text. */
#include <string.h>

#include "pki/identity.h"
#include "pki/san.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_free) char *text = cx_strndup((const char *)data, size);
    CX_AUTO(cx_list_free) cx_list sans = {0}, again = {0};
    cx_identity identity;
    char uri[CX_URI_SIZE];
    cx_err err;

    if (cx_identity_parse_uri(text, &identity, &err)) {
        cx_identity_uri(&identity, uri);
        if (strcmp(uri, text) != 0)
            __builtin_trap();
    }
    if (cx_sans_add(&sans, text, &err)) {
        for (size_t i = 0; i < sans.count; i++)
            if (!cx_sans_add(&again, sans.items[i], &err))
                __builtin_trap();
        if (!cx_sans_equal(&sans, &again))
            __builtin_trap();
    }
    return 0;
}

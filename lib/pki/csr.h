/* Certificate signing requests (PKCS #10, RFC 2986). Of a request we believe one thing: that its
 * sender holds the key. Names and extensions in it are wishes, and the CA makes its own. */
#pragma once

#include "pki/cert.h"

enum { CX_CSR_BYTES_MAX = 64 * 1024 };

/* Appends a request for `key` that proposes a name. */
CX_MUST_CHECK bool cx_csr_make(EVP_PKEY *key, const char *name, cx_buffer *pem, cx_err *err);
/* The key of a request whose signature was verified with it, and the name it proposes (its CN, ""
 * when that is no id). MALFORMED; CERT_INVALID for a false signature; INVALID for a key that we don't
 * use. `from` says in errors where the request is from. */
CX_MUST_CHECK bool cx_csr_parse(cx_bytes pem, const char *from, EVP_PKEY **key,
                                char name[CX_ID_SIZE], cx_err *err);

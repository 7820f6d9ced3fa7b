/* Tokens: the record of join tokens. A token is for one node, ends by itself, and works once; of its
 * secret only the hash is kept. */
#pragma once

#include "leaf.h"
#include "pki/token.h"

/* Records a token, with an audit line. */
CX_MUST_CHECK bool ca_token_add(ca_store *store, const cx_token *token, int64_t expires_at_ms,
                                cx_err *err);
/* NOT_FOUND for an unknown id; *changed is false when it was revoked, used or over already. */
CX_MUST_CHECK bool ca_token_revoke(ca_store *store, const char *id, bool *changed, cx_err *err);
/* All tokens as `token list` prints them. */
CX_MUST_CHECK bool ca_token_list(cx_db *db, int64_t now_ms, bool all, json_t *tokens, cx_err *err);

/* What a joining host says of itself. */
typedef struct ca_token_claim {
    const char *id;
    const char *secret;
    const char *node_id;
} ca_token_claim;

/* Spends the token on a certificate for the key: both are recorded in one transaction, so that a
 * token is never spent twice nor in vain. Asked again with the same key it gives the same certificate
 * (the answer may have been lost). TOKEN_INVALID for an unknown, revoked or mistaken one (which of
 * them, the message says only to who knows the secret), TOKEN_EXPIRED, TOKEN_USED. */
CX_MUST_CHECK bool ca_token_spend(ca_store *store, const ca_token_claim *claim, EVP_PKEY *key,
                                  int64_t validity_ms, X509 **cert, bool *changed, cx_err *err);

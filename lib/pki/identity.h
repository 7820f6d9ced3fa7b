/* Identity: who a certificate speaks for. The URI SAN is `spiffe://CLUSTER/node/NODE_ID` or
 * `spiffe://CLUSTER/operator/NAME` (SPIFFE ID and X.509-SVID specifications); exactly one URI SAN
 * counts. An operator's role stands in the subject's OU; a node's OU is "node". */
#pragma once

#include "base/err.h"

typedef enum cx_identity_kind { CX_IDENTITY_NODE, CX_IDENTITY_OPERATOR } cx_identity_kind;

/* In order of power: each may do what those before it may. */
typedef enum cx_role { CX_ROLE_VIEWER, CX_ROLE_OPERATOR, CX_ROLE_ADMIN } cx_role;

enum { CX_ID_SIZE = 65, CX_URI_SIZE = 160 };

typedef struct cx_identity {
    char cluster[CX_ID_SIZE];
    char name[CX_ID_SIZE];
    cx_identity_kind kind;
    cx_role role; /* of an operator; a node's is decided by whom it speaks to */
} cx_identity;

/* The node id of `cx-ca serve` itself: no node gets it, so none can pose as the CA. */
#define CX_CA_SERVER_NAME "ca"

const char *cx_role_word(cx_role role);
CX_MUST_CHECK bool cx_role_parse(const char *text, cx_role *role, cx_err *err);
const char *cx_identity_kind_word(cx_identity_kind kind); /* "node", "operator" */
void cx_identity_uri(const cx_identity *identity, char uri[CX_URI_SIZE]);
/* Everything but the role. CERT_INVALID when the URI has another shape. */
CX_MUST_CHECK bool cx_identity_parse_uri(const char *uri, cx_identity *identity, cx_err *err);

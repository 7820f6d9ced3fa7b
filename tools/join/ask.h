/* Questions of a joining host: to the CA, and to a member's node API. */
#pragma once

#include "base/http.h"
#include "base/json.h"
#include "pki/tls.h"

enum { JOIN_CALL_MS = 15000 }; /* of one call, unless --timeout leaves less */

struct join_question {
    const char *who; /* "CA", for messages */
    const char *url;
    cx_bytes body;       /* empty: GET, else POST of JSON */
    const char *peer_id; /* the node that must answer; NULL: any of the cluster */
    int64_t timeout_ms;
};

/* The answer's document; what another says than 200 becomes err with its own code. A clock that
 * differs is noted in the hint. */
CX_MUST_CHECK bool join_ask(cx_http *http, cx_tls *tls, const struct join_question *question,
                            json_t **document, cx_err *err);
/* Where the node API of a seed is taken to be: the host of its gossip address, the port of our own API. */
CX_MUST_CHECK bool join_api_address(const char *seed, const char *own_api_addr, char **address,
                                    cx_err *err);

/* Queries: received, passed on, acknowledged; the internal ones about reachability and name conflicts are
 * answered (sections 15.7, 15.8, 15.10). */
#pragma once

#include "gossip/inside.h"

enum { CX_QUERY_RECEIVE_MAX = 64 * 1024, CX_RESPONSE_SEND_MAX = 1024 };

/* A message with its Serf type byte. *is_news: others should hear of it. */
CX_MUST_CHECK bool cx_query_take(cx_gossip *core, cx_bytes message, bool *is_news, cx_err *err);
/* An answer to a query of ours. */
CX_MUST_CHECK bool cx_query_take_response(cx_gossip *core, cx_bytes message, cx_err *err);
/* A message for another member: only query responses, only to members. */
CX_MUST_CHECK bool cx_query_relay(cx_gossip *core, cx_bytes message, const cx_gossip_addr *from,
                                  cx_err *err);

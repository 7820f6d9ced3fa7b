/* User events: received once, delivered, passed on; kept for push/pulls (section 15.5). */
#pragma once

#include "gossip/inside.h"

enum { CX_EVENT_RECEIVE_MAX = 9 * 1024, CX_EVENT_SEND_MAX = 512 };

/* A message with its Serf type byte. *is_news: it was delivered and others should hear of it. */
CX_MUST_CHECK bool cx_events_take(cx_gossip *core, cx_bytes message, bool *is_news, cx_err *err);
/* An event of our own. */
CX_MUST_CHECK bool cx_events_send(cx_gossip *core, const char *name, cx_bytes payload,
                                  bool coalesce, cx_err *err);
/* The list of a push/pull, and one that came. */
void cx_events_put(const cx_gossip *core, cx_buffer *list);
CX_MUST_CHECK bool cx_events_merge(cx_gossip *core, cx_bytes list, cx_err *err);
void cx_events_free(cx_gossip *core);

/* What the core says: actions of one input, log lines with a limit, memory that lives until the next
 * input. */
#pragma once

#include "gossip/inside.h"

/* Forgets the actions of the last input and frees what they pointed to. */
void cx_out_reset(cx_gossip *core);
void cx_out_free(cx_gossip *core);

/* Keeps a piece of memory until the next input. */
void *cx_out_keep(cx_gossip *core, void *memory);
const char *cx_out_keep_text(cx_gossip *core, cx_bytes text);
/* A buffer's bytes, kept; the buffer is empty afterwards. */
cx_bytes cx_out_keep_buffer(cx_gossip *core, cx_buffer *buffer);
void cx_out_keep_member(cx_gossip *core, cx_member *member);

cx_gossip_action *cx_out_add(cx_gossip *core, cx_gossip_action_kind kind);
void cx_out_emit(cx_gossip *core, cx_gossip_notice_kind kind, cx_member *member, const char *by);
/* err NULL: done. A ticket of 0 wants no answer; the action is then one that goes nowhere. */
cx_gossip_action *cx_out_answer(cx_gossip *core, uint64_t ticket, const cx_err *err);

/* Events are literals. node and addr may be NULL. */
void cx_out_log(cx_gossip *core, cx_level level, const char *event, const char *node,
                const cx_gossip_addr *addr, const char *format, ...) CX_PRINTF(6, 7);
/* Counts something refused from outside and logs it, at most once a second for each event. */
void cx_out_refuse(cx_gossip *core, const char *event, const cx_gossip_addr *from,
                   const char *format, ...) CX_PRINTF(4, 5);

/* A random delay in [0, interval), for timers that all nodes have. */
int64_t cx_out_jitter(cx_gossip *core, int64_t interval_ms);
/* Has the state saved, soon or within some seconds. */
void cx_out_save(cx_gossip *core, bool soon);
/* A name from outside as a text in a buffer of its own; the name must be good. */
void cx_name_copy(char to[CX_GOSSIP_NAME_MAX + 1], cx_bytes name);

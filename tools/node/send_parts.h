/* What the files of POST /api/v1/messages share. send.c: reading, routing, groups; send_result.c: what
 * became of each message, waiting for the reply, and the answer. */
#pragma once

#include "call.h"

typedef struct send_item {
    node_message message;
    char *id, *agent; /* what is left of the message when it was handed on */
    cx_err err;
    json_t *result;
    char *moved_to; /* with err: the node that has it */
    bool open;      /* neither result nor error yet */
    bool moved;     /* a peer said that it is not there: look again, once */
    bool given;     /* the sender gave the id: it may have been here before */
    bool looked;    /* it is known whether it was */
    bool known;     /* it was, or nobody looked: with err, only false says that it isn't here */
    int turns;      /* how often it was routed */
} send_item;

typedef struct sending {
    node_call *call;
    bool bulk;
    int64_t wait_ms; /* of a single message; 0: don't */
    send_item *items;
    size_t count;
    size_t outstanding; /* groups and looks under way */
    cx_err closed;      /* why this node takes nothing new; code CX_OK: it does */
    bool refreshed;
    bool waiting;
} sending;

/* ---- send_result.c */

void send_free(sending *whole);
void send_fail(send_item *item, const cx_err *err);
/* The queue of this node has it, now or since an earlier time. */
void send_take_acceptance(const sending *whole, send_item *item, const node_acceptance *accepted);
/* A row of an earlier time, when the message is not accepted now. */
void send_take_known(const sending *whole, send_item *item, const node_message *kept);
/* What a peer answered for one message. */
void send_take_line(const sending *whole, send_item *item, const char *node, cx_bytes line);
/* All have a result or an error: waits for the reply when that was asked for, and answers. */
void send_give_answer(sending *whole);
void send_on_client_gone(node_call *call);

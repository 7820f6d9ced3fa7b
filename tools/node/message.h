/* Messages and the lines that agents print: read from outside JSON, checked, and written.
 *
 * Pure: no clock, no I/O. A message owns its texts. content, reply and hops are JSON text, so that
 * what a sender gave travels on without being read again. */
#pragma once

#include "base/json.h"

enum {
    NODE_CONTENT_MAX = 256 * 1024,                   /* bytes of a message's content as JSON text */
    NODE_MESSAGE_MAX = NODE_CONTENT_MAX + 16 * 1024, /* of a whole message */
    NODE_REPLY_MAX = 1024 * 1024,                    /* of a line that an agent prints */
    NODE_MESSAGE_ID_MAX = 128,
    NODE_HOPS_MAX = 8,
};

typedef enum node_message_state {
    NODE_QUEUED,
    NODE_IN_FLIGHT,
    NODE_DONE,
    NODE_FAILED,
} node_message_state;

typedef struct node_message {
    char *id;
    char *receiver; /* as the sender wrote it: an agent's id or capability:NAME */
    char *lane;     /* whose turn decides the order: see queue.h */
    char *sender;
    char *conversation_id; /* NULL: none */
    char *performative;
    char *content; /* JSON text */
    char *reply;   /* JSON text, or NULL */
    char *error;   /* why it failed, or NULL */
    char *hops;    /* JSON array of earlier nodes' events, or NULL */
    char *node;    /* kept: where it went, or may have gone; to be accepted: the node that it comes
                      from; NULL: none */
    int64_t left_ms; /* to be accepted: node_message_left_ms */
    node_message_state state;
    int64_t attempts;
    int64_t accepted_at_ms, started_at_ms, done_at_ms; /* wall; 0: not yet */
} node_message;

/* Reads a MESSAGE of the API. id stays NULL when the sender gave none; sender defaults to
 * default_sender. hops are read when with_hops (from peers), else refused. */
CX_MUST_CHECK bool node_message_parse(const json_t *json, const char *default_sender,
                                      bool with_hops, node_message *message, cx_err *err);
void node_message_free(node_message *message);                 /* leaves {0} */
void node_messages_free(node_message *messages, size_t count); /* frees the array too */
/* The NAME of capability:NAME, or NULL when the receiver is an agent. */
const char *node_capability_of(const char *receiver);

/* The line for an agent's stdin, with its newline. reply_by is wall time. */
void node_message_deliver(const node_message *message, int64_t reply_by_ms, cx_buffer *line);
/* The line for a peer: the message as it came, for this agent, with its way here as more hops; of more
 * than NODE_HOPS_MAX its origin and its last ways. */
void node_message_forward(const node_message *message, const char *agent, const char *node_id,
                          int64_t now_ms, cx_buffer *line);
/* When, by its hops, this node sent it on for the last time; 0: never. Wall time of this node. */
int64_t node_message_left_ms(const node_message *message, const char *node_id);
/* As GET /api/v1/messages/ID answers it; node_id is the node that holds it. New reference. */
json_t *node_message_to_json(const node_message *message, const char *node_id);

/* A line that an agent printed. */
typedef struct node_output {
    enum { NODE_OUTPUT_REPLY, NODE_OUTPUT_SEND } kind;
    char *in_reply_to;    /* REPLY */
    bool failure;         /* REPLY: it fails the message */
    char *content;        /* REPLY: JSON text */
    node_message message; /* SEND; its id may be NULL */
} node_output;

CX_MUST_CHECK bool node_output_parse(cx_bytes line, const char *agent, node_output *output,
                                     cx_err *err);
void node_output_free(node_output *output);

const char *node_message_state_word(node_message_state state);
CX_MUST_CHECK bool node_message_state_parse(const char *text, node_message_state *state,
                                            cx_err *err);
CX_MUST_CHECK bool node_check_message_id(const char *text, cx_err *err);

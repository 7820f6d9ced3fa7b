/* Journey: what several nodes tell of one message, as one line of events.
 *
 * Each node that had the message tells its own part; who has it now also tells the way that it came.
 * The longest of these is the line, and what only others know is put in by time. Times are of each
 * node's own clock, so a step between two nodes can come out short, or below 0.
 *
 * Pure: no clock, no I/O. Answers are JSON of the node API and are checked only as far as they are
 * used: what is no text counts as missing. */
#pragma once

#include "base/json.h"

/* copies: a list of message objects, each with "node_id". Returns the trace without the conversation:
 * {"message_id","state","node_id",…,"nodes","hops":[{"at","node_id","event","elapsed_ms",
 * "step_ms","attempt"?}],"copies"}; NULL when copies is empty. "state" is that of the node where the
 * message is now, or "unknown" when all that were asked have handed it on. New reference. */
json_t *debug_journey(const json_t *copies);
/* The other messages of a conversation, the earliest first, each once: {"message_id","sender",
 * "receiver","performative","state","node_id","accepted_at","done_at"}. New reference. */
json_t *debug_conversation(const json_t *copies, const char *message_id);

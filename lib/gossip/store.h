/* The state file: what a node that starts again must know. Text, in the lines of Serf's snapshot and one
 * of our own, the incarnation: with a lower one than the others remember, a node that was killed would
 * first have to hear that it is dead. */
#pragma once

#include "gossip/inside.h"

enum { CX_STORE_MAX = 4 * 1024 * 1024 };

/* Reads the text into the core, before its start. Lines that nobody knows are skipped. */
CX_MUST_CHECK bool cx_store_load(cx_gossip *core, cx_bytes text, cx_err *err);
/* Emits the action that saves it. */
void cx_store_save(cx_gossip *core);

/* The rules by which messages change what is known of a member (section 13). */
#pragma once

#include "gossip/inside.h"

/* What somebody says of a member; checked: every field has a value that may be stored and sent. */
typedef struct cx_claim {
    cx_bytes name;
    cx_gossip_addr addr;
    cx_bytes meta;
    uint8_t versions[CX_VERSIONS];
    uint32_t incarnation;
    cx_wire_state state; /* of a push/pull */
} cx_claim;

/* Check the fields of a message; a port of 0 becomes the own one. */
CX_MUST_CHECK bool cx_claim_of_alive(const cx_gossip *core, const cx_wire_alive *alive,
                                     cx_claim *claim, cx_err *err);
CX_MUST_CHECK bool cx_claim_of_node(const cx_gossip *core, const cx_wire_push_node *node,
                                    cx_claim *claim, cx_err *err);

/* An accusation: suspect, or dead. */
typedef struct cx_charge {
    cx_member *member;
    uint32_t incarnation;
    const char *from;
    cx_gossip_source source;
} cx_charge;

/* bootstrap: about ourselves and from ourselves. */
void cx_rules_alive(cx_gossip *core, const cx_claim *claim, bool bootstrap);
void cx_rules_suspect(cx_gossip *core, const cx_charge *charge);
void cx_rules_dead(cx_gossip *core, const cx_charge *charge);
/* Ends suspicions whose time has come; sets core->suspicion_ms anew. */
void cx_rules_tick(cx_gossip *core);
/* Announces ourselves with the next incarnation and this meta. */
void cx_rules_announce(cx_gossip *core, cx_bytes meta);
/* Takes members that have been dead for long out of memberlist's list. */
void cx_rules_forget_dead(cx_gossip *core);
/* Takes a member out of everything. */
void cx_rules_erase(cx_gossip *core, cx_member *member);
/* Appends the alive message, or push/pull node, of a member. */
void cx_rules_put_alive(const cx_member *member, cx_buffer *message);
void cx_rules_put_node(const cx_member *member, cx_buffer *message);
/* Whether the six bytes are versions that can be; the peer is harmed by others (sections 12.7, 19). */
bool cx_versions_are_good(cx_bytes vsn);

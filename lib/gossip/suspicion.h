/* Suspicion: how long a member that stopped answering stays suspect before it counts as failed.
 *
 * The time-out starts at max_ms and shrinks to min_ms as other members confirm: a real failure is
 * declared soon, a slow observer alone is given time. Source: Lifeguard paper, LHA-Suspicion;
 * section 13.5.
 *
 * Pure: no clock, no I/O, no allocation, hence no errors. Times are milliseconds of the caller's
 * monotonic clock. The struct is data that the caller keeps; only suspicion.c looks inside. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CX_SUSPICION_WANTED_MAX = 8 };

typedef struct cx_suspicion {
    int64_t started_ms, min_ms, max_ms;
    int wanted; /* confirmations until min_ms is reached, 0 .. CX_SUSPICION_WANTED_MAX */
    int count;  /* that came */
    uint32_t accuser;
    bool has_accuser; /* who started it does not confirm it */
    uint32_t from[CX_SUSPICION_WANTED_MAX];
} cx_suspicion;

typedef struct cx_suspicion_event {
    enum { CX_SUSPICION_TICK, CX_SUSPICION_CONFIRMED, CX_SUSPICION_REFUTED } kind;
    uint32_t from; /* CONFIRMED: who, as a number (cx_suspicion_voice) */
} cx_suspicion_event;

typedef struct cx_suspicion_action {
    enum { CX_SUSPICION_WAIT, CX_SUSPICION_CLEAR, CX_SUSPICION_FAIL } verdict;
    int64_t wake_at_ms; /* WAIT: give a TICK then */
    bool is_news;       /* CONFIRMED: it counted, so it is worth telling others */
} cx_suspicion_action;

/* Of a suspicion among `count` members, with the profile's multipliers and probe interval. */
cx_suspicion cx_suspicion_start(size_t count, int mult, int max_mult, int64_t interval_ms,
                                uint32_t accuser, int64_t now_ms);

/* Takes one event and says what to do. A member that confirms twice counts once. After CLEAR or
 * FAIL the suspicion is over and is not used again. */
cx_suspicion_action cx_suspicion_input(cx_suspicion *suspicion, cx_suspicion_event event,
                                       int64_t now_ms);

/* The number of a member's name. Two names share one with a chance of 1 in 4 billion, and then one
 * confirmation is lost, no more. */
uint32_t cx_suspicion_voice(const char *name);

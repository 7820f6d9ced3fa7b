#include "gossip/suspicion.h"

#include <math.h>

static void confirm(cx_suspicion *suspicion, uint32_t from, bool *is_news)
{
    if (suspicion->count >= suspicion->wanted ||
        (suspicion->has_accuser && from == suspicion->accuser))
        return;
    for (int i = 0; i < suspicion->count; i++)
        if (suspicion->from[i] == from)
            return;
    suspicion->from[suspicion->count++] = from;
    *is_news = true;
}

static int64_t timeout_ms(const cx_suspicion *suspicion)
{
    if (suspicion->wanted < 1)
        return suspicion->min_ms;

    double share = log(suspicion->count + 1) / log(suspicion->wanted + 1);
    double span = (double)(suspicion->max_ms - suspicion->min_ms);
    int64_t shrunk = (int64_t)floor((double)suspicion->max_ms - share * span);

    return shrunk > suspicion->min_ms ? shrunk : suspicion->min_ms;
}

cx_suspicion cx_suspicion_start(size_t count, int mult, int max_mult, int64_t interval_ms,
                                uint32_t accuser, int64_t now_ms)
{
    double scale = log10(count < 1 ? 1.0 : (double)count);
    cx_suspicion suspicion = {
        .started_ms = now_ms, .wanted = mult - 2, .accuser = accuser, .has_accuser = true};

    /* The logarithm is cut to 3 decimals, as the peer does. */
    scale = floor((scale < 1 ? 1.0 : scale) * 1000) / 1000;
    suspicion.min_ms = (int64_t)(scale * (double)(mult * interval_ms));
    suspicion.max_ms = max_mult * suspicion.min_ms;
    if (suspicion.wanted > CX_SUSPICION_WANTED_MAX)
        suspicion.wanted = CX_SUSPICION_WANTED_MAX;
    /* Neither the suspect nor this node confirm. */
    if (suspicion.wanted < 0 || count < 2 || count - 2 < (size_t)suspicion.wanted)
        suspicion.wanted = 0;
    return suspicion;
}

cx_suspicion_action cx_suspicion_input(cx_suspicion *suspicion, cx_suspicion_event event,
                                       int64_t now_ms)
{
    bool is_news = false;

    if (event.kind == CX_SUSPICION_REFUTED)
        return (cx_suspicion_action){.verdict = CX_SUSPICION_CLEAR};
    if (event.kind == CX_SUSPICION_CONFIRMED)
        confirm(suspicion, event.from, &is_news);

    int64_t deadline_ms = suspicion->started_ms + timeout_ms(suspicion);

    if (now_ms >= deadline_ms)
        return (cx_suspicion_action){.verdict = CX_SUSPICION_FAIL, .is_news = is_news};
    return (cx_suspicion_action){
        .verdict = CX_SUSPICION_WAIT, .wake_at_ms = deadline_ms, .is_news = is_news};
}

uint32_t cx_suspicion_voice(const char *name)
{
    uint32_t hash = 2166136261U; /* FNV-1a */

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619U;
    return hash;
}

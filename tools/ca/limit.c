#include "limit.h"

#include <stdio.h>
#include <string.h>

static void without_port(const char *address, char host[48])
{
    char *colon;

    snprintf(host, 48, "%s", address);
    colon = strrchr(host, ':');
    if (colon != NULL)
        *colon = '\0';
}

/* The address's slot, else the free or the oldest one, made its own. */
static struct ca_limit_slot *slot_of(ca_limit *limit, const char *host, int64_t now_ms)
{
    struct ca_limit_slot *oldest = &limit->slots[0];

    for (size_t i = 0; i < CX_COUNT(limit->slots); i++) {
        struct ca_limit_slot *slot = &limit->slots[i];

        if (strcmp(slot->address, host) == 0)
            return slot;
        if (slot->address[0] == '\0' ||
            (oldest->address[0] != '\0' && slot->seen_ms < oldest->seen_ms))
            oldest = slot;
    }
    *oldest = (struct ca_limit_slot){.credit_ms = (int64_t)CA_LIMIT_BURST * CA_LIMIT_EVERY_MS,
                                     .seen_ms = now_ms};
    snprintf(oldest->address, sizeof(oldest->address), "%s", host);
    return oldest;
}

bool ca_limit_take(ca_limit *limit, const char *address, int64_t now_ms)
{
    const int64_t full_ms = (int64_t)CA_LIMIT_BURST * CA_LIMIT_EVERY_MS;
    struct ca_limit_slot *slot;
    char host[48];

    without_port(address, host);
    slot = slot_of(limit, host[0] != '\0' ? host : "?", now_ms);
    slot->credit_ms += now_ms - slot->seen_ms;
    slot->seen_ms = now_ms;
    if (slot->credit_ms > full_ms)
        slot->credit_ms = full_ms;
    if (slot->credit_ms < CA_LIMIT_EVERY_MS)
        return false;
    slot->credit_ms -= CA_LIMIT_EVERY_MS;
    return true;
}

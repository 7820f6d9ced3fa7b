#include "gossip/store.h"

#include <stdlib.h>
#include <string.h>

#include "gossip/out.h"
#include "gossip/serf.h"

/* The value of "key: value", NULL when the line has another key. */
static const char *value_of(const char *line, const char *key)
{
    size_t size = strlen(key);

    if (strncmp(line, key, size) != 0 || line[size] != ':' || line[size + 1] != ' ')
        return NULL;
    return line + size + 2;
}

static bool read_number(const char *text, uint64_t max, uint64_t *number)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return false;
    *number = strtoull(text, &end, 10);
    return *end == '\0' && *number <= max;
}

/* "NAME ADDR:PORT"; the name may have spaces. */
static bool read_member(cx_gossip *core, const char *value)
{
    const char *space = strrchr(value, ' ');
    cx_gossip_addr addr;
    cx_err err;

    if (space == NULL || core->past.count == CX_MEMBERS_MAX ||
        !cx_gossip_addr_parse(space + 1, core->addr.port, &addr, &err))
        return false;
    if (strlen(core->self->name) == (size_t)(space - value) &&
        memcmp(core->self->name, value, (size_t)(space - value)) == 0)
        return true;
    core->past.addrs = cx_realloc(core->past.addrs, core->past.count + 1, sizeof(addr));
    core->past.addrs[core->past.count++] = addr;
    return true;
}

static bool read_clock(const char *value, uint64_t *clock)
{
    uint64_t last = 0;

    if (!read_number(value, CX_LTIME_MAX, &last))
        return false;
    cx_clock_witness(clock, last);
    return true;
}

static bool read_line(cx_gossip *core, const char *line)
{
    const char *value;
    uint64_t number = 0;

    if ((value = value_of(line, "alive")) != NULL)
        return read_member(core, value);
    if ((value = value_of(line, "clock")) != NULL)
        return read_clock(value, &core->member_clock);
    if ((value = value_of(line, "event-clock")) != NULL)
        return read_clock(value, &core->event_clock);
    if ((value = value_of(line, "query-clock")) != NULL)
        return read_clock(value, &core->query_clock);
    if ((value = value_of(line, "incarnation")) == NULL)
        return true;
    if (!read_number(value, UINT32_MAX - 1, &number))
        return false;
    core->first_incarnation = (uint32_t)number + 1;
    return true;
}

bool cx_store_load(cx_gossip *core, cx_bytes text, cx_err *err)
{
    CX_AUTO(cx_free) char *copy = NULL;
    size_t number = 0;

    if (text.size > CX_STORE_MAX)
        return cx_fail(err, CX_TOO_LARGE, "state of %zu bytes", text.size);
    copy = cx_strndup((const char *)text.data, text.size);
    for (char *line = copy, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        number++;
        if (!read_line(core, line))
            return cx_fail(err, CX_CORRUPT, "state: line %zu", number);
    }
    core->event_min = core->event_clock;
    core->query_min = core->query_clock;
    return true;
}

void cx_store_save(cx_gossip *core)
{
    cx_buffer text = {0};
    char addr[CX_GOSSIP_ADDR_TEXT_SIZE];

    core->save_ms = INT64_MAX;
    cx_buffer_addf(&text, "incarnation: %u\nclock: %llu\nevent-clock: %llu\nquery-clock: %llu\n",
                   core->self->incarnation, (unsigned long long)core->member_clock - 1,
                   (unsigned long long)core->event_clock - 1,
                   (unsigned long long)core->query_clock - 1);
    /* Who left does not come back by itself. */
    for (size_t i = 0; i < core->members.count && core->leave.phase == CX_LEAVE_NO; i++) {
        const cx_member *member = core->members.all[i];

        if (member != core->self &&
            (member->status == CX_GOSSIP_ALIVE || member->status == CX_GOSSIP_FAILED))
            cx_buffer_addf(&text, "alive: %s %s\n", member->name,
                           cx_gossip_addr_text(&member->addr, addr));
    }

    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_SAVE_STATE);

    action->bytes = cx_out_keep_buffer(core, &text);
}

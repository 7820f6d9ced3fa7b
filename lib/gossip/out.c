#include "gossip/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "gossip/look.h"

enum {
    REFUSAL_INTERVAL_MS = 1000,
    SAVE_SOON_MS = 500,
    SAVE_LATER_MS = 5000,
    DETAIL_MAX = 512,
};

void cx_out_reset(cx_gossip *core)
{
    for (size_t i = 0; i < core->garbage_count; i++)
        cx_free(&core->garbage[i]);
    for (size_t i = 0; i < core->gone_count; i++)
        cx_member_free(&core->gone[i]);
    if (core->secret.data != NULL)
        sodium_memzero(core->secret.data, core->secret.capacity);
    cx_buffer_free(&core->secret);
    core->garbage_count = core->gone_count = core->action_count = 0;
}

void cx_out_free(cx_gossip *core)
{
    cx_out_reset(core);
    cx_free(&core->garbage);
    cx_free(&core->gone);
    cx_free(&core->actions);
}

void *cx_out_keep(cx_gossip *core, void *memory)
{
    if (core->garbage_count == core->garbage_capacity) {
        core->garbage_capacity = core->garbage_capacity == 0 ? 16 : 2 * core->garbage_capacity;
        core->garbage = cx_realloc(core->garbage, core->garbage_capacity, sizeof(void *));
    }
    core->garbage[core->garbage_count++] = memory;
    return memory;
}

const char *cx_out_keep_text(cx_gossip *core, cx_bytes text)
{
    return cx_out_keep(core, cx_strndup(text.size > 0 ? (const char *)text.data : "", text.size));
}

cx_bytes cx_out_keep_buffer(cx_gossip *core, cx_buffer *buffer)
{
    cx_bytes bytes = cx_buffer_bytes(buffer);

    cx_out_keep(core, buffer->data);
    *buffer = (cx_buffer){0};
    return bytes;
}

void cx_out_keep_member(cx_gossip *core, cx_member *member)
{
    if (core->gone_count == core->gone_capacity) {
        core->gone_capacity = core->gone_capacity == 0 ? 16 : 2 * core->gone_capacity;
        core->gone = cx_realloc(core->gone, core->gone_capacity, sizeof(cx_member *));
    }
    core->gone[core->gone_count++] = member;
}

cx_gossip_action *cx_out_add(cx_gossip *core, cx_gossip_action_kind kind)
{
    if (core->action_count == core->action_capacity) {
        core->action_capacity = core->action_capacity == 0 ? 16 : 2 * core->action_capacity;
        core->actions = cx_realloc(core->actions, core->action_capacity, sizeof(*core->actions));
    }

    cx_gossip_action *action = &core->actions[core->action_count++];

    *action = (cx_gossip_action){.kind = kind};
    return action;
}

void cx_out_emit(cx_gossip *core, cx_gossip_notice_kind kind, cx_member *member, const char *by)
{
    cx_gossip_notice notice = {.kind = kind};

    if (by != NULL)
        notice.by = cx_out_keep_text(core, cx_bytes_of(by));
    if (member != NULL)
        notice.member = cx_look_at(core, member);
    cx_out_add(core, CX_GOSSIP_EMIT)->notice = notice;
}

cx_gossip_action *cx_out_answer(cx_gossip *core, uint64_t ticket, const cx_err *err)
{
    cx_err *copy = cx_out_keep(core, cx_alloc(1, sizeof(*copy)));

    if (err != NULL)
        *copy = *err;

    /* Somewhere to write to, which nobody reads. */
    if (ticket == 0)
        return cx_out_keep(core, cx_alloc(1, sizeof(cx_gossip_action)));

    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_ANSWER);

    action->ticket = ticket;
    action->err = copy;
    return action;
}

static void log_line(cx_gossip *core, cx_level level, const char *event, const char *node,
                     const cx_gossip_addr *addr, const char *detail)
{
    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_LOG);

    action->level = level;
    action->log_event = event;
    action->node = node == NULL ? "" : cx_out_keep_text(core, cx_bytes_of(node));
    action->detail = cx_out_keep_text(core, cx_bytes_of(detail));
    if (addr != NULL)
        action->to = *addr;
}

void cx_out_log(cx_gossip *core, cx_level level, const char *event, const char *node,
                const cx_gossip_addr *addr, const char *format, ...)
{
    char detail[DETAIL_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    log_line(core, level, event, node, addr, detail);
}

static cx_refusal *refusal_of(cx_gossip *core, const char *event)
{
    size_t at = 0;

    while (at < CX_REFUSALS - 1 && core->refusals[at].event != NULL &&
           strcmp(core->refusals[at].event, event) != 0)
        at++;
    if (core->refusals[at].event == NULL)
        core->refusals[at] = (cx_refusal){.event = event, .logged_ms = INT64_MIN / 2};
    return &core->refusals[at];
}

void cx_out_refuse(cx_gossip *core, const char *event, const cx_gossip_addr *from,
                   const char *format, ...)
{
    cx_refusal *refusal = refusal_of(core, event);
    char detail[DETAIL_MAX];
    va_list args;

    core->refused++;
    if (core->now_ms - refusal->logged_ms < REFUSAL_INTERVAL_MS) {
        refusal->unlogged++;
        return;
    }
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    if (refusal->unlogged > 0) {
        CX_AUTO(cx_free)
        char *more = cx_format("%s (and %llu more before it)", detail,
                               (unsigned long long)refusal->unlogged);

        log_line(core, CX_WARN, event, NULL, from, more);
    } else {
        log_line(core, CX_WARN, event, NULL, from, detail);
    }
    refusal->logged_ms = core->now_ms;
    refusal->unlogged = 0;
}

int64_t cx_out_jitter(cx_gossip *core, int64_t interval_ms)
{
    return (int64_t)cx_rng_below(&core->rng, (uint64_t)interval_ms);
}

void cx_out_save(cx_gossip *core, bool soon)
{
    int64_t at_ms = core->now_ms + (soon ? SAVE_SOON_MS : SAVE_LATER_MS);

    if (at_ms < core->save_ms)
        core->save_ms = at_ms;
}

void cx_name_copy(char to[CX_GOSSIP_NAME_MAX + 1], cx_bytes name)
{
    size_t size = name.size < CX_GOSSIP_NAME_MAX ? name.size : CX_GOSSIP_NAME_MAX;

    if (size > 0)
        memcpy(to, name.data, size);
    to[size] = '\0';
}

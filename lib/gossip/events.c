#include "gossip/events.h"

#include <string.h>

#include "gossip/out.h"
#include "gossip/serf.h"
#include "gossip/spread.h"

static void empty_slot(cx_gossip *core, cx_event_slot *slot)
{
    for (size_t i = 0; i < slot->count; i++) {
        core->events_bytes -= slot->items[i].name.size + slot->items[i].payload.size;
        void *block = (void *)(uintptr_t)slot->items[i].name.data;

        cx_free(&block);
    }
    cx_free(&slot->items);
    slot->count = 0;
}

static void keep(cx_gossip *core, cx_event_slot *slot, const cx_wire_user_event *event)
{
    uint8_t *block = cx_alloc(1, event->name.size + event->payload.size + 1);
    cx_slot_event kept = {
        .name = {block, event->name.size},
        .payload = {block + event->name.size, event->payload.size},
    };

    if (event->name.size > 0)
        memcpy(block, event->name.data, event->name.size);
    if (event->payload.size > 0)
        memcpy(block + event->name.size, event->payload.data, event->payload.size);
    else
        kept.payload = (cx_bytes){0};
    slot->items = cx_realloc(slot->items, slot->count + 1, sizeof(*slot->items));
    slot->items[slot->count++] = kept;
    core->events_bytes += event->name.size + event->payload.size;
}

static void deliver(cx_gossip *core, const cx_wire_user_event *event)
{
    cx_gossip_notice notice = {
        .kind = CX_GOSSIP_USER_EVENT,
        .name = cx_out_keep_text(core, event->name),
        .ltime = event->ltime,
        .coalesce = event->coalesce,
    };

    notice.payload.data = (const uint8_t *)cx_out_keep_text(core, event->payload);
    notice.payload.size = event->payload.size;
    cx_out_add(core, CX_GOSSIP_EMIT)->notice = notice;
}

/* Says whether it was new. */
static bool take(cx_gossip *core, const cx_wire_user_event *event)
{
    cx_event_slot *slot = &core->events[event->ltime % CX_SLOTS];

    cx_clock_witness(&core->event_clock, event->ltime);
    if (event->ltime < core->event_min)
        return false;
    if (core->event_clock > CX_SLOTS && event->ltime < core->event_clock - CX_SLOTS) {
        cx_out_refuse(core, "event_too_old", NULL, "a user event from far in the past");
        return false;
    }
    if (slot->ltime != event->ltime)
        empty_slot(core, slot);
    slot->ltime = event->ltime;
    for (size_t i = 0; i < slot->count; i++)
        if (cx_bytes_equal(slot->items[i].name, event->name) &&
            cx_bytes_equal(slot->items[i].payload, event->payload))
            return false;
    if (slot->count == CX_SLOT_ITEMS_MAX ||
        core->events_bytes + event->name.size + event->payload.size > CX_EVENTS_BYTES_MAX) {
        cx_out_refuse(core, "events_full", NULL, "too many user events");
        return false;
    }
    keep(core, slot, event);
    deliver(core, event);
    cx_out_save(core, false);
    return true;
}

static bool check(const cx_wire_user_event *event, cx_err *err)
{
    if (event->ltime > CX_LTIME_MAX)
        return cx_fail(err, CX_MALFORMED, "a user event of an absurd Lamport time");
    if (event->name.size + event->payload.size > CX_EVENT_RECEIVE_MAX)
        return cx_fail(err, CX_TOO_LARGE, "a user event of %zu bytes",
                       event->name.size + event->payload.size);
    return true;
}

/* One entry of the list of a push/pull: nil, or a time and its events. */
static bool merge_slot(cx_gossip *core, cx_bytes *list, cx_err *err)
{
    cx_wire_past_events slot;
    size_t count = 0;

    if (cx_msgpack_is_nil(*list))
        return cx_msgpack_take_any(list, NULL, err);
    if (!cx_record_take(list, &cx_wire_past_events_record, &slot, err))
        return false;
    if (slot.events.size > 0 && !cx_msgpack_take_array(&slot.events, &count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        cx_wire_past_event past;

        if (!cx_record_take(&slot.events, &cx_wire_past_event_record, &past, err))
            return false;

        const cx_wire_user_event event = {
            .ltime = slot.ltime, .name = past.name, .payload = past.payload};

        if (!check(&event, err))
            return false;
        take(core, &event);
    }
    return true;
}

static void put_slot(const cx_event_slot *slot, cx_buffer *list)
{
    CX_AUTO(cx_buffer_free) cx_buffer events = {0};

    cx_msgpack_put_array(&events, slot->count);
    for (size_t i = 0; i < slot->count; i++) {
        const cx_wire_past_event past = {.name = slot->items[i].name,
                                         .payload = slot->items[i].payload};

        cx_record_put(&events, &cx_wire_past_event_record, &past);
    }

    const cx_wire_past_events record = {.ltime = slot->ltime, .events = cx_buffer_bytes(&events)};

    cx_record_put(list, &cx_wire_past_events_record, &record);
}

/* ---- public */

bool cx_events_take(cx_gossip *core, cx_bytes message, bool *is_news, cx_err *err)
{
    cx_wire_user_event event;

    *is_news = false;
    if (!cx_wire_read((cx_bytes){message.data + 1, message.size - 1}, &cx_wire_user_event_record,
                      &event, err) ||
        !check(&event, err))
        return false;
    *is_news = take(core, &event);
    return true;
}

bool cx_events_send(cx_gossip *core, const char *name, cx_bytes payload, bool coalesce, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    cx_wire_user_event event = {.ltime = core->event_clock,
                                .name = cx_bytes_of(name),
                                .payload = payload,
                                .coalesce = coalesce};

    if (event.name.size == 0)
        return cx_fail(err, CX_INVALID, "an event needs a name");
    if (payload.size == 0)
        event.payload = (cx_bytes){0};
    cx_wire_put_serf(&message, CX_SERF_USER_EVENT, &cx_wire_user_event_record, &event);
    if (event.name.size + payload.size > CX_EVENT_SEND_MAX || message.size - 1 > CX_EVENT_SEND_MAX)
        return cx_fail(err, CX_TOO_LARGE, "an event of %zu bytes, at most %d are possible",
                       message.size - 1, CX_EVENT_SEND_MAX);
    if (!take(core, &event))
        return cx_fail(err, CX_BUSY, "the event buffer is full");
    cx_spread_queue(core, CX_QUEUE_EVENTS, cx_buffer_bytes(&message), NULL);
    return true;
}

void cx_events_put(const cx_gossip *core, cx_buffer *list)
{
    cx_msgpack_put_array(list, CX_SLOTS);
    for (size_t i = 0; i < CX_SLOTS; i++) {
        if (core->events[i].count == 0)
            cx_msgpack_put_nil(list);
        else
            put_slot(&core->events[i], list);
    }
}

bool cx_events_merge(cx_gossip *core, cx_bytes list, cx_err *err)
{
    size_t count = 0;

    if (list.size == 0)
        return true;
    if (!cx_msgpack_take_array(&list, &count, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!merge_slot(core, &list, err))
            return false;
    return true;
}

void cx_events_free(cx_gossip *core)
{
    for (size_t i = 0; i < CX_SLOTS; i++)
        empty_slot(core, &core->events[i]);
}

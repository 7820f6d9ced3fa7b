#include "journey.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"

static const char *text_of(const json_t *object, const char *key)
{
    return cx_json_text_or_empty(object, key);
}

/* Wall milliseconds of a field; 0 when there is none. */
static int64_t time_of(const json_t *object, const char *key)
{
    cx_err ignored = {0};
    int64_t ms = 0;

    return cx_time_parse(text_of(object, key), &ms, &ignored) ? ms : 0;
}

static const json_t *last_hop(const json_t *copy)
{
    const json_t *hops = json_object_get(copy, "hops");
    size_t count = json_array_size(hops);

    return count == 0 ? NULL : json_array_get(hops, count - 1);
}

/* Whether the node that tells this has given the message to another one. */
static bool is_handed_on(const json_t *copy)
{
    return strcmp(text_of(last_hop(copy), "event"), "forwarded") == 0;
}

/* Which copy tells the state: one that still has the message, of these the latest accepted. */
static const json_t *holder_of(const json_t *copies)
{
    const json_t *holder = NULL;
    size_t at;
    const json_t *copy;

    json_array_foreach (copies, at, copy)
        if (!is_handed_on(copy) &&
            (holder == NULL || time_of(copy, "accepted_at") > time_of(holder, "accepted_at")))
            holder = copy;
    return holder;
}

/* The same event, told twice: the node itself knows when the other one had answered, the line that
 * travelled with the message when it was sent. */
static bool is_same(const json_t *known, const json_t *hop)
{
    if (strcmp(text_of(known, "node_id"), text_of(hop, "node_id")) != 0 ||
        strcmp(text_of(known, "event"), text_of(hop, "event")) != 0)
        return false;
    if (strcmp(text_of(hop, "event"), "forwarded") == 0)
        return time_of(known, "at") <= time_of(hop, "at");
    return time_of(known, "at") == time_of(hop, "at");
}

static void put_in(json_t *line, const json_t *hop)
{
    size_t at;
    const json_t *known;

    json_array_foreach (line, at, known)
        if (is_same(known, hop))
            return;
    for (at = 0; at < json_array_size(line); at++)
        if (time_of(json_array_get(line, at), "at") > time_of(hop, "at"))
            break;
    json_array_insert_new(line, at, json_deep_copy(hop));
}

static json_t *line_of(const json_t *copies)
{
    const json_t *longest = NULL;
    json_t *line = NULL;
    size_t at, place;
    const json_t *copy, *hop;

    json_array_foreach (copies, at, copy) {
        const json_t *hops = json_object_get(copy, "hops");

        if (longest == NULL || json_array_size(hops) > json_array_size(longest))
            longest = hops;
    }
    line = json_is_array(longest) ? json_deep_copy(longest) : json_array();
    json_array_foreach (copies, at, copy)
        json_array_foreach (json_object_get(copy, "hops"), place, hop)
            put_in(line, hop);
    return line;
}

/* The node keeps the start of the last attempt, and how many there were. */
static void add_attempts(json_t *line, const json_t *holder)
{
    json_t *attempts = json_object_get(holder, "attempts");

    for (size_t i = json_array_size(line); i > 0; i--) {
        json_t *hop = json_array_get(line, i - 1);

        if (strcmp(text_of(hop, "event"), "delivered") == 0 && json_is_integer(attempts)) {
            json_object_set(hop, "attempt", attempts);
            return;
        }
    }
}

static void add_steps(json_t *line)
{
    int64_t first_ms = time_of(json_array_get(line, 0), "at"), before_ms = first_ms;
    size_t at;
    json_t *hop;

    json_array_foreach (line, at, hop) {
        int64_t at_ms = time_of(hop, "at");

        if (!json_is_object(hop))
            continue;
        json_object_set_new(hop, "elapsed_ms", json_integer(at_ms - first_ms));
        json_object_set_new(hop, "step_ms", json_integer(at_ms - before_ms));
        before_ms = at_ms;
    }
}

/* The nodes that the line names, in the order of the way. */
static json_t *nodes_of(const json_t *line)
{
    json_t *nodes = json_array();
    size_t at, place;
    const json_t *hop, *known;

    json_array_foreach (line, at, hop) {
        bool seen = false;

        json_array_foreach (nodes, place, known)
            seen |= strcmp(json_string_value(known), text_of(hop, "node_id")) == 0;
        if (!seen && text_of(hop, "node_id")[0] != '\0')
            json_array_append_new(nodes, cx_json_text(text_of(hop, "node_id")));
    }
    return nodes;
}

static json_t *copies_of(const json_t *copies)
{
    json_t *list = json_array();
    size_t at;
    const json_t *copy;

    json_array_foreach (copies, at, copy)
        json_array_append_new(list, json_pack("{s:o, s:o, s:b}", "node_id",
                                              cx_json_text(text_of(copy, "node_id")), "state",
                                              cx_json_text(text_of(copy, "state")), "handed_on",
                                              is_handed_on(copy)));
    return list;
}

static void copy_fields(json_t *to, const json_t *from, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(from, keys[i]);

        json_object_set(to, keys[i], value != NULL ? value : json_null());
    }
}

static json_t *duration(const json_t *line, const json_t *holder)
{
    int64_t first_ms = time_of(json_array_get(line, 0), "at");
    int64_t done_ms = time_of(holder, "done_at");

    return first_ms == 0 || done_ms == 0 ? json_null() : json_integer(done_ms - first_ms);
}

json_t *debug_journey(const json_t *copies)
{
    static const char *const keys[] = {"receiver",     "sender",     "conversation_id",
                                       "performative", "attempts",   "error",
                                       "accepted_at",  "started_at", "done_at"};
    const json_t *holder = holder_of(copies), *teller;
    json_t *trace, *line;

    if (json_array_size(copies) == 0)
        return NULL;
    teller = holder != NULL ? holder : json_array_get(copies, 0);
    line = line_of(copies);
    trace = json_pack("{s:o, s:o, s:o}", "message_id", cx_json_text(text_of(teller, "message_id")),
                      "state", cx_json_text(holder != NULL ? text_of(holder, "state") : "unknown"),
                      "node_id",
                      cx_json_text_or_null(holder != NULL ? text_of(holder, "node_id") : ""));
    copy_fields(trace, teller, keys, CX_COUNT(keys));
    add_attempts(line, teller);
    add_steps(line);
    json_object_set_new(trace, "duration_ms", duration(line, holder));
    json_object_set_new(trace, "nodes", nodes_of(line));
    json_object_set_new(trace, "hops", line);
    json_object_set_new(trace, "copies", copies_of(copies));
    return trace;
}

static int by_time(const void *left, const void *right)
{
    const json_t *a = *(json_t *const *)left, *b = *(json_t *const *)right;
    int64_t a_ms = time_of(a, "accepted_at"), b_ms = time_of(b, "accepted_at");

    if (a_ms != b_ms)
        return a_ms < b_ms ? -1 : 1;
    return strcmp(text_of(a, "message_id"), text_of(b, "message_id"));
}

json_t *debug_conversation(const json_t *copies, const char *message_id)
{
    static const char *const keys[] = {"message_id", "sender",  "receiver",    "performative",
                                       "state",      "node_id", "accepted_at", "done_at"};
    CX_AUTO(cx_json_free) json_t *chosen = json_object(); /* by id; what still has it wins */
    CX_AUTO(cx_free) json_t **items = NULL;
    json_t *list = json_array();
    size_t at, count = 0;
    json_t *copy;
    const char *id;

    json_array_foreach (copies, at, copy) {
        const char *own = text_of(copy, "message_id");

        if (own[0] != '\0' && strcmp(own, message_id) != 0 &&
            (json_object_get(chosen, own) == NULL || !is_handed_on(copy)))
            json_object_set(chosen, own, copy);
    }
    items = cx_alloc(json_object_size(chosen) + 1, sizeof(json_t *));
    json_object_foreach (chosen, id, copy)
        items[count++] = copy;
    qsort(items, count, sizeof(json_t *), by_time);
    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_object();

        copy_fields(entry, items[i], keys, CX_COUNT(keys));
        json_array_append_new(list, entry);
    }
    return list;
}

#include "waiters.h"

#include "base/map.h"
#include "timer.h"

typedef struct waiter {
    struct waiter *next;
    node_waiters *waiters;
    char *message_id;
    struct event *timer;
    node_waited *waited;
    void *arg;
} waiter;

struct node_waiters {
    struct event_base *loop;
    cx_map *by_message; /* the first of each list */
};

static void free_waiter(waiter *gone)
{
    event_free(gone->timer);
    cx_free(&gone->message_id);
    cx_free(&gone);
}

static void unlink_waiter(waiter *gone)
{
    cx_map *map = gone->waiters->by_message;
    waiter *first = cx_map_get(map, gone->message_id);

    if (first == gone) {
        if (gone->next != NULL)
            cx_map_put(map, gone->message_id, gone->next);
        else
            cx_map_remove(map, gone->message_id);
        return;
    }
    while (first->next != gone)
        first = first->next;
    first->next = gone->next;
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    waiter *late = arg;

    (void)fd;
    (void)what;
    unlink_waiter(late);
    late->waited(NULL, late->arg);
    free_waiter(late);
}

node_waiters *node_waiters_open(struct event_base *loop)
{
    node_waiters *waiters = cx_alloc(1, sizeof *waiters);

    waiters->loop = loop;
    waiters->by_message = cx_map_open();
    return waiters;
}

void node_waiters_close(node_waiters **owner)
{
    node_waiters *waiters = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (waiters == NULL)
        return;
    while (cx_map_next(waiters->by_message, &cursor, NULL, &value))
        for (waiter *each = value, *next; each != NULL; each = next) {
            next = each->next;
            free_waiter(each);
        }
    cx_map_close(&waiters->by_message);
    cx_free(owner);
}

void node_waiters_add(node_waiters *waiters, const char *message_id, int64_t timeout_ms,
                      node_waited *waited, void *arg)
{
    waiter *added = cx_alloc(1, sizeof *added);

    added->waiters = waiters;
    added->message_id = cx_strdup(message_id);
    added->waited = waited;
    added->arg = arg;
    added->timer = evtimer_new(waiters->loop, on_timeout, added);
    node_timer_set(added->timer, timeout_ms);
    added->next = cx_map_put(waiters->by_message, message_id, added);
}

void node_waiters_cancel(node_waiters *waiters, const char *message_id, const void *arg)
{
    waiter *each = cx_map_get(waiters->by_message, message_id);

    while (each != NULL && each->arg != arg)
        each = each->next;
    if (each == NULL)
        return;
    unlink_waiter(each);
    free_waiter(each);
}

bool node_waiters_has(const node_waiters *waiters, const char *message_id)
{
    return cx_map_get(waiters->by_message, message_id) != NULL;
}

void node_waiters_finished(node_waiters *waiters, const node_finished *finished)
{
    waiter *each = cx_map_remove(waiters->by_message, finished->id);

    while (each != NULL) {
        waiter *next = each->next;

        each->waited(finished, each->arg);
        free_waiter(each);
        each = next;
    }
}

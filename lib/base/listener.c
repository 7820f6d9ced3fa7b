#include "base/listener.h"

#include <event2/listener.h>

#include "base/mem.h"

enum { PAUSE_MS = 100 };

struct cx_listener {
    struct evconnlistener *accepting;
    struct event *resume;
    cx_accepted *accepted;
    void *arg;
};

static void on_accept(struct evconnlistener *accepting, evutil_socket_t fd, struct sockaddr *from,
                      int from_size, void *arg)
{
    const cx_listener *listener = arg;

    (void)accepting;
    listener->accepted((int)fd, from, (socklen_t)from_size, listener->arg);
}

static void on_error(struct evconnlistener *accepting, void *arg)
{
    const cx_listener *listener = arg;
    struct timeval pause = {0, PAUSE_MS * 1000};

    evconnlistener_disable(accepting);
    event_add(listener->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    const cx_listener *listener = arg;

    (void)fd;
    (void)what;
    evconnlistener_enable(listener->accepting);
}

static cx_listener *new_listener(struct event_base *loop, cx_accepted *accepted, void *arg)
{
    cx_listener *listener = cx_alloc(1, sizeof *listener);

    listener->accepted = accepted;
    listener->arg = arg;
    listener->resume = evtimer_new(loop, on_resume, listener);
    return listener;
}

static cx_listener *finish(cx_listener *listener)
{
    if (listener->accepting == NULL || listener->resume == NULL)
        cx_listener_close(&listener);
    else
        evconnlistener_set_error_cb(listener->accepting, on_error);
    return listener;
}

cx_listener *cx_listener_open(struct event_base *loop, int fd, cx_accepted *accepted, void *arg)
{
    cx_listener *listener = new_listener(loop, accepted, arg);

    listener->accepting = evconnlistener_new(loop, on_accept, listener,
                                             LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (listener->accepting == NULL)
        evutil_closesocket(fd);
    return finish(listener);
}

cx_listener *cx_listener_bind(struct event_base *loop, const struct sockaddr *address,
                              socklen_t size, int backlog, cx_accepted *accepted, void *arg)
{
    cx_listener *listener = new_listener(loop, accepted, arg);
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;

    if (address->sa_family != AF_UNIX)
        flags |= LEV_OPT_REUSEABLE;
    listener->accepting =
        evconnlistener_new_bind(loop, on_accept, listener, flags, backlog, address, (int)size);
    return finish(listener);
}

void cx_listener_close(cx_listener **owner)
{
    cx_listener *listener = *owner;

    if (listener == NULL)
        return;
    if (listener->accepting != NULL)
        evconnlistener_free(listener->accepting);
    if (listener->resume != NULL)
        event_free(listener->resume);
    cx_free(owner);
}

/* Listener: a socket whose connections the loop accepts, and that pauses when accept(2) fails. Without
 * free descriptors the socket stays readable: the loop would spin and serve nobody, not even those
 * whose end would free some. */
#pragma once

#include <sys/socket.h>

#include <event2/event.h>

typedef struct cx_listener cx_listener;

/* A connection; the descriptor is the callee's. */
typedef void cx_accepted(int fd, const struct sockaddr *from, socklen_t from_size, void *arg);

/* Takes a socket that listens already, non-blocking. NULL: the loop refused, the socket is closed. */
cx_listener *cx_listener_open(struct event_base *loop, int fd, cx_accepted *accepted, void *arg);
/* Binds first; an internet address may be one that was used a moment ago. NULL: errno says why. */
cx_listener *cx_listener_bind(struct event_base *loop, const struct sockaddr *address,
                              socklen_t size, int backlog, cx_accepted *accepted, void *arg);
void cx_listener_close(cx_listener **owner);

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "agent.h"
#include "base/io.h"
#include "base/listener.h"
#include "base/text.h"

enum {
    RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024, /* as the reference asks of the kernel */
    PACKETS_AT_ONCE = 64, /* then the loop serves others; the kernel keeps the rest */
    CLOSE_TIMEOUT_S = 10, /* for a closed stream to take its last bytes */
    READ_AHEAD_BYTES = 256 * 1024,
    BACKLOG = 128,
};

struct stream {
    struct agent_net *net;
    uint64_t id;
    struct bufferevent *io;
    bool closing; /* the core is done with it: only what is written goes out */
    TAILQ_ENTRY(stream) next;
};

/* A stream that could not even begin: told to the core when its actions are done. */
struct broken {
    uint64_t id;
    TAILQ_ENTRY(broken) next;
};

struct agent_net {
    struct agent *agent;
    int fd;
    sa_family_t family;
    uint16_t port;
    struct event *readable, *tell_broken;
    cx_listener *listener;
    uint64_t next_accepted; /* even */
    TAILQ_HEAD(, stream) streams;
    TAILQ_HEAD(, broken) broken;
    uint8_t packet[CX_GOSSIP_PACKET_MAX];
};

/* ---- addresses */

static socklen_t to_sockaddr(const struct agent_net *net, const cx_gossip_addr *addr,
                             struct sockaddr_storage *storage)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool is_mapped = addr->size == 16 && memcmp(addr->bytes, mapped, sizeof mapped) == 0;

    memset(storage, 0, sizeof *storage);
    if (net->family == AF_INET && (addr->size == 4 || is_mapped)) {
        struct sockaddr_in *in = (struct sockaddr_in *)storage;

        in->sin_family = AF_INET;
        in->sin_port = htons(addr->port);
        memcpy(&in->sin_addr, addr->bytes + (is_mapped ? 12 : 0), 4);
        return sizeof *in;
    }
    if (net->family == AF_INET6 && (addr->size == 4 || addr->size == 16)) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;

        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(addr->port);
        if (addr->size == 16) {
            memcpy(&in6->sin6_addr, addr->bytes, 16);
        } else {
            memcpy(&in6->sin6_addr, mapped, sizeof mapped);
            memcpy((uint8_t *)&in6->sin6_addr + 12, addr->bytes, 4);
        }
        return sizeof *in6;
    }
    return 0; /* an IPv6 address on an IPv4 socket */
}

static cx_gossip_addr from_sockaddr(const struct sockaddr *address)
{
    cx_gossip_addr addr = {0};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

        addr.size = 4;
        addr.port = ntohs(in->sin_port);
        memcpy(addr.bytes, &in->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;

        addr.size = 16;
        addr.port = ntohs(in6->sin6_port);
        memcpy(addr.bytes, &in6->sin6_addr, 16);
    }
    return addr;
}

bool agent_net_own_address(const struct agent_net *net, cx_gossip_addr *addr, cx_err *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    struct ifaddrs *all = NULL;
    static const uint8_t any[16] = {0};

    if (getsockname(net->fd, (struct sockaddr *)&bound, &size) < 0)
        return cx_fail_errno(err, "getsockname");
    *addr = from_sockaddr((struct sockaddr *)&bound);
    if (memcmp(addr->bytes, any, sizeof any) != 0)
        return true;

    /* Every address is bound: announce the first of an interface that is up. */
    if (getifaddrs(&all) < 0)
        return cx_fail_errno(err, "getifaddrs");

    bool found = false;

    for (struct ifaddrs *one = all; one && !found; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || !(one->ifa_flags & IFF_UP) ||
            (one->ifa_flags & IFF_LOOPBACK))
            continue;
        *addr = from_sockaddr(one->ifa_addr);
        addr->port = net->port;
        found = true;
    }
    freeifaddrs(all);
    if (found)
        return true;
    cx_fail(err, CX_CONFIG, "every address is bound and no interface has one to announce");
    return cx_hint(err, "set advertise_addr");
}

/* ---- packets */

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    struct agent_net *net = data;

    (void)what;
    for (int i = 0; i < PACKETS_AT_ONCE; i++) {
        struct sockaddr_storage from = {0};
        socklen_t from_size = sizeof from;
        ssize_t size =
            recvfrom(fd, net->packet, sizeof net->packet, 0, (struct sockaddr *)&from, &from_size);

        if (size < 0)
            return; /* EAGAIN: all read; others are of single packets and pass */
        agent_input(net->agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_PACKET,
                                                   .from = from_sockaddr((struct sockaddr *)&from),
                                                   .bytes = {net->packet, (size_t)size}});
    }
}

void agent_net_send(struct agent_net *net, const cx_gossip_addr *to, cx_bytes packet)
{
    struct sockaddr_storage address;
    socklen_t size = to_sockaddr(net, to, &address);

    /* A packet that can't be sent is a packet that is lost: the protocol lives with those. */
    if (size > 0)
        (void)!sendto(net->fd, packet.data, packet.size, MSG_DONTWAIT, (struct sockaddr *)&address,
                      size);
}

/* ---- streams */

static void stream_free(struct stream *stream)
{
    TAILQ_REMOVE(&stream->net->streams, stream, next);
    bufferevent_free(stream->io);
    cx_free(&stream);
}

static struct stream *find(struct agent_net *net, uint64_t id)
{
    struct stream *stream;

    TAILQ_FOREACH (stream, &net->streams, next)
        if (stream->id == id)
            return stream;
    return NULL;
}

static void on_stream_readable(struct bufferevent *io, void *data)
{
    struct stream *stream = data;
    struct agent *agent = stream->net->agent;
    struct evbuffer *input = bufferevent_get_input(io);
    size_t size = evbuffer_get_length(input);
    uint64_t id = stream->id;

    if (stream->closing) {
        evbuffer_drain(input, size);
        return;
    }

    uint8_t *bytes = cx_alloc(size + 1, 1);

    evbuffer_remove(input, bytes, size);
    agent_input(agent, &(cx_gossip_event){
                           .kind = CX_GOSSIP_ON_BYTES, .stream = id, .bytes = {bytes, size}});
    cx_free(&bytes);
}

static void on_stream_written(struct bufferevent *io, void *data)
{
    struct stream *stream = data;

    if (stream->closing && evbuffer_get_length(bufferevent_get_output(io)) == 0)
        stream_free(stream);
}

static void on_stream_event(struct bufferevent *io, short what, void *data)
{
    struct stream *stream = data;
    struct agent *agent = stream->net->agent;
    uint64_t id = stream->id;
    bool closing = stream->closing;
    const char *reason = NULL;

    if (what & BEV_EVENT_CONNECTED)
        return;
    if (!(what & BEV_EVENT_EOF))
        reason = what & BEV_EVENT_TIMEOUT
                     ? "timed out"
                     : evutil_socket_error_to_string(evutil_socket_geterror(bufferevent_getfd(io)));
    /* What came before the end still counts. */
    if (!closing && evbuffer_get_length(bufferevent_get_input(io)) > 0) {
        on_stream_readable(io, stream);
        stream = find(agent->net, id);
        if (!stream)
            return;
        closing = stream->closing;
    }
    stream_free(stream);
    if (!closing)
        agent_input(agent,
                    &(cx_gossip_event){.kind = CX_GOSSIP_ON_END, .stream = id, .reason = reason});
}

static struct stream *stream_add(struct agent_net *net, uint64_t id, evutil_socket_t fd)
{
    struct stream *stream = cx_alloc(1, sizeof *stream);

    stream->net = net;
    stream->id = id;
    stream->io = bufferevent_socket_new(net->agent->loop, fd,
                                        BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(stream->io, on_stream_readable, on_stream_written, on_stream_event, stream);
    bufferevent_setwatermark(stream->io, EV_READ, 0, READ_AHEAD_BYTES);
    bufferevent_enable(stream->io, EV_READ | EV_WRITE);
    TAILQ_INSERT_TAIL(&net->streams, stream, next);
    return stream;
}

static void on_accept(int fd, const struct sockaddr *from, socklen_t from_size, void *data)
{
    struct agent_net *net = data;
    uint64_t id = net->next_accepted;

    (void)from_size;
    net->next_accepted += 2;
    stream_add(net, id, fd);
    agent_input(
        net->agent,
        &(cx_gossip_event){.kind = CX_GOSSIP_ON_ACCEPT, .stream = id, .from = from_sockaddr(from)});
}

static void on_tell_broken(evutil_socket_t fd, short what, void *data)
{
    struct agent_net *net = data;
    struct broken *broken;

    (void)fd, (void)what;
    while ((broken = TAILQ_FIRST(&net->broken))) {
        uint64_t id = broken->id;

        TAILQ_REMOVE(&net->broken, broken, next);
        cx_free(&broken);
        agent_input(
            net->agent,
            &(cx_gossip_event){.kind = CX_GOSSIP_ON_END, .stream = id, .reason = "can't connect"});
    }
}

static void tell_broken(struct agent_net *net, uint64_t id)
{
    struct broken *broken = cx_alloc(1, sizeof *broken);

    broken->id = id;
    TAILQ_INSERT_TAIL(&net->broken, broken, next);
    event_active(net->tell_broken, EV_TIMEOUT, 0);
}

void agent_net_stream_open(struct agent_net *net, uint64_t id, const cx_gossip_addr *to,
                           cx_bytes bytes)
{
    struct sockaddr_storage address;
    socklen_t size = to_sockaddr(net, to, &address);

    if (size == 0) {
        tell_broken(net, id);
        return;
    }

    struct stream *stream = stream_add(net, id, -1);

    bufferevent_write(stream->io, bytes.data, bytes.size);
    if (bufferevent_socket_connect(stream->io, (struct sockaddr *)&address, (int)size) < 0) {
        stream_free(stream);
        tell_broken(net, id);
    }
}

void agent_net_stream_write(struct agent_net *net, uint64_t id, cx_bytes bytes)
{
    struct stream *stream = find(net, id);

    if (stream && !stream->closing)
        bufferevent_write(stream->io, bytes.data, bytes.size);
}

void agent_net_stream_close(struct agent_net *net, uint64_t id)
{
    struct stream *stream = find(net, id);

    if (!stream)
        return;
    stream->closing = true;
    if (evbuffer_get_length(bufferevent_get_output(stream->io)) == 0) {
        stream_free(stream);
        return;
    }
    bufferevent_set_timeouts(stream->io, &(struct timeval){CLOSE_TIMEOUT_S, 0},
                             &(struct timeval){CLOSE_TIMEOUT_S, 0});
}

/* ---- open and close */

static bool bind_packets(struct agent_net *net, const struct addrinfo *info, const char *bind_text,
                         cx_err *err)
{
    int size = RECEIVE_BUFFER_BYTES;

    net->family = (sa_family_t)info->ai_family;
    net->fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (net->fd < 0)
        return cx_fail_errno(err, "socket");
    /* The kernel's own bound may be lower; then bursts lose packets, which gossip repeats. */
    (void)setsockopt(net->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(net->fd, info->ai_addr, info->ai_addrlen) < 0) {
        cx_fail_errno(err, "bind %s (UDP)", bind_text);
        err->code = CX_UNAVAILABLE;
        return false;
    }
    net->readable = event_new(net->agent->loop, net->fd, EV_READ | EV_PERSIST, on_readable, net);
    event_add(net->readable, NULL);
    return true;
}

bool agent_net_open(struct agent *agent, const char *bind_text, struct agent_net **owner,
                    cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    struct addrinfo wanted = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *info = NULL;
    uint16_t port;

    if (!cx_parse_host_port(bind_text, CX_GOSSIP_PORT, &host, &port, err))
        return cx_wrap(err, "bind address");

    char service[8];

    snprintf(service, sizeof service, "%u", (unsigned)port);

    int status = getaddrinfo(host, service, &wanted, &info);

    if (status != 0)
        return cx_fail(err, CX_CONFIG, "bind address %s: %s", bind_text, gai_strerror(status));

    struct agent_net *net = cx_alloc(1, sizeof *net);

    net->agent = agent;
    net->fd = -1;
    net->port = agent->port = port;
    net->next_accepted = 2;
    TAILQ_INIT(&net->streams);
    TAILQ_INIT(&net->broken);
    net->tell_broken = event_new(agent->loop, -1, 0, on_tell_broken, net);
    *owner = net;

    bool bound = bind_packets(net, info, bind_text, err);

    if (bound) {
        net->listener =
            cx_listener_bind(agent->loop, info->ai_addr, info->ai_addrlen, BACKLOG, on_accept, net);
        if (!net->listener) {
            cx_fail_errno(err, "listen on %s (TCP)", bind_text);
            err->code = CX_UNAVAILABLE;
            bound = false;
        }
    }
    freeaddrinfo(info);
    return bound;
}

void agent_net_close(struct agent_net **owner)
{
    struct agent_net *net = *owner;
    struct stream *stream;
    struct broken *broken;

    if (!net)
        return;
    while ((stream = TAILQ_FIRST(&net->streams)))
        stream_free(stream);
    while ((broken = TAILQ_FIRST(&net->broken))) {
        TAILQ_REMOVE(&net->broken, broken, next);
        cx_free(&broken);
    }
    cx_listener_close(&net->listener);
    if (net->readable)
        event_free(net->readable);
    event_free(net->tell_broken);
    cx_fd_close(&net->fd);
    cx_free(owner);
}

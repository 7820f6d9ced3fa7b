#include <netdb.h>
#include <string.h>

#include "agent.h"
#include "base/text.h"

struct resolve_job {
    struct agent *agent;
    agent_resolved_function *done;
    uint64_t ticket;
    uint16_t port;
    cx_list names;
    struct agent_resolved resolved;
};

static bool to_addr(const struct addrinfo *info, uint16_t port, cx_gossip_addr *addr)
{
    *addr = (cx_gossip_addr){.port = port};
    if (info->ai_family == AF_INET) {
        addr->size = 4;
        memcpy(addr->bytes, &((const struct sockaddr_in *)(const void *)info->ai_addr)->sin_addr,
               4);
        return true;
    }
    if (info->ai_family == AF_INET6) {
        addr->size = 16;
        memcpy(addr->bytes, &((const struct sockaddr_in6 *)(const void *)info->ai_addr)->sin6_addr,
               16);
        return true;
    }
    return false;
}

static bool resolve_one(struct resolve_job *job, const char *name, cx_err *err)
{
    const char *slash = strrchr(name, '/'); /* name/host:port: the name is for people */
    CX_AUTO(cx_free) char *host = NULL;
    struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    uint16_t port;

    if (!cx_parse_host_port(slash ? slash + 1 : name, job->port, &host, &port, err))
        return false;

    int status = getaddrinfo(host, NULL, &wanted, &found);

    if (status != 0)
        return cx_fail(err, CX_UNAVAILABLE, "resolve %s: %s", host, gai_strerror(status));

    struct agent_resolved *resolved = &job->resolved;

    for (struct addrinfo *info = found; info && resolved->count < ADDRESSES_MAX;
         info = info->ai_next)
        if (to_addr(info, port, &resolved->addrs[resolved->count]))
            resolved->count++;
    freeaddrinfo(found);
    return true;
}

static void resolve_work(void *data)
{
    struct resolve_job *job = data;

    for (size_t i = 0; i < job->names.count; i++) {
        cx_err err = {0};

        if (!resolve_one(job, job->names.items[i], &err) && !job->resolved.failed[0])
            memcpy(job->resolved.failed, err.message, sizeof job->resolved.failed - 1);
    }
}

static void resolve_done(void *data)
{
    struct resolve_job *job = data;

    job->done(job->agent, &job->resolved, job->ticket);
    cx_list_free(&job->names);
    cx_free(&job);
}

bool agent_resolve(struct agent *agent, const cx_list *names, uint64_t ticket,
                   agent_resolved_function *done)
{
    struct resolve_job *job = cx_alloc(1, sizeof *job);

    job->agent = agent;
    job->done = done;
    job->ticket = ticket;
    job->port = agent->port;
    for (size_t i = 0; i < names->count; i++)
        cx_list_add(&job->names, names->items[i]);
    if (cx_pool_add(agent->pool, resolve_work, resolve_done, job))
        return true;
    cx_list_free(&job->names);
    cx_free(&job);
    return false;
}

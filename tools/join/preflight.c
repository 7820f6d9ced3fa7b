#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "api/client.h"
#include "ask.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "join.h"
#include "pki/tls.h"

enum {
    CONNECT_MS = 3000,
    ASK_MS = 5000,
    DISK_FREE_MIN_MIB = 512,
    DISK_FREE_MIN_PERCENT = 5,
};

struct preflight_options {
    cx_list seeds;
    int64_t max_skew_ms;
    bool without_certificates;
};

static const cx_option options[] = {
    {"seed", CX_LIST(struct preflight_options, seeds), "HOST:PORT", NULL,
     "gossip address of a member; default: seeds of the configuration"},
    {"max-skew", CX_DURATION(struct preflight_options, max_skew_ms), "DUR", "5s",
     "how far the clocks of two hosts may be apart"},
    {"without-certificates", CX_FLAG(struct preflight_options, without_certificates), NULL, NULL,
     "they come later, by a join token"},
    {0},
};

struct preflight {
    const struct preflight_options *option;
    const cx_config *config;
    const cx_list *seeds;
    json_t *document;
};

/* ---- sockets */

/* Calls try for each address of host:port until one works; the last failure is err. */
static bool each_address(const char *address, uint16_t default_port, int type,
                         bool (*try)(const struct addrinfo *info, const char *address, cx_err *err),
                         cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = type};
    struct addrinfo *found = NULL;
    char service[8];
    uint16_t port;
    bool done = false;

    if (!cx_parse_host_port(address, default_port, &host, &port, err))
        return false;
    snprintf(service, sizeof service, "%u", (unsigned)port);

    int status = getaddrinfo(host, service, &wanted, &found);

    if (status != 0)
        return cx_fail(err, CX_UNAVAILABLE, "resolve %s: %s", host, gai_strerror(status));
    for (struct addrinfo *info = found; info && !done; info = info->ai_next)
        done = try(info, address, err);
    freeaddrinfo(found);
    return done;
}

static bool try_connect(const struct addrinfo *info, const char *address, cx_err *err)
{
    CX_AUTO(cx_fd_close)
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int failure = 0;
    socklen_t size = sizeof failure;

    if (fd < 0)
        return cx_fail_errno(err, "socket");
    if (connect(fd, info->ai_addr, info->ai_addrlen) < 0) {
        if (errno != EINPROGRESS)
            return cx_fail_errno(err, "connect to %s", address);

        struct pollfd wait = {.fd = fd, .events = POLLOUT};

        if (poll(&wait, 1, CONNECT_MS) <= 0)
            return cx_fail(err, CX_TIMEOUT, "connect to %s: no answer in %d s", address,
                           CONNECT_MS / 1000);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
        errno = failure;
        if (failure)
            return cx_fail_errno(err, "connect to %s", address);
    }
    return true;
}

static bool try_bind(const struct addrinfo *info, const char *address, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, 0);
    int yes = 1;

    if (fd < 0)
        return cx_fail_errno(err, "socket");
    if (info->ai_socktype == SOCK_STREAM) /* as the daemons do: a closed connection holds no port */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 ||
        (info->ai_socktype == SOCK_STREAM && listen(fd, 1) < 0))
        return cx_fail_errno(err, "%s (%s)", address,
                             info->ai_socktype == SOCK_STREAM ? "TCP" : "UDP");
    return true;
}

/* ---- the six checks */

static void check_network(struct preflight *preflight)
{
    CX_AUTO(cx_buffer_free) cx_buffer detail = {0};
    size_t reached = 0, others = 0;

    for (size_t i = 0; i < preflight->seeds->count; i++) {
        const char *seed = preflight->seeds->items[i];
        cx_err err = {0};

        if (strcmp(seed, preflight->config->advertise_addr) == 0)
            continue; /* a seed need not reach itself before it is started */
        others++;
        if (each_address(seed, CX_CONFIG_GOSSIP_PORT, SOCK_STREAM, try_connect, &err))
            reached++;
        else
            cx_buffer_addf(&detail, "%s%s", detail.size ? "; " : "", err.message);
    }

    CX_AUTO(cx_free)
    char *text = others == 0
                     ? cx_strdup("no other seed is configured: this host can only start a cluster")
                     : cx_format("%zu of %zu seeds reached%s%s", reached, others,
                                 detail.size ? ": " : "", detail.size ? (char *)detail.data : "");

    join_checks_add(preflight->document, "network_connectivity", others == 0 || reached > 0, text);
}

static void check_certificates(struct preflight *preflight)
{
    const cx_config *config = preflight->config;
    CX_AUTO(cx_free) char *ca = cx_config_cert(config, "ca.crt");
    CX_AUTO(cx_free) char *cert = cx_config_cert(config, "node.crt");
    CX_AUTO(cx_free) char *key = cx_config_cert(config, "node.key");
    CX_AUTO(cx_free) char *crl = cx_config_cert(config, "crl.pem");
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    char until[CX_TIME_TEXT_SIZE];
    cx_err err = {0};

    if (preflight->option->without_certificates && !cx_exists(cert)) {
        join_checks_add(preflight->document, "certificates", true,
                        "none yet: they come with the join token");
        return;
    }
    if (!cx_tls_open(&(cx_tls_files){ca, cert, key, crl, config->cluster}, &tls, &err)) {
        if (err.code == CX_NOT_FOUND)
            cx_hint(&err, "cx-ca issue makes them, or cx-join join by a token");
        join_checks_add_error(preflight->document, "certificates", &err);
        return;
    }

    CX_AUTO(cx_free)
    char *detail = cx_format("valid until %s", cx_time_text(cx_tls_not_after_ms(tls), until));

    join_checks_add(preflight->document, "certificates", true, detail);
}

/* The folder itself, or the nearest one above it that is there: init makes the rest. */
static bool is_usable(const char *path, cx_err *err)
{
    CX_AUTO(cx_free) char *at = cx_strdup(path);

    while (!cx_exists(at)) {
        char *slash = strrchr(at, '/');

        if (!slash || slash == at)
            break;
        *slash = '\0';
    }
    if (access(at, W_OK | X_OK) == 0)
        return true;
    return cx_fail_errno(err, "%s", at);
}

static void check_folders(struct preflight *preflight)
{
    const cx_config *config = preflight->config;
    const char *folders[] = {config->data_dir, config->cert_dir, config->log_dir, config->run_dir};
    CX_AUTO(cx_buffer_free) cx_buffer detail = {0};

    for (size_t i = 0; i < CX_COUNT(folders); i++) {
        cx_err err = {0};

        if (!is_usable(folders[i], &err))
            cx_buffer_addf(&detail, "%s%s", detail.size ? "; " : "", err.message);
    }
    join_checks_add(preflight->document, "data_directories", detail.size == 0,
                    detail.size ? (char *)detail.data : "all can be written");
}

/* A daemon holds its lock as long as it lives: the agent's is in run_dir, the node's in data_dir. */
static bool is_held(const char *path)
{
    CX_AUTO(cx_fd_close) int lock = -1;
    cx_err err = {0};

    return cx_exists(path) && !cx_lock(path, &lock, &err) && err.code == CX_BUSY;
}

static void check_ports(struct preflight *preflight)
{
    const cx_config *config = preflight->config;
    CX_AUTO(cx_free) char *agent_lock = cx_config_run(config, "gossip.lock");
    CX_AUTO(cx_free) char *node_lock = cx_config_data(config, "node.lock");
    const struct {
        const char *address;
        uint16_t port;
        int type;
        const char *lock;
    } ports[] = {
        {config->bind_addr, CX_CONFIG_GOSSIP_PORT, SOCK_DGRAM, agent_lock},
        {config->bind_addr, CX_CONFIG_GOSSIP_PORT, SOCK_STREAM, agent_lock},
        {config->api_addr, CX_API_PORT, SOCK_STREAM, node_lock},
    };
    CX_AUTO(cx_buffer_free) cx_buffer detail = {0};
    bool up = false;

    for (size_t i = 0; i < CX_COUNT(ports); i++) {
        cx_err err = {0};

        if (each_address(ports[i].address, ports[i].port, ports[i].type, try_bind, &err))
            continue;
        if (is_held(ports[i].lock))
            up = true;
        else
            cx_buffer_addf(&detail, "%s%s", detail.size ? "; " : "", err.message);
    }
    join_checks_add(preflight->document, "ports_free", detail.size == 0,
                    detail.size ? (char *)detail.data
                    : up        ? "in use by this node's own daemons, which run already"
                                : "all can be bound");
}

/* Our clock minus a seed's, by the Date of its answer (whole seconds); false when none answered. */
static bool measure_skew(struct preflight *preflight, int64_t *skew_ms, char **peer)
{
    CX_AUTO(cx_api_close) cx_api *api = NULL;
    cx_err err = {0};

    if (!cx_api_open(preflight->config, &api, &err))
        return false;
    for (size_t i = 0; i < preflight->seeds->count; i++) {
        CX_AUTO(cx_free) char *address = NULL;
        CX_AUTO(cx_json_free) json_t *node = NULL;

        if (strcmp(preflight->seeds->items[i], preflight->config->advertise_addr) == 0 ||
            !join_api_address(preflight->seeds->items[i], preflight->config->api_addr, &address,
                              &err))
            continue;

        cx_api_node target = {.node_id = (char *)"", .api_addr = address, .status = (char *)""};
        int64_t before_ms = cx_wall_ms(), there_ms;

        if (!cx_api_call(api, &target, "GET", "/api/v1/node", NULL, ASK_MS, &node, &err) ||
            !cx_time_parse(cx_json_text_or_empty(node, "time"), &there_ms, &err))
            continue;
        *skew_ms = before_ms + (cx_wall_ms() - before_ms) / 2 - there_ms;
        *peer = CX_TAKE(address);
        return true;
    }
    return false;
}

static void check_clock(struct preflight *preflight)
{
    CX_AUTO(cx_free) char *peer = NULL;
    CX_AUTO(cx_free) char *detail = NULL;
    struct timex clock = {0};
    int64_t skew_ms;

    if (measure_skew(preflight, &skew_ms, &peer)) {
        detail = cx_format("%.3f s %s %s's clock", (double)llabs(skew_ms) / 1000.0,
                           skew_ms < 0 ? "behind" : "ahead of", peer);
        join_checks_add(preflight->document, "clock_skew",
                        llabs(skew_ms) <= preflight->option->max_skew_ms, detail);
        return;
    }
    join_checks_add(preflight->document, "clock_skew", true,
                    adjtimex(&clock) >= 0 && !(clock.status & STA_UNSYNC)
                        ? "no member to compare with; the kernel's clock is synchronised"
                        : "no member to compare with, and the kernel's clock is not synchronised");
}

static void check_disk(struct preflight *preflight)
{
    CX_AUTO(cx_free) char *at = cx_strdup(preflight->config->data_dir);
    struct statvfs disk;
    char *slash;

    while (statvfs(at, &disk) < 0 && (slash = strrchr(at, '/')) && slash != at)
        *slash = '\0';
    if (statvfs(at, &disk) < 0) {
        cx_err err = {0};

        cx_fail_errno(&err, "%s", at);
        join_checks_add_error(preflight->document, "disk_space", &err);
        return;
    }

    double free_mib = (double)disk.f_bavail * (double)disk.f_frsize / (1024.0 * 1024.0);
    double percent = disk.f_blocks ? 100.0 * (double)disk.f_bavail / (double)disk.f_blocks : 100.0;
    CX_AUTO(cx_free)
    char *detail = cx_format("%.0f MiB free (%.0f%%) at %s; at least %d MiB and %d%% are wanted",
                             free_mib, percent, at, DISK_FREE_MIN_MIB, DISK_FREE_MIN_PERCENT);

    join_checks_add(preflight->document, "disk_space",
                    free_mib >= DISK_FREE_MIN_MIB && percent >= DISK_FREE_MIN_PERCENT, detail);
}

static bool run_preflight(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *document = join_checks_new();
    struct preflight preflight = {.option = parsed, .document = document};

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err))
        return false;
    preflight.config = config;
    preflight.seeds = preflight.option->seeds.count ? &preflight.option->seeds : &config->seeds;
    check_network(&preflight);
    check_certificates(&preflight);
    check_folders(&preflight);
    check_ports(&preflight);
    check_clock(&preflight);
    check_disk(&preflight);
    run->answer_no = !join_checks_ok(document);
    return cx_emit(run, document, err);
}

const cx_command join_preflight = {
    .name = "preflight",
    .summary = "can this host become a node: network, certificates, folders, ports, clock, disk",
    .options = options,
    .options_size = sizeof(struct preflight_options),
    .run = run_preflight,
};

#include <string.h>

#include "api/client.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "gossip/control.h"

enum {
    INPUT_MAX = 16 * 1024 * 1024, /* of node objects on stdin */
    GOSSIP_TIMEOUT_MS = 3000,     /* a local socket: an agent that is well answers in no time */
    CLUSTER_TIMEOUT_MS = 5000,
};

/* ---- what a document says about nodes */

static bool known(const cx_api_nodes *nodes, const char *node_id, const char *api_addr)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (strcmp(nodes->items[i].node_id, node_id) == 0 &&
            strcmp(nodes->items[i].api_addr, api_addr) == 0)
            return true;
    return false;
}

static bool add_checked(cx_api_nodes *nodes, const char *node_id, const char *api_addr,
                        const char *status, cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port = 0;

    if (node_id[0] == '\0' && api_addr[0] == '\0')
        return cx_fail(err, CX_INVALID, "a node has neither node_id nor api_addr");
    if (node_id[0] != '\0' && !cx_check_id("node_id", node_id, err))
        return false;
    if (api_addr[0] != '\0' && !cx_parse_host_port(api_addr, CX_API_PORT, &host, &port, err))
        return false;
    if (nodes->count >= CX_API_NODES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "more than %d nodes", CX_API_NODES_MAX);
    if (!known(nodes, node_id, api_addr))
        cx_api_nodes_add(nodes, node_id, api_addr, status);
    return true;
}

/* A node object, or a text: its id, or an address. */
static bool add_node(cx_api_nodes *nodes, const json_t *json, cx_err *err)
{
    const char *text = json_string_value(json);

    if (text != NULL)
        return strchr(text, ':') != NULL ? add_checked(nodes, "", text, "", err)
                                         : add_checked(nodes, text, "", "", err);
    if (!json_is_object(json))
        return cx_fail(err, CX_INVALID, "a node is an object or a text");
    return add_checked(nodes, cx_json_text_or_empty(json, "node_id"), cx_api_member_address(json),
                       cx_json_text_or_empty(json, "status"), err);
}

/* One node, a list of nodes, or an object that holds such a list. */
static bool add_document(cx_api_nodes *nodes, const json_t *json, cx_err *err)
{
    const json_t *list = json;
    size_t at;
    json_t *item;

    if (json_is_object(json))
        list =
            json_object_get(json, json_object_get(json, "members") != NULL ? "members" : "nodes");
    if (!json_is_array(list))
        return add_node(nodes, json, err);
    json_array_foreach (list, at, item)
        if (!add_node(nodes, item, err))
            return cx_wrap(err, "nodes[%zu]", at);
    return true;
}

static bool is_blank(cx_bytes line)
{
    for (size_t i = 0; i < line.size; i++)
        if (memchr(" \t\r", line.data[i], 3) == NULL)
            return false;
    return true;
}

static bool add_lines(cx_api_nodes *nodes, cx_bytes text, cx_err *err)
{
    size_t number = 1;

    for (; text.size > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
        CX_AUTO(cx_json_free) json_t *json = NULL;
        cx_bytes line = {text.data, size};

        if (!is_blank(line) && (!cx_json_parse(line, INPUT_MAX, "nodes", &json, err) ||
                                !add_document(nodes, json, err)))
            return cx_wrap(err, "line %zu", number);
        text.data += end != NULL ? size + 1 : size;
        text.size -= end != NULL ? size + 1 : size;
    }
    return true;
}

/* ---- the cluster */

/* A node_id that stands nowhere but was made of the host's name: the config of an operator's own
 * machine, say, which names a node by its address alone. */
static bool has_node_id(const cx_config *config)
{
    CX_AUTO(cx_json_free) json_t *values = cx_config_to_json(config, true);
    const char *origin = cx_json_text_or_empty(json_object_get(values, "node_id"), "origin");

    return strcmp(origin, "derived") != 0 && strcmp(origin, "default") != 0;
}

static void own_node(const cx_config *config, cx_api_node *node)
{
    CX_AUTO(cx_free) char *host = NULL;
    cx_err ignored = {0};
    uint16_t port = 0;

    node->node_id = cx_strdup(has_node_id(config) ? config->node_id : "");
    node->status = cx_strdup("");
    /* An address that binds every interface is no address to connect to. */
    if (cx_parse_host_port(config->api_addr, CX_API_PORT, &host, &port, &ignored) &&
        (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0))
        node->api_addr = cx_format(strcmp(host, "::") == 0 ? "[::1]:%u" : "127.0.0.1:%u", port);
    else
        node->api_addr = cx_strdup(config->api_addr);
}

static void node_free(cx_api_node *node)
{
    cx_free(&node->node_id);
    cx_free(&node->api_addr);
    cx_free(&node->status);
}

/* Members and status in one document, as the node API gives them. */
static bool ask_gossip(cx_api *api, int64_t timeout_ms, json_t **cluster, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_config_run(cx_api_config(api), "gossip.sock");
    CX_AUTO(cx_control_close) cx_control *control = NULL;
    CX_AUTO(cx_json_free) json_t *ask_members = json_pack("{s:s}", "command", "members");
    CX_AUTO(cx_json_free) json_t *ask_status = json_pack("{s:s}", "command", "status");
    CX_AUTO(cx_json_free) json_t *members = NULL;
    CX_AUTO(cx_json_free) json_t *status = NULL;

    if (!cx_control_open(path, timeout_ms, &control, err) ||
        !cx_control_ask(control, ask_members, timeout_ms, &members, err) ||
        !cx_control_ask(control, ask_status, timeout_ms, &status, err))
        return false;
    json_object_set_new(members, "status", CX_TAKE(status));
    *cluster = CX_TAKE(members);
    return true;
}

static bool find_member(cx_api *api, const char *node_id, cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    size_t at;
    json_t *member;

    if (!cx_api_cluster(api, CLUSTER_TIMEOUT_MS, &cluster, err))
        return cx_wrap(err, "find node %s", node_id);
    json_array_foreach (json_object_get(cluster, "members"), at, member)
        if (strcmp(cx_json_text_or_empty(member, "node_id"), node_id) == 0)
            return add_checked(nodes, node_id, cx_api_member_address(member),
                               cx_json_text_or_empty(member, "status"), err);
    cx_fail(err, CX_NOT_FOUND, "no member is named %s", node_id);
    return cx_hint(err, "cx-gossip members lists them; an address has a port: HOST:PORT");
}

static bool find_alive(cx_api *api, cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    size_t at;
    json_t *member;

    if (!cx_api_cluster(api, CLUSTER_TIMEOUT_MS, &cluster, err))
        return cx_wrap(err, "find the members");
    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");

        /* A member without an API address is no node of ours (a serf agent, say). */
        if (strcmp(status, "alive") == 0 && cx_api_member_address(member)[0] != '\0' &&
            !add_checked(nodes, cx_json_text_or_empty(member, "node_id"),
                         cx_api_member_address(member), status, err))
            return false;
    }
    return true;
}

/* Fills in the addresses of nodes that were named by id alone. */
static bool resolve(cx_api *api, cx_api_nodes *nodes, cx_err *err)
{
    for (size_t i = 0; i < nodes->count; i++) {
        cx_api_node *node = &nodes->items[i];
        CX_AUTO(cx_api_nodes_free) cx_api_nodes found = {0};

        if (node->api_addr[0] != '\0')
            continue;
        if (strcmp(node->node_id, cx_api_config(api)->node_id) == 0) {
            node_free(node);
            own_node(cx_api_config(api), node);
            continue;
        }
        if (!find_member(api, node->node_id, &found, err))
            return false;
        cx_free(&node->api_addr);
        cx_free(&node->status);
        node->api_addr = CX_TAKE(found.items[0].api_addr);
        node->status = CX_TAKE(found.items[0].status);
    }
    return true;
}

/* ---- public */

bool cx_api_targets(cx_api *api, const cx_target *target, bool from_stdin, cx_api_nodes *nodes,
                    cx_err *err)
{
    CX_AUTO(cx_api_nodes_free) cx_api_nodes found = {0};

    if ((target->node != NULL) + target->all + from_stdin > 1)
        return cx_fail(err, CX_USAGE, "--node, --all and `-` exclude each other");
    if (from_stdin) {
        CX_AUTO(cx_buffer_free) cx_buffer text = {0};

        if (!cx_read_file("-", INPUT_MAX, &text, err) ||
            !cx_api_nodes_parse(cx_buffer_bytes(&text), &found, err))
            return cx_wrap(err, "nodes on stdin");
        if (found.count == 0)
            return cx_fail(err, CX_INVALID, "no nodes on stdin");
    } else if (target->all) {
        if (!find_alive(api, &found, err))
            return false;
        if (found.count == 0)
            return cx_fail(err, CX_UNAVAILABLE, "no alive member has a node API");
    } else if (target->node != NULL && strchr(target->node, ':') != NULL) {
        if (!add_checked(&found, "", target->node, "", err))
            return cx_wrap(err, "--node");
    } else if (target->node != NULL) {
        if (!add_checked(&found, target->node, "", "", err))
            return cx_wrap(err, "--node");
    } else {
        cx_api_nodes_add(&found, "", "", "");
        node_free(&found.items[0]);
        own_node(cx_api_config(api), &found.items[0]);
    }
    if (!resolve(api, &found, err))
        return false;
    *nodes = found;
    found = (cx_api_nodes){0};
    return true;
}

bool cx_api_nodes_parse(cx_bytes text, cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_err ignored = {0};

    if (cx_json_parse(text, INPUT_MAX, "nodes", &json, &ignored))
        return add_document(nodes, json, err);
    return add_lines(nodes, text, err);
}

bool cx_api_named(cx_api *api, const char *const *names, size_t count, cx_api_nodes *nodes,
                  cx_err *err)
{
    CX_AUTO(cx_api_nodes_free) cx_api_nodes found = {0};

    for (size_t i = 0; i < count; i++) {
        CX_AUTO(cx_json_free) json_t *name = cx_json_text(names[i]);

        if (!add_node(&found, name, err))
            return false;
    }
    if (!resolve(api, &found, err))
        return false;
    *nodes = found;
    found = (cx_api_nodes){0};
    return true;
}

bool cx_api_cluster(cx_api *api, int64_t timeout_ms, json_t **cluster, cx_err *err)
{
    cx_api_node node = {0};
    cx_err gossip = {0};
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    if (ask_gossip(api, timeout_ms < GOSSIP_TIMEOUT_MS ? timeout_ms : GOSSIP_TIMEOUT_MS, cluster,
                   &gossip))
        return true;
    if (gossip.code == CX_INTERRUPTED) {
        *err = gossip;
        return false;
    }
    own_node(cx_api_config(api), &node);

    bool answered = cx_api_call(api, &node, "GET", "/api/v1/cluster", NULL,
                                deadline_ms - cx_now_ms(), cluster, err);

    node_free(&node);
    if (!answered && err->code == CX_UNAVAILABLE) {
        /* Neither is there: the socket is what an operator on this host would look at first. */
        *err = gossip;
        return false;
    }
    return answered;
}

const char *cx_api_member_address(const json_t *member)
{
    const char *address = cx_json_text_or_empty(member, "api_addr");

    if (address[0] != '\0')
        return address;
    return cx_json_text_or_empty(json_object_get(member, "tags"), "api");
}

void cx_api_nodes_add(cx_api_nodes *nodes, const char *node_id, const char *api_addr,
                      const char *status)
{
    nodes->items = cx_realloc(nodes->items, nodes->count + 1, sizeof *nodes->items);
    nodes->items[nodes->count++] = (cx_api_node){
        .node_id = cx_strdup(node_id),
        .api_addr = cx_strdup(api_addr),
        .status = cx_strdup(status),
    };
}

void cx_api_nodes_free(cx_api_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++)
        node_free(&nodes->items[i]);
    cx_free(&nodes->items);
    nodes->count = 0;
}

/* token create, list, revoke: what lets a host join over the network, once. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "commands.h"
#include "config/config.h"
#include "tokens.h"

#define TTL_MAX_MS (INT64_C(30) * 24 * 60 * 60 * 1000)

/* ---- create */

struct create_options {
    ca_key_options ca;
    const char *node_id;
    int64_t ttl_ms;
    const char *url;
};

static const cx_option create_table[] = {
    {"node-id", CX_TEXT(struct create_options, node_id), "ID", NULL, "the node that may join"},
    {"ttl", CX_DURATION(struct create_options, ttl_ms), "DUR", "1h", "how long it works"},
    {"url", CX_TEXT(struct create_options, url), "https://HOST:PORT", NULL,
     "where cx-ca serve is reached (default: the configuration's own address, port 8443)"},
    CA_KEY_OPTIONS(struct create_options, ca),
    {0},
};

/* The host that others reach this one by, with the CA's port. */
static bool own_url(const cx_run *run, char url[CX_TOKEN_URL_MAX + 1], cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port;

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !cx_parse_host_port(config->advertise_addr, CX_CONFIG_GOSSIP_PORT, &host, &port, err))
        return false;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0) {
        cx_fail(err, CX_USAGE, "--url is needed: the configuration names no address of this host");
        return cx_hint(err, "--url https://HOST:%d", CX_CA_PORT);
    }
    snprintf(url, CX_TOKEN_URL_MAX + 1,
             strchr(host, ':') != NULL ? "https://[%s]:%d" : "https://%s:%d", host, CX_CA_PORT);
    return true;
}

static bool set_url(const cx_run *run, const char *given, cx_token *token, cx_err *err)
{
    size_t size;

    if (given == NULL)
        return own_url(run, token->url, err);
    size = strlen(given);
    while (size > 0 && given[size - 1] == '/')
        size--;
    if (strncmp(given, "https://", 8) != 0 || size <= 8 || size > CX_TOKEN_URL_MAX)
        return cx_fail(err, CX_INVALID, "--url: not https://HOST:PORT");
    memcpy(token->url, given, size);
    return true;
}

static bool fill(cx_run *run, const struct create_options *option, const ca_store *store,
                 cx_token *token, cx_err *err)
{
    cx_token_generate(store->now_ms, token);
    memcpy(token->cluster, store->cluster, CX_ID_SIZE);
    memcpy(token->node_id, option->node_id, strlen(option->node_id) + 1);
    cx_cert_fingerprint(store->cert, token->ca_sha256);
    return set_url(run, option->url, token, err);
}

static bool create(cx_run *run, const void *parsed, cx_err *err)
{
    const struct create_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(cx_token_wipe) cx_token token = {0};
    CX_AUTO(cx_free_secret) char *text = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    int64_t expires_at_ms;

    if (option->node_id == NULL)
        return cx_fail(err, CX_USAGE, "--node-id is needed");
    if (option->ttl_ms < 1000 || option->ttl_ms > TTL_MAX_MS)
        return cx_fail(err, CX_USAGE, "--ttl: less than 1s or more than 30d");
    if (!ca_leaf_check_node_id(option->node_id, err) ||
        !ca_store_open(run, &option->ca, &store, err) || !fill(run, option, store, &token, err))
        return false;
    expires_at_ms = store->now_ms + option->ttl_ms;
    if (!run->dry_run && !ca_token_add(store, &token, expires_at_ms, err))
        return false;
    text = cx_token_text(&token);
    document =
        json_pack("{s:b, s:o, s:o, s:s, s:s, s:o}", "changed", true, "token",
                  run->dry_run ? json_null() : json_string(text), "id",
                  run->dry_run ? json_null() : json_string(token.id), "node_id", token.node_id,
                  "url", token.url, "expires_at", cx_json_time(expires_at_ms));
    return cx_emit(run, document, err);
}

const cx_command ca_token_create = {
    .name = "token create",
    .summary = "make a token with which one host joins, once",
    .description =
        "The token holds the CA's address and the hash of its certificate, so that the host "
        "knows the CA before it says anything: cx-join join --token TOKEN.",
    .options = create_table,
    .options_size = sizeof(struct create_options),
    .changes = true,
    .run = create,
};

/* ---- list */

struct list_options {
    ca_place_options place;
    bool all;
};

static const cx_option list_table[] = {
    {"all", CX_FLAG(struct list_options, all), NULL, NULL, "also used, expired and revoked ones"},
    CA_PLACE_OPTIONS(struct list_options, place),
    {0},
};

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    CX_AUTO(cx_json_free) json_t *tokens = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!ca_place_find(run, &option->place, &place, err) || !ca_db_open_read(&place, &db, err) ||
        !ca_token_list(db, cx_wall_ms(), option->all, tokens, err))
        return false;
    document =
        json_pack("{s:O, s:I}", "tokens", tokens, "count", (json_int_t)json_array_size(tokens));
    return cx_emit(run, document, err);
}

const cx_command ca_token_list_command = {
    .name = "token list",
    .summary = "list the tokens that still work",
    .options = list_table,
    .options_size = sizeof(struct list_options),
    .run = list,
};

/* ---- revoke */

struct revoke_options {
    ca_key_options ca;
};

static const cx_option revoke_table[] = {
    CA_KEY_OPTIONS(struct revoke_options, ca),
    {0},
};

static bool revoke(cx_run *run, const void *parsed, cx_err *err)
{
    const struct revoke_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool changed;

    if (!ca_store_open(run, &option->ca, &store, err) ||
        !ca_token_revoke(store, run->args[0], &changed, err))
        return false;
    document = json_pack("{s:b, s:o}", "changed", changed, "id", cx_json_text(run->args[0]));
    return cx_emit(run, document, err);
}

const cx_command ca_token_revoke_command = {
    .name = "token revoke",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "make a token worthless",
    .options = revoke_table,
    .options_size = sizeof(struct revoke_options),
    .changes = true,
    .run = revoke,
};

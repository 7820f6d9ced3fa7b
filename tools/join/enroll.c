/* enroll: a host that has its certificate, but no token, becomes ready to start: the key ring from a
 * member, over mutual TLS as a node, and a configuration where there is none. */
#include <string.h>

#include "admit.h"
#include "api/client.h"
#include "ask.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "pki/cert.h"

enum {
    WAIT_MS = 30000,
    TURN_MS = 500,
    REMARK_MS = 5000, /* while it waits, it says for whom */
};

struct enroll_options {
    struct place_options place;
};

static const cx_option options[] = {
    {"cluster", CX_TEXT(struct enroll_options, place.cluster), "NAME", NULL,
     "the cluster's name; default: the certificate's"},
    {"node-id", CX_TEXT(struct enroll_options, place.node_id), "ID", NULL,
     "this node's name; default: the certificate's"},
    PLACE_OPTIONS(struct enroll_options),
    {0},
};

/* Where no configuration says who this host is, its certificate does. */
static bool take_identity(const cx_config *config, struct place_options *option,
                          cx_identity *identity, cx_err *err)
{
    CX_AUTO(cx_free)
    char *path = cx_path_join(option->cert_dir ? option->cert_dir : config->cert_dir, "node.crt");
    CX_AUTO(cx_cert_free) X509 *cert = NULL;

    if (!cx_cert_read(path, &cert, err)) {
        if (err->code == CX_NOT_FOUND)
            cx_hint(err, "cx-ca issue makes it, or cx-join join by a token");
        return false;
    }
    if (!cx_cert_identity(cert, identity, err))
        return cx_wrap(err, "%s", path);
    if (identity->kind != CX_IDENTITY_NODE)
        return cx_fail(err, CX_CERT_INVALID, "%s speaks for an operator, not for a node", path);
    if (!option->cluster)
        option->cluster = identity->cluster;
    if (!option->node_id)
        option->node_id = identity->name;
    return true;
}

static bool open_tls(const struct place *place, cx_tls **tls, cx_err *err)
{
    CX_AUTO(cx_free) char *ca = place_cert(place, "ca.crt");
    CX_AUTO(cx_free) char *cert = place_cert(place, "node.crt");
    CX_AUTO(cx_free) char *key = place_cert(place, "node.key");
    CX_AUTO(cx_free) char *crl = place_cert(place, "crl.pem");

    return cx_tls_open(&(cx_tls_files){ca, cert, key, crl, place->option->cluster}, tls, err);
}

/* ---- the key ring */

static bool ask_seed(const struct place *place, cx_http *http, cx_tls *tls, const char *seed,
                     json_t **document, cx_err *err)
{
    CX_AUTO(cx_free) char *address = NULL;

    if (!join_api_address(seed, place->option->api_addr, &address, err))
        return false;

    CX_AUTO(cx_free) char *url = cx_format("https://%s/api/v1/cluster/keyring", address);
    struct join_question question = {
        .who = address, .url = url, .timeout_ms = cx_timeout_within(place->run, JOIN_CALL_MS)};

    return join_ask(http, tls, &question, document, err) &&
           admit_check_keyring(json_object_get(*document, "gossip_keyring"), address, err);
}

/* The first seed that has it; err is what the last one said. */
static bool ask_seeds(const struct place *place, const cx_list *seeds, cx_tls *tls,
                      json_t **document, cx_err *err)
{
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();

    for (size_t i = 0; i < seeds->count; i++) {
        cx_json_free(document);
        if (ask_seed(place, http, tls, seeds->items[i], document, err))
            return true;
        if (err->code == CX_INTERRUPTED)
            return false;
    }
    return false;
}

/* Members that are not there yet may come; a refusal stays one. */
static bool is_passing(cx_code code)
{
    return code == CX_UNAVAILABLE || code == CX_TIMEOUT || code == CX_NOT_FOUND;
}

static bool fetch_keyring(const struct place *place, const cx_list *seeds, json_t **document,
                          cx_err *err)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    int64_t deadline_ms = cx_now_ms() + cx_timeout_or(place->run, WAIT_MS);
    int64_t remark_ms = cx_now_ms() + REMARK_MS;

    if (!open_tls(place, &tls, err))
        return false;
    while (!ask_seeds(place, seeds, tls, document, err)) {
        int64_t now_ms = cx_now_ms();

        if (!is_passing(err->code) || now_ms >= deadline_ms)
            return cx_wrap(err, "gossip keys");
        if (now_ms >= remark_ms) {
            cx_remark(place->run, "waiting for a member that hands over the gossip keys: %s",
                      err->message);
            remark_ms = now_ms + REMARK_MS;
        }
        if (!cx_api_pause(TURN_MS, err))
            return false;
    }
    return true;
}

static bool get_keyring(struct place *place, cx_err *err)
{
    const cx_list *seeds =
        place->given->seeds.count ? &place->given->seeds : &place->present->seeds;
    CX_AUTO(cx_free) char *path = place_cert(place, "gossip.keys");
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!place->present->encrypt || cx_exists(path)) {
        place_record(place, "gossip_keyring", false, path);
        return true;
    }
    if (seeds->count == 0) {
        cx_fail(err, CX_USAGE, "no seed is known that could hand over the gossip keys");
        return cx_hint(err, "--seed HOST:PORT, the gossip address of a member");
    }
    if (place->run->dry_run) {
        place_record(place, "gossip_keyring", true, path);
        return true;
    }
    return fetch_keyring(place, seeds, &document, err) &&
           admit_write_keyring(place, json_object_get(document, "gossip_keyring"), err);
}

/* ---- the command */

/* A node that is complete, where nothing is said that could contradict it, is left alone: whoever starts it
 * may write nothing in its folders. */
static bool is_complete(const cx_config *config, const struct place_options *given)
{
    CX_AUTO(cx_free) char *keyring = cx_config_cert(config, "gossip.keys");

    return config->path[0] && place_is_bare(given) && (!config->encrypt || cx_exists(keyring));
}

static bool enroll(cx_run *run, const void *parsed, cx_err *err)
{
    struct place_options option = ((const struct enroll_options *)parsed)->place;
    CX_AUTO(place_close) struct place place = {.lock = -1};
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *result = NULL;
    cx_identity identity;
    cx_list none = {0};

    if (!cx_config_load(run->config_path, true, &config, err))
        return false;
    if (is_complete(config, &option)) {
        result = json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:[]}", "changed", 0, "cluster",
                           config->cluster, "node_id", config->node_id, "config", config->path,
                           "cert_dir", config->cert_dir, "data_dir", config->data_dir, "steps");
        return cx_emit(run, result, err);
    }

    struct place_options checked = option;

    if (config->path[0])
        checked.seeds = none; /* those to ask, whatever the configuration says */
    else if (!take_identity(config, &checked, &identity, err))
        return false;
    if (!place_open(run, &checked, &place, err))
        return false;
    place.given = &option;
    if (!get_keyring(&place, err) || !place_make_folders(&place, err) ||
        !place_write_config(&place, err))
        return false;
    result = place_result(&place);
    return cx_emit(run, result, err);
}

const cx_command join_enroll = {
    .name = "enroll",
    .summary = "with a certificate but no token: the gossip keys from a member, a configuration",
    .description =
        "For a host that has ca.crt, node.crt and node.key. The key ring comes from the node API "
        "of "
        "the first seed that has it (the seed's host, the port of this node's own API), over "
        "mutual TLS as this node. Where there is no configuration, one is written for the node "
        "that "
        "the certificate names. What is there already is kept.",
    .options = options,
    .options_size = sizeof(struct enroll_options),
    .changes = true,
    .run = enroll,
};

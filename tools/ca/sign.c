/* sign: a certificate for a key that was made elsewhere, from a signing request. The request proves
 * its key; names come from the operator. Without --node-id the request's own name is taken, but only
 * while no other key holds a certificate for it. */
#include <string.h>

#include "admission.h"
#include "base/io.h"
#include "base/time.h"
#include "commands.h"
#include "pki/csr.h"

struct sign_options {
    ca_key_options ca;
    const char *node_id;
    const char *operator_name;
    const char *role;
    cx_list sans;
    int64_t validity_ms;
    bool pem;
    bool no_gossip;
    bool force;
};

static const cx_option options[] = {
    {"node-id", CX_TEXT(struct sign_options, node_id), "ID", NULL,
     "for this node (default: the name in the request)"},
    {"operator", CX_TEXT(struct sign_options, operator_name), "NAME", NULL, "for this person"},
    {"role", CX_CHOICE(struct sign_options, role), "viewer|operator|admin", NULL,
     "what the person may do"},
    {"san", CX_LIST(struct sign_options, sans), "DNS:NAME|IP:ADDR", NULL,
     "more alternative names; a node has its own name anyway"},
    {"validity", CX_DURATION(struct sign_options, validity_ms), "DUR", "90d",
     "how long it is valid, at most as long as the CA"},
    {"pem", CX_FLAG(struct sign_options, pem), NULL, NULL, "print the bare certificate"},
    {"force", CX_FLAG(struct sign_options, force), NULL, NULL,
     "a new certificate however much is left of the one that this request got"},
    {"no-gossip", CX_FLAG(struct sign_options, no_gossip), NULL, NULL,
     "leave the gossip key ring and the seeds out"},
    CA_KEY_OPTIONS(struct sign_options, ca),
    {0},
};

/* A name that only the request proposes must not take over what another key holds. */
static bool check_proposed(ca_store *store, const ca_leaf_wish *wish, const EVP_PKEY *key,
                           cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *newest = NULL;
    char uri[CX_URI_SIZE];
    cx_err unused;

    cx_identity_uri(&wish->identity, uri);
    if (!ca_store_newest(store, uri, &newest, err))
        return false;
    if (newest == NULL || cx_cert_not_after_ms(newest) <= store->now_ms ||
        cx_cert_check_key(newest, "", key, "", &unused))
        return true;
    cx_fail(err, CX_EXISTS, "%s has a valid certificate with another key", wish->identity.name);
    return cx_hint(err,
                   "--node-id %s signs it all the same; cx-ca revoke --node-id %s if the old "
                   "host is gone",
                   wish->identity.name, wish->identity.name);
}

/* A node gets what it needs to join gossip too; but a secret is not for a screen. */
static bool add_gossip(cx_run *run, const struct sign_options *option, const ca_store *store,
                       const ca_leaf_wish *wish, json_t *document, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;

    if (option->no_gossip || run->table || run->dry_run || wish->identity.kind != CX_IDENTITY_NODE)
        return true;
    return cx_config_load(run->config_path, run->config_is_default, &config, err) &&
           ca_admission_add_gossip(config, store, document, err);
}

static bool print(cx_run *run, const struct sign_options *option, const ca_store *store,
                  const ca_leaf_wish *wish, X509 *cert, bool changed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    if (option->pem && !run->dry_run)
        return cx_cert_to_pem(cert, &pem, err) && cx_emit_text(run, (const char *)pem.data, err);
    if (!ca_admission_make(store, cert, &wish->identity, changed, &document, err) ||
        !add_gossip(run, option, store, wish, document, err))
        return false;
    if (run->dry_run && changed) {
        json_object_set_new(document, "serial", json_null());
        json_object_del(document, "certificate_pem");
    }
    return cx_emit(run, document, err);
}

static bool sign(cx_run *run, const void *parsed, cx_err *err)
{
    const struct sign_options *option = parsed;
    const char *path = run->arg_count > 0 ? run->args[0] : "-";
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {0};
    CX_AUTO(cx_buffer_free) cx_buffer request = {0};
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    bool is_proposed = option->node_id == NULL && option->operator_name == NULL, changed;
    char name[CX_ID_SIZE];

    if (!cx_read_file(path, CX_CSR_BYTES_MAX, &request, err) ||
        !cx_csr_parse(cx_buffer_bytes(&request), path, &key, name, err))
        return false;
    if (is_proposed && name[0] == '\0')
        return cx_fail(err, CX_USAGE, "the request has no name: --node-id or --operator is needed");
    if (!ca_leaf_wish_make(is_proposed ? name : option->node_id, option->operator_name,
                           option->role, &option->sans, option->validity_ms, &wish, err) ||
        !ca_store_open(run, &option->ca, &store, err))
        return false;
    ca_leaf_wish_bind(&wish, store);
    if ((is_proposed && !check_proposed(store, &wish, key, err)) ||
        !ca_leaf_make(store, key, &wish, "signed", option->force, &cert, &changed, err))
        return false;
    return print(run, option, store, &wish, cert, changed, err);
}

const cx_command ca_sign = {
    .name = "sign",
    .arguments = "[FILE]",
    .arguments_max = 1,
    .summary = "sign a request that was made elsewhere",
    .description =
        "Reads the request (PEM) from FILE or stdin. The same request again gets the same "
        "certificate while it has two thirds of its life left.",
    .options = options,
    .options_size = sizeof(struct sign_options),
    .changes = true,
    .run = sign,
};

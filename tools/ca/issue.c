/* issue: a certificate for a node or an operator, with its key, into a folder. Order: the key, the
 * record, the CA's files, the certificate: before the last step there is no certificate or the old
 * one, after it there is the new one, and the key is always its key. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "commands.h"
#include "leaf.h"

struct issue_options {
    ca_key_options ca;
    const char *node_id;
    const char *operator_name;
    const char *role;
    cx_list sans;
    int64_t validity_ms;
    const char *key_type;
    const char *output;
    bool force;
    bool new_key;
};

static const cx_option options[] = {
    {"node-id", CX_TEXT(struct issue_options, node_id), "ID", NULL, "for this node"},
    {"operator", CX_TEXT(struct issue_options, operator_name), "NAME", NULL, "for this person"},
    {"role", CX_CHOICE(struct issue_options, role), "viewer|operator|admin", NULL,
     "what the person may do"},
    {"san", CX_LIST(struct issue_options, sans), "DNS:NAME|IP:ADDR", NULL,
     "more alternative names; a node has its own name anyway"},
    {"validity", CX_DURATION(struct issue_options, validity_ms), "DUR", "90d",
     "how long it is valid, at most as long as the CA"},
    {"key-type", CX_CHOICE(struct issue_options, key_type), "p256|p384|ed25519", "p256",
     "kind of a new key; a key that is there is kept"},
    {"output", CX_TEXT(struct issue_options, output), "DIR", NULL,
     "folder for node.crt, node.key (operator.…), ca.crt and crl.pem"},
    {"force", CX_FLAG(struct issue_options, force), NULL, NULL,
     "a new certificate even if a valid one, or another's, is there"},
    {"new-key", CX_FLAG(struct issue_options, new_key), NULL, NULL,
     "a new key too: until it is done there is no certificate"},
    CA_KEY_OPTIONS(struct issue_options, ca),
    {0},
};

/* A certificate of somebody else is not overwritten unasked. */
static bool check_owner(const ca_store *store, const struct issue_options *option,
                        const ca_leaf_wish *wish, const ca_leaf_files *files, X509 *cert,
                        cx_err *err)
{
    cx_identity identity = {0};
    cx_err unused;

    if (option->force)
        return true;
    if (!cx_cert_identity(cert, &identity, &unused) || identity.kind != wish->identity.kind ||
        strcmp(identity.name, wish->identity.name) != 0) {
        cx_fail(err, CX_EXISTS, "%s is the certificate of %s", files->cert,
                identity.name[0] != '\0' ? identity.name : "somebody else");
        return cx_hint(err, "choose another --output; --force replaces it");
    }
    if (!cx_cert_is_signed_by(cert, store->cert)) {
        cx_fail(err, CX_EXISTS, "%s is signed by another CA", files->cert);
        return cx_hint(err, "--force replaces it");
    }
    return true;
}

/* The certificate that is there, NULL when there is none. */
static bool read_current(const struct issue_options *option, const ca_leaf_files *files,
                         X509 **cert, cx_err *err)
{
    if (!cx_exists(files->cert) || cx_cert_read(files->cert, cert, err) || option->force)
        return true;
    return cx_hint(err, "--force replaces it");
}

static bool make(const struct issue_options *option, ca_store *store, const ca_leaf_wish *wish,
                 const ca_leaf_files *files, X509 **cert, bool *changed, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *current = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    bool matches = false, is_new;
    cx_key_type type;

    /* Everything that can be refused is, before anything is made. */
    if (!cx_key_type_parse(option->key_type, &type, err) ||
        (!option->force && !ca_leaf_check_ca_file(store, files, err)) ||
        !read_current(option, files, &current, err) ||
        (current != NULL && !check_owner(store, option, wish, files, current, err)) ||
        !ca_leaf_take_key(store, files, type, option->new_key, &key, changed, err) ||
        (current != NULL && !ca_leaf_matches(store, current, key, wish, &matches, err)))
        return false;
    if (matches && !option->force) {
        *cert = CX_TAKE(current);
        return ca_leaf_publish(store, files, NULL, changed, err);
    }
    *changed = true;
    return ca_leaf_make(store, key, wish, "issued", option->force, cert, &is_new, err) &&
           ca_leaf_publish(store, files, *cert, changed, err);
}

static void add_paths(json_t *document, const ca_leaf_files *files, const ca_store *store,
                      bool changed)
{
    json_object_set_new(document, "certificate", cx_json_text(files->cert));
    json_object_set_new(document, "key", cx_json_text(files->key));
    json_object_set_new(document, "ca_certificate", cx_json_text(files->ca));
    if (changed && store->dry_run)
        json_object_set_new(document, "serial", json_null());
}

static bool issue(cx_run *run, const void *parsed, cx_err *err)
{
    const struct issue_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {0};
    CX_AUTO(ca_leaf_files_close) ca_leaf_files files = {.lock = -1};
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool changed = false;

    if (option->output == NULL)
        return cx_fail(err, CX_USAGE, "--output DIR is needed");
    if (!ca_leaf_wish_make(option->node_id, option->operator_name, option->role, &option->sans,
                           option->validity_ms, &wish, err) ||
        !ca_store_open(run, &option->ca, &store, err))
        return false;
    ca_leaf_wish_bind(&wish, store);
    if (!ca_leaf_files_open(run, option->output, wish.identity.kind, &files, err) ||
        !make(option, store, &wish, &files, &cert, &changed, err))
        return false;
    if (changed && cx_cert_not_after_ms(cert) < store->now_ms + wish.validity_ms - 1000)
        cx_remark(run, "the certificate ends with the CA's, before --validity");
    document = ca_leaf_describe(cert, &wish.identity, changed);
    add_paths(document, &files, store, changed);
    return cx_emit(run, document, err);
}

const cx_command ca_issue = {
    .name = "issue",
    .summary = "make a certificate and its key for a node or an operator",
    .description =
        "A valid certificate that is there already and is what is asked for stays: changed is "
        "false. A new certificate is for the key that is there, if there is one.",
    .options = options,
    .options_size = sizeof(struct issue_options),
    .changes = true,
    .run = issue,
};

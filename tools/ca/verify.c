/* verify: would this certificate be accepted? The same code as in a handshake judges it. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "commands.h"
#include "config/config.h"
#include "pki/trust.h"
#include "store.h"

struct verify_options {
    ca_place_options place;
    const char *cert;
    const char *key;
    const char *crl;
    const char *purpose;
    const char *cluster;
    const char *node_id;
};

static const cx_option options[] = {
    {"cert", CX_TEXT(struct verify_options, cert), "FILE", NULL, "the certificate"},
    {"key", CX_TEXT(struct verify_options, key), "FILE", NULL, "its key: do they match?"},
    {"crl", CX_TEXT(struct verify_options, crl), "FILE", NULL,
     "revocation list (default: crl.pem beside the CA's certificate, if it is there)"},
    {"purpose", CX_CHOICE(struct verify_options, purpose), "any|server|client", "any",
     "what it is to be used for"},
    {"cluster", CX_TEXT(struct verify_options, cluster), "NAME", NULL,
     "the cluster it must be of (default: the CA's)"},
    {"node-id", CX_TEXT(struct verify_options, node_id), "ID", NULL, "the node it must be of"},
    CA_PLACE_OPTIONS(struct verify_options, place),
    {0},
};

/* The CA's certificate and list to judge by, in new memory: those of the CA if they are here, else
 * what a node has: in its cert_dir, or beside the certificate. */
static bool find_trust(const cx_run *run, const struct verify_options *option, char **ca,
                       char **crl, cx_err *err)
{
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_free) char *folder = NULL;

    if (!ca_place_find(run, &option->place, &place, err))
        return false;
    *ca = cx_strdup(place.cert);
    if (!cx_exists(*ca) && option->place.ca_dir == NULL && option->place.ca_cert == NULL &&
        option->place.ca_key == NULL) {
        folder = ca_folder_of(option->cert);
        cx_free(ca);
        *ca = cx_path_join(folder, "ca.crt");
    } else {
        folder = ca_folder_of(*ca);
    }
    *crl = option->crl != NULL ? cx_strdup(option->crl) : cx_path_join(folder, "crl.pem");
    if (option->crl != NULL && !cx_exists(option->crl))
        return cx_fail(err, CX_NOT_FOUND, "--crl %s: no such file", option->crl);
    return true;
}

static cx_purpose purpose_of(const char *word)
{
    if (strcmp(word, "server") == 0)
        return CX_PURPOSE_SERVER;
    return strcmp(word, "client") == 0 ? CX_PURPOSE_CLIENT : CX_PURPOSE_ANY;
}

/* The CA's own record is newer than any list. False only when it can't be read. */
static bool check_record(const cx_run *run, const struct verify_options *option, X509 *cert,
                         bool *revoked, cx_err *err)
{
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    char serial[CX_SERIAL_SIZE];

    *revoked = false;
    if (!ca_place_find(run, &option->place, &place, err))
        return false;
    if (!cx_exists(place.db))
        return true;
    cx_cert_serial(cert, serial);
    return ca_db_open_read(&place, &db, err) && ca_db_is_revoked(db, serial, revoked, err);
}

/* The verdict: code CX_OK or what a peer would refuse it for. False when it can't be judged. */
static bool judge(const cx_run *run, const struct verify_options *option, const cx_trust *trust,
                  X509 *cert, cx_err *verdict, cx_err *err)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    char cluster[CX_ID_SIZE];
    cx_err is_none;
    bool revoked;

    *verdict = (cx_err){0};
    if (cx_cert_cluster(cert, cluster, &is_none)) {
        cx_fail(
            verdict, CX_CERT_INVALID,
            "this is the certificate of the CA of cluster %s, which signs others; a node's or a "
            "person's is wanted",
            cluster);
        return true;
    }
    if (!check_record(run, option, cert, &revoked, err) ||
        (option->key != NULL && !cx_key_read(option->key, NULL, &key, err)))
        return false;
    if (!cx_trust_verify(trust, cert, purpose_of(option->purpose), option->node_id, verdict) ||
        (key != NULL && !cx_cert_check_key(cert, option->cert, key, option->key, verdict)))
        return true;
    if (revoked)
        cx_fail(verdict, CX_REVOKED, "certificate is revoked in the CA's record");
    return true;
}

static json_t *kind_json(X509 *cert)
{
    char cluster[CX_ID_SIZE];
    cx_identity identity;
    cx_err unused;

    if (cx_cert_cluster(cert, cluster, &unused))
        return json_string("ca");
    if (!cx_cert_identity(cert, &identity, &unused))
        return json_null();
    return json_string(identity.kind == CX_IDENTITY_NODE ? "node" : "operator");
}

static json_t *describe(const cx_trust *trust, X509 *cert, const cx_err *verdict)
{
    bool valid = verdict->code == CX_OK;
    cx_identity identity;
    char uri[CX_URI_SIZE], serial[CX_SERIAL_SIZE];
    int64_t stale_ms = cx_trust_crl_stale_since(trust, cx_wall_ms());
    json_t *document = json_pack("{s:b, s:o, s:s}", "valid", valid, "reason",
                                 valid ? json_null() : cx_json_text(verdict->message), "code",
                                 cx_code_word(verdict->code));
    cx_err unused;

    cx_cert_serial(cert, serial);
    json_object_set_new(document, "serial", json_string(serial));
    json_object_set_new(document, "kind", kind_json(cert));
    if (cx_cert_identity(cert, &identity, &unused)) {
        cx_identity_uri(&identity, uri);
        json_object_set_new(document, "uri", json_string(uri));
    } else {
        json_object_set_new(document, "uri", json_null());
    }
    json_object_set_new(document, "not_after", cx_json_time(cx_cert_not_after_ms(cert)));
    json_object_set_new(document, "crl_stale_since",
                        stale_ms != 0 ? cx_json_time(stale_ms) : json_null());
    return document;
}

static bool verify(cx_run *run, const void *parsed, cx_err *err)
{
    const struct verify_options *option = parsed;
    CX_AUTO(cx_free) char *ca = NULL;
    CX_AUTO(cx_free) char *crl = NULL;
    CX_AUTO(cx_trust_close) cx_trust *trust = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_err verdict;

    if (option->cert == NULL)
        return cx_fail(err, CX_USAGE, "--cert FILE is needed");
    if (!cx_cert_read(option->cert, &cert, err) || !find_trust(run, option, &ca, &crl, err) ||
        !cx_trust_open(ca, crl, option->cluster, &trust, err) ||
        !judge(run, option, trust, cert, &verdict, err))
        return false;
    document = describe(trust, cert, &verdict);
    run->answer_no = verdict.code != CX_OK;
    return cx_emit(run, document, err);
}

const cx_command ca_verify = {
    .name = "verify",
    .summary = "tell whether a certificate would be accepted, and why not",
    .description =
        "Checks the chain, the dates, the revocation list, the purpose and the identity. "
        "Exit status 1 when it would be refused.",
    .options = options,
    .options_size = sizeof(struct verify_options),
    .run = verify,
};

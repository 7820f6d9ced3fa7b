/* join: by a token, over the network. The CA is known by the hash in the token before anything is
 * said to it; the key is made here and stays here. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "admit.h"
#include "ask.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "pki/tls.h"
#include "pki/token.h"

struct join_options {
    const char *token, *token_file, *node_id;
    struct place_options place;
};

static const cx_option options[] = {
    {"token", CX_TEXT(struct join_options, token), "T", NULL,
     "what cx-ca token create printed; single-use, yet others see it in the list of processes: "
     "--token-file hides it"},
    {"token-file", CX_TEXT(struct join_options, token_file), "FILE", NULL,
     "the token in a file, `-` for standard input"},
    {"node-id", CX_TEXT(struct join_options, node_id), "ID", NULL,
     "this node's name; default, and the only one allowed: the token's"},
    PLACE_OPTIONS(struct join_options),
    {0},
};

/* ---- the token */

static bool take_token(const struct join_options *option, cx_token *token, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer file = {0};

    if (!option->token == !option->token_file)
        return cx_fail(err, CX_USAGE, "one of --token and --token-file is needed");
    if (option->token_file) {
        if (!cx_read_file(option->token_file, CX_TOKEN_TEXT_MAX, &file, err))
            return false;
        cx_buffer_add(&file, "", 1);
    }
    if (!cx_token_parse(option->token ? option->token : (const char *)file.data, token, err))
        return false;
    if (option->node_id && strcmp(option->node_id, token->node_id) != 0) {
        cx_fail(err, CX_TOKEN_INVALID, "the token is for node %s, not for %s", token->node_id,
                option->node_id);
        return cx_hint(err, "cx-ca token create --node-id %s makes one", option->node_id);
    }
    return true;
}

/* ---- the CA */

static int accept_certificate(X509_STORE_CTX *context, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(context, X509_V_OK); /* libcurl asks for it too */
    return 1;
}

/* Nothing secret is asked or told before the hash is compared, so any certificate will do. */
static bool accept_any(void *ssl_ctx, void *arg, cx_err *err)
{
    (void)arg, (void)err;
    SSL_CTX_set_cert_verify_callback(ssl_ctx, accept_certificate, NULL);
    SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_3_VERSION);
    return true;
}

/* The CA's certificate, known by its hash. */
static bool fetch_ca(const cx_run *run, cx_http *http, const cx_token *token, cx_buffer *pem,
                     cx_err *err)
{
    CX_AUTO(cx_free) char *url = cx_format("%s/ca.crt", token->url);
    CX_AUTO(cx_http_answer_free) cx_http_answer answer = {0};
    CX_AUTO(cx_cert_free) X509 *ca = NULL;
    char fingerprint[CX_FINGERPRINT_SIZE];
    cx_http_request request = {.url = url,
                               .answer_max = CX_CERTS_BYTES_MAX,
                               .timeout_ms = cx_timeout_within(run, JOIN_CALL_MS),
                               .tls_hook = accept_any};

    if (!cx_http_do(http, &request, &answer, err))
        return cx_wrap(err, "CA");
    if (answer.status != 200)
        return cx_fail(err, CX_UNAVAILABLE, "CA: %s answered with status %d", url, answer.status);
    if (!cx_cert_from_pem(cx_buffer_bytes(&answer.body), url, &ca, err))
        return false;
    cx_cert_fingerprint(ca, fingerprint);
    if (strcmp(fingerprint, token->ca_sha256) != 0) {
        cx_fail(err, CX_CERT_INVALID,
                "the CA at %s is not the token's: its certificate has SHA-256 %.16s…, the token "
                "says %.16s…",
                token->url, fingerprint, token->ca_sha256);
        return cx_hint(err, "somebody stands between, or the token is of another cluster");
    }
    return cx_cert_to_pem(ca, pem, err);
}

/* The CA's certificate in a file for the TLS context; it goes when the context is made. */
static bool open_tls(const cx_buffer *ca_pem, const char *cluster, cx_tls **tls, cx_err *err)
{
    const char *folder = getenv("TMPDIR");
    CX_AUTO(cx_free)
    char *path = cx_path_join(folder && folder[0] ? folder : "/tmp", "cx-join-ca-XXXXXX");
    CX_AUTO(cx_fd_close) int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        return cx_fail_errno(err, "%s", path);

    bool opened = cx_write_all(fd, cx_buffer_bytes(ca_pem), path, err) &&
                  cx_tls_open(&(cx_tls_files){.ca = path, .cluster = cluster}, tls, err);

    unlink(path);
    return opened;
}

static bool ask(const cx_run *run, cx_http *http, cx_tls *tls, const cx_token *token,
                const char *csr, json_t **document, cx_err *err)
{
    CX_AUTO(cx_free) char *url = cx_format("%s/join", token->url);
    CX_AUTO(cx_json_free)
    json_t *json = json_pack("{s:s, s:s, s:s, s:s}", "token_id", token->id, "secret", token->secret,
                             "node_id", token->node_id, "csr_pem", csr);
    CX_AUTO(cx_free_secret) char *body = cx_json_line(json);
    struct join_question question = {.who = "CA",
                                     .url = url,
                                     .body = cx_bytes_of(body),
                                     .peer_id = CX_CA_SERVER_NAME,
                                     .timeout_ms = cx_timeout_within(run, JOIN_CALL_MS)};

    return join_ask(http, tls, &question, document, err) || cx_wrap(err, "join");
}

/* ---- the command */

/* A node that has joined already has a certificate of this cluster and name. */
static bool is_joined(const struct place *place, const cx_token *token)
{
    CX_AUTO(cx_free) char *ca = place_cert(place, "ca.crt");
    CX_AUTO(cx_free) char *cert = place_cert(place, "node.crt");
    CX_AUTO(cx_free) char *key = place_cert(place, "node.key");
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(cx_cert_free) X509 *leaf = NULL;
    cx_identity identity;
    cx_err ignored = {0};

    return cx_exists(place->config_path) &&
           cx_tls_open(&(cx_tls_files){ca, cert, key, NULL, token->cluster}, &tls, &ignored) &&
           cx_cert_read(cert, &leaf, &ignored) && cx_cert_identity(leaf, &identity, &ignored) &&
           strcmp(identity.name, token->node_id) == 0;
}

/* What only the CA's own answer says. */
static bool is_refusal(cx_code code)
{
    return code == CX_TOKEN_INVALID || code == CX_TOKEN_EXPIRED || code == CX_TOKEN_USED ||
           code == CX_REVOKED || code == CX_PERMISSION;
}

/* With a key of our own, ask and write; a refusal takes the key away again. */
static bool be_admitted(struct place *place, const cx_token *token, cx_http *http, cx_tls *tls,
                        cx_err *err)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *csr = NULL;
    CX_AUTO(cx_free) char *key_path = place_cert(place, "node.key");
    bool made;

    if (!admit_key(place, &key, &made, err) || !admit_request(key, token->node_id, &csr, err))
        return false;
    if (!ask(place->run, http, tls, token, csr, &document, err)) {
        cx_err ignored = {0};

        /* Unless the CA itself refused, the token may be spent, and the same key may ask again. */
        if (made && is_refusal(err->code))
            (void)!cx_remove_file(key_path, &ignored);
        return false;
    }
    if (!admit_write(place, key, document, err))
        return false;
    return place_write_config(place, err);
}

/* A dry run does not spend the token: it looks at everything up to the question. */
static bool join_by_token(struct place *place, const cx_token *token, cx_err *err)
{
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer ca_pem = {0};

    if (!fetch_ca(place->run, http, token, &ca_pem, err) ||
        !open_tls(&ca_pem, token->cluster, &tls, err))
        return false;
    if (place->run->dry_run) {
        place_record(place, "node_certificate", true, place->cert_dir);
        return place_write_config(place, err);
    }
    return place_make_folders(place, err) && be_admitted(place, token, http, tls, err);
}

static bool join(cx_run *run, const void *parsed, cx_err *err)
{
    const struct join_options *option = parsed;
    struct place_options place_option = option->place;
    CX_AUTO(place_close) struct place place = {.lock = -1};
    CX_AUTO(cx_token_wipe) cx_token token = {0};
    CX_AUTO(cx_json_free) json_t *result = NULL;

    if (!take_token(option, &token, err))
        return false;
    place_option.cluster = token.cluster;
    place_option.node_id = token.node_id;
    if (!place_open(run, &place_option, &place, err) ||
        (!is_joined(&place, &token) && !join_by_token(&place, &token, err)))
        return false;
    result = place_result(&place);
    return cx_emit(run, result, err);
}

const cx_command join_join = {
    .name = "join",
    .summary = "by a token: key, certificate, gossip keys, configuration, ready to start",
    .description = "The private key is made on this host and never leaves it. Run again after an "
                   "interruption, it finishes; on a node that has joined it changes nothing.",
    .options = options,
    .options_size = sizeof(struct join_options),
    .changes = true,
    .run = join,
};

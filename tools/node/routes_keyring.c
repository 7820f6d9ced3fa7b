/* /api/v1/cluster/keyring: what a host that has its certificate still lacks to speak with the members: the
 * keys by which gossip is encrypted. For certificates of nodes alone, which hold them anyway; each
 * read is a line of the audit log. */
#include "base/io.h"
#include "call.h"
#include "pki/key.h"

enum { KEYRING_BYTES_MAX = 64 * 1024 };

/* Read at each call, as the agent may have changed the keys. NOT_FOUND when this node has none. */
static bool read_keyring(const cx_config *config, json_t **keyring, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_config_cert(config, "gossip.keys");
    CX_AUTO(cx_secret_free) cx_buffer text = {0};

    if (!config->encrypt)
        return cx_fail(err, CX_NOT_FOUND, "gossip of this cluster is not encrypted");
    if (!cx_exists(path))
        return cx_fail(err, CX_NOT_FOUND, "this node has no gossip keys");
    return cx_read_secret_file(path, KEYRING_BYTES_MAX, &text, err) &&
           cx_json_parse(cx_buffer_bytes(&text), KEYRING_BYTES_MAX, path, keyring, err);
}

void node_get_keyring(node_call *call)
{
    json_t *keyring = NULL;
    cx_err err;

    call->dry_run = false; /* it would leave no line in the audit log */
    if (!read_keyring(call->node->config, &keyring, &err)) {
        node_answer_error(call, &err);
        return;
    }
    node_answer(
        call, 200,
        json_pack("{s:s, s:o}", "cluster", call->node->config->cluster, "gossip_keyring", keyring));
}

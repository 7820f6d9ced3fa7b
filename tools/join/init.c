#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "pki/cert.h"
#include "place.h"

enum { KEY_BYTES = 32, ARGUMENTS_MAX = 48 };

struct init_options {
    struct place_options place;
    cx_list sans;
    bool no_ca;
};

static const cx_option options[] = {
    {"cluster", CX_TEXT(struct init_options, place.cluster), "NAME", NULL,
     "the cluster's name; default: caxton"},
    {"node-id", CX_TEXT(struct init_options, place.node_id), "ID", NULL, "this node's name"},
    PLACE_OPTIONS(struct init_options),
    {"san", CX_LIST(struct init_options, sans), "DNS:x|IP:y", NULL,
     "a further name of the node's certificate"},
    {"no-ca", CX_FLAG(struct init_options, no_ca), NULL, NULL,
     "make no CA and no certificates: they come from elsewhere"},
    {0},
};

static bool make_keyring(struct place *place, cx_err *err)
{
    uint8_t key[KEY_BYTES];

    cx_random(key, sizeof key);

    CX_AUTO(cx_free_secret) char *base64 = cx_base64((cx_bytes){key, sizeof key});
    CX_AUTO(cx_free_secret) char *text = cx_format("[\n  \"%s\"\n]\n", base64);

    explicit_bzero(key, sizeof key);
    return place_create(place, "gossip_keyring", "gossip.keys", 0600, cx_bytes_of(text), err);
}

static bool run_ca(struct place *place, const char *step, const char *const *arguments,
                   const char *path, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *answer = NULL;

    if (place->run->dry_run) {
        place_record(place, step, !cx_exists(path), path);
        return true;
    }
    if (!join_run_tool("cx-ca", arguments, &answer, err))
        return false;
    place_record(place, step, json_is_true(json_object_get(answer, "changed")), path);
    return true;
}

/* Names that a run before this one was given. */
static void add_present_sans(const char *path, cx_list *sans)
{
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_list_free) cx_list present = {0};
    cx_err ignored = {0};

    if (!cx_cert_read(path, &cert, &ignored))
        return;
    cx_cert_sans(cert, &present);
    for (size_t i = 0; i < present.count; i++)
        if (!cx_list_has(sans, present.items[i]))
            cx_list_add(sans, present.items[i]);
}

static bool make_node_certificate(struct place *place, const char *ca_dir, const cx_list *more,
                                  cx_err *err)
{
    CX_AUTO(cx_free) char *path = place_cert(place, "node.crt");
    CX_AUTO(cx_list_free) cx_list sans = {0};
    const char *arguments[ARGUMENTS_MAX] = {"issue",        "--node-id", place->option->node_id,
                                            "--ca-dir",     ca_dir,      "--output",
                                            place->cert_dir};
    size_t count = 7;

    place_sans(place->option, &sans);
    for (size_t i = 0; i < more->count; i++)
        if (!cx_list_has(&sans, more->items[i]))
            cx_list_add(&sans, more->items[i]);
    if (more->count == 0)
        add_present_sans(path, &sans);
    for (size_t i = 0; i < sans.count; i++) {
        if (count + 2 >= ARGUMENTS_MAX)
            return cx_fail(err, CX_USAGE, "--san: more than %d names", (ARGUMENTS_MAX - 8) / 2);
        arguments[count++] = "--san";
        arguments[count++] = sans.items[i];
    }
    return run_ca(place, "node_certificate", arguments, path, err);
}

static bool make_certificates(struct place *place, const cx_list *sans, cx_err *err)
{
    CX_AUTO(cx_free) char *ca_dir = place_cert(place, "ca");
    CX_AUTO(cx_free) char *ca_cert = cx_path_join(ca_dir, "ca.crt");
    CX_AUTO(cx_free) char *operator_cert = place_cert(place, "operator.crt");
    const char *ca[] = {"init", "--cluster", place->option->cluster, "--ca-dir", ca_dir, NULL};
    const char *admin[] = {"issue",    "--operator", "admin",    "--role",        "admin",
                           "--ca-dir", ca_dir,       "--output", place->cert_dir, NULL};

    return run_ca(place, "ca", ca, ca_cert, err) &&
           make_node_certificate(place, ca_dir, sans, err) &&
           run_ca(place, "operator_certificate", admin, operator_cert, err);
}

static bool init_node(cx_run *run, const void *parsed, cx_err *err)
{
    const struct init_options *option = parsed;
    CX_AUTO(place_close) struct place place = {.lock = -1};
    CX_AUTO(cx_json_free) json_t *result = NULL;

    if (!place_open(run, &option->place, &place, err) || !place_make_folders(&place, err) ||
        !make_keyring(&place, err) ||
        (!option->no_ca && !make_certificates(&place, &option->sans, err)) ||
        !place_write_config(&place, err))
        return false;
    result = place_result(&place);
    return cx_emit(run, result, err);
}

const cx_command join_init = {
    .name = "init",
    .summary = "make the first node: folders, CA, certificates, gossip keys, configuration",
    .description = "Writes the file that --config names. What is there already is kept: run again, "
                   "it finishes what is missing and reports \"changed\": false when nothing is.",
    .options = options,
    .options_size = sizeof(struct init_options),
    .changes = true,
    .run = init_node,
};

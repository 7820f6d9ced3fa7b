/* show: what is in PEM files. */
#include "pki/show.h"

#include "base/io.h"
#include "base/time.h"
#include "commands.h"
#include "pki/cert.h"
#include "pki/key.h"

static bool show_file(const char *path, int64_t now_ms, json_t *items, cx_err *err)
{
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};

    return cx_read_file(path, CX_CERTS_BYTES_MAX, &pem, err) &&
           cx_show_pem(cx_buffer_bytes(&pem), path, now_ms, items, err);
}

static bool show(cx_run *run, const void *parsed, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *items = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    int64_t now_ms = cx_wall_ms();

    (void)parsed;
    for (size_t i = 0; i < run->arg_count; i++)
        if (!show_file(run->args[i], now_ms, items, err))
            return false;
    document = json_pack("{s:O, s:I}", "items", items, "count", (json_int_t)json_array_size(items));
    return cx_emit(run, document, err);
}

const cx_command ca_show = {
    .name = "show",
    .arguments = "FILE…",
    .arguments_min = 1,
    .summary = "print what is in PEM files, as JSON",
    .description =
        "Certificates, signing requests, revocation lists and keys; of a private key only "
        "its kind. `-` reads stdin.",
    .run = show,
};

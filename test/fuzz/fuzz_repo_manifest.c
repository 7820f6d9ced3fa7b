/* Manifests: what is taken is written again, and taken again. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "repo/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    CX_AUTO(cx_manifest_free) cx_manifest *again = NULL;
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_free) char *text = NULL;
    cx_err err;

    if (!cx_manifest_parse((cx_bytes){data, size}, "fuzz", &manifest, &err))
        return 0;
    json = cx_manifest_to_json(manifest);
    if (json == NULL)
        abort();
    text = cx_json_line(json);
    if (!cx_manifest_parse(cx_bytes_of(text), "again", &again, &err) ||
        strcmp(manifest->id, again->id) != 0)
        abort();
    return 0;
}

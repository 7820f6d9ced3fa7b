/* Any bytes as a JSON document: refused with an error, or read, printed and read again as the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void any_bytes_become_text(cx_bytes bytes)
{
    CX_AUTO(cx_json_free) json_t *text = cx_json_text_n((const char *)bytes.data, bytes.size);
    CX_AUTO(cx_free) char *line = cx_json_line(text);
    CX_AUTO(cx_json_free) json_t *again = NULL;
    cx_err err;

    assert(json_is_string(text));
    assert(cx_json_parse(cx_bytes_of(line), SIZE_MAX, "again", &again, &err));
    assert(json_equal(text, again));
}

static bool has_reals(const json_t *json)
{
    const char *key;
    json_t *value;
    size_t at;

    json_object_foreach ((json_t *)json, key, value)
        if (has_reals(value))
            return true;
    json_array_foreach (json, at, value)
        if (has_reals(value))
            return true;
    return json_is_real(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cx_bytes bytes = {data, size};
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_json_free) json_t *again = NULL;
    CX_AUTO(cx_free) char *line = NULL;
    cx_err err = {0};
    cx_err peer = {0};

    any_bytes_become_text(bytes);
    if (!cx_json_parse(bytes, 4096, "input", &json, &err)) {
        assert(json == NULL && (err.code == CX_MALFORMED || err.code == CX_TOO_LARGE));
        return 0;
    }
    line = cx_json_line(json);
    assert(strchr(line, '\n') == NULL);
    assert(cx_json_parse(cx_bytes_of(line), SIZE_MAX, "again", &again, &err));
    assert(has_reals(json) || json_equal(json, again)); /* 15 digits of a real are kept */
    assert(!cx_err_from_json(json, &peer) && peer.code != CX_OK);
    return 0;
}

/* Any text as a condition: refused, or printed as JSON and read again as the same condition. */
#include <assert.h>
#include <string.h>

#include "config/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_free) char *text = cx_strndup((const char *)data, size);
    CX_AUTO(cx_free) char *again = NULL;
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_condition condition = {0};
    cx_condition reread = {0};
    cx_err err = {0};

    if (!cx_condition_parse(text, &condition, &err)) {
        assert(err.code == CX_INVALID);
        return 0;
    }
    json = cx_condition_to_json(&condition);
    assert(json != NULL);
    again = cx_format("%s %s", condition.name, condition.threshold);
    assert(cx_condition_parse(again, &reread, &err));
    assert(strcmp(condition.threshold, reread.threshold) == 0);
    assert(condition.compare == reread.compare);
    assert(cx_condition_holds(&condition, 1, 2) == cx_condition_holds(&reread, 1, 2));
    return 0;
}

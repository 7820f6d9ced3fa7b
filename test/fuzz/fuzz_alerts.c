/* Any bytes as the saved state of the alerts: refused, or kept as it was over another save. */
#include <assert.h>

#include "health/alert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_alerts_close) cx_alerts *alerts = cx_alerts_open("prod", "node-1");
    CX_AUTO(cx_alerts_close) cx_alerts *reread = cx_alerts_open("prod", "node-1");
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_json_free) json_t *saved = NULL;
    CX_AUTO(cx_json_free) json_t *again = NULL;
    cx_alert_rules no_rules = {0};
    CX_AUTO(cx_list_free) cx_list nobody = {0};
    CX_AUTO(cx_json_free) json_t *notices = json_array();
    cx_err err = {0};

    if (!cx_json_parse((cx_bytes){data, size}, 1024 * 1024, "state", &json, &err) ||
        !cx_alerts_from_json(alerts, json, &err))
        return 0;
    saved = cx_alerts_to_json(alerts);
    assert(saved != NULL);
    assert(cx_alerts_from_json(reread, saved, &err));
    again = cx_alerts_to_json(reread);
    assert(json_equal(saved, again));
    for (size_t i = 0; i < alerts->count; i++) {
        CX_AUTO(cx_json_free) json_t *shown = cx_alert_to_json(alerts->items[i]);

        assert(shown != NULL);
    }
    cx_alerts_sift(alerts, &no_rules, NULL, 0, INT64_C(1700000000000));
    cx_alerts_tell(alerts, &no_rules, &nobody, INT64_C(1700000000000), notices);
    return 0;
}

#include "lease/holder.h"

#include "base/mem.h"

char *cx_lease_holder_text(const json_t *holder)
{
    const char *owner = cx_json_text_or_empty(holder, "owner");
    const char *host = cx_json_text_or_empty(holder, "host");
    const char *reason = cx_json_text_or_empty(holder, "reason");
    json_int_t pid = json_integer_value(json_object_get(holder, "pid"));

    return cx_format("%s on %s (process %lld)%s%s", owner[0] != '\0' ? owner : "somebody",
                     host[0] != '\0' ? host : "an unknown host", (long long)pid,
                     reason[0] != '\0' ? ": " : "", reason);
}

/* Who holds a lease, in words. */
#pragma once

#include "base/json.h"

/* "operator/alice/x on host-1 (process 4711): reason" of a holder as the API tells it. Caller owns. */
char *cx_lease_holder_text(const json_t *holder);

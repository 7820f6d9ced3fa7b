/* Node lists on stdin, and checks that must not depend on what a node says. */
#include <stddef.h>
#include <stdint.h>

#include "api/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    cx_err err = {0};

    (void)!cx_api_nodes_parse((cx_bytes){data, size}, &nodes, &err);
    return 0;
}

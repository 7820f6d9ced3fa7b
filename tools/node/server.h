/* Server: the management API's door. Every request comes through here: who asks, may they, which
 * handler; and every refusal leaves here, logged and audited. */
#pragma once

#include "node.h"

CX_MUST_CHECK bool node_server_open(node_self *node, cx_err *err);

/* cx-node: the reference Caxton node. */
#include "commands.h"

static const cx_command *const commands[] = {
    &node_run,    &node_status, &node_checkpoint,   &node_compact,
    &node_schema, &node_check,  &node_audit_verify, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("the reference Caxton node: agents, durable queues, management API",
                        commands, argc, argv);
}

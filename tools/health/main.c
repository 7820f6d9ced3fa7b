#include "health.h"

static const cx_command *const commands[] = {
    &health_node, &health_cluster, &health_agents, &health_certs, &health_all, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("is the cluster well", commands, argc, argv);
}

#include "health.h"
#include "watch.h"

static const cx_command *const commands[] = {
    &health_node,      &health_cluster,     &health_agents, &health_certs,
    &health_all,       &health_watch,       &health_alerts, &health_silence,
    &health_unsilence, &health_test_action, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("is the cluster well, and who is told when it is not", commands, argc,
                        argv);
}

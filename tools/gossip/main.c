#include "gossip.h"
#include "gossip/control.h"

static const cx_command *const commands[] = {
    &gossip_agent,      &gossip_members,       &gossip_status, &gossip_join,    &gossip_leave,
    &gossip_rejoin,     &gossip_remove,        &gossip_ping,   &gossip_monitor, &gossip_tags_set,
    &gossip_tags_unset, &gossip_keys_generate, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("membership of the cluster (SWIM, the memberlist protocol)", commands, argc,
                        argv);
}

#include "agents.h"

static const cx_command *const commands[] = {
    &agents_list,   &agents_count,   &agents_show,   &agents_slow,    &agents_deploy,
    &agents_remove, &agents_suspend, &agents_resume, &agents_restart, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("agents of a node or of the cluster", commands, argc, argv);
}

#include "join.h"

static const cx_command *const commands[] = {
    &join_preflight, &join_init, &join_join,   &join_csr, &join_install,
    &join_enroll,    &join_wait, &join_verify, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("make this host a node of a cluster", commands, argc, argv);
}

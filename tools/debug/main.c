#include "debug.h"

static const cx_command *const commands[] = {&debug_trace, &debug_profile, &debug_dump, NULL};

int main(int argc, char **argv)
{
    return cx_tool_main("looks into a cluster that runs", commands, argc, argv);
}

#include "bundle.h"

static const cx_command *const commands[] = {&bundle_collect, &bundle_inspect, NULL};

int main(int argc, char **argv)
{
    return cx_tool_main("what somebody needs who is to find a fault from afar, without secrets",
                        commands, argc, argv);
}

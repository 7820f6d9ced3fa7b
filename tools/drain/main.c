#include "drain.h"

static const cx_command *const commands[] = {
    &drain_enter, &drain_exit, &drain_status, &drain_wait, NULL,
};

int main(int argc, char **argv)
{
    return cx_tool_main("take a node out of service and back: drain and maintenance", commands,
                        argc, argv);
}

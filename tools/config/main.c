/* cx-config: the configuration and the policies that are in force, as JSON. */
#include "commands.h"

int main(int argc, char **argv)
{
    static const cx_command *const commands[] = {
        &config_show, &config_get, &config_check, &config_policy, &config_keys, NULL,
    };

    return cx_tool_main("show and check the configuration and the policies", commands, argc, argv);
}

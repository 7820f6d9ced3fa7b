/* cx-restore: brings back what cx-backup made. */
#include "restore.h"

int main(int argc, char **argv)
{
    static const cx_command *const commands[] = {
        &restore_plan, &restore_run, &restore_verify, &restore_drill, NULL,
    };

    return cx_tool_main("restore a node from its backups", commands, argc, argv);
}

/* cx-backup: backups that plain tools can read. */
#include "backup.h"

int main(int argc, char **argv)
{
    static const cx_command *const commands[] = {
        &backup_keygen, &backup_kit,   &backup_kit_check, &backup_create, &backup_list,
        &backup_show,   &backup_ls,    &backup_diff,      &backup_dump,   &backup_verify,
        &backup_copy,   &backup_prune, &backup_run,       &backup_status, NULL,
    };

    return cx_tool_main("back up a node, look after its backups", commands, argc, argv);
}

/* cx-ca: the cluster's certificate authority. */
#include "commands.h"

int main(int argc, char **argv)
{
    static const cx_command *const commands[] = {
        &ca_init,
        &ca_issue,
        &ca_sign,
        &ca_renew,
        &ca_revoke,
        &ca_crl,
        &ca_list,
        &ca_show,
        &ca_verify,
        &ca_audit_verify,
        &ca_token_create,
        &ca_token_list_command,
        &ca_token_revoke_command,
        &ca_serve,
        NULL,
    };

    return cx_tool_main("the cluster's certificate authority", commands, argc, argv);
}

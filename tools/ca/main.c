/* cx-ca: the cluster's certificate authority. */
#include "commands.h"

int main(int argc, char **argv)
{
    static const cx_command *const commands[] = {
        &ca_init, &ca_issue, &ca_sign,   &ca_renew,        &ca_revoke, &ca_crl,
        &ca_list, &ca_show,  &ca_verify, &ca_audit_verify, NULL,
    };

    return cx_tool_main("the cluster's certificate authority", commands, argc, argv);
}

/* The commands of cx-ca, one file each. */
#pragma once

#include "base/cli.h"

extern const cx_command ca_init;
extern const cx_command ca_issue;
extern const cx_command ca_sign;
extern const cx_command ca_renew;
extern const cx_command ca_revoke;
extern const cx_command ca_crl;
extern const cx_command ca_list;
extern const cx_command ca_show;
extern const cx_command ca_verify;
extern const cx_command ca_audit_verify;
extern const cx_command ca_token_create;
extern const cx_command ca_token_list_command;
extern const cx_command ca_token_revoke_command;
extern const cx_command ca_serve;

/* Revocation: the CA's list as a file. The list is recorded before it is published, so that a run
 * that was cut short is finished by the next one, and no number is used twice. */
#pragma once

#include "store.h"

typedef struct ca_crl_result {
    bool changed;
    int64_t number;
    int64_t this_update_ms;
    int64_t next_update_ms;
    size_t count;
} ca_crl_result;

/* Brings crl.pem up to date: a new list when something was revoked since the last one, when half of
 * its life is over, or when `anew`. What an older list revokes and the record doesn't know (it came
 * from a backup) is recorded again first. */
CX_MUST_CHECK bool ca_crl_update(ca_store *store, int64_t life_ms, bool anew, ca_crl_result *result,
                                 cx_err *err);
json_t *ca_crl_describe(const ca_store *store, const ca_crl_result *result);

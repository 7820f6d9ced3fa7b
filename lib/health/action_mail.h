/* Mail by SMTP (libcurl): STARTTLS, TLS or plain, as the action says. For lib/health/action.c. */
#pragma once

#include "health/action.h"

/* `password` is NULL or the file's text. */
CX_MUST_CHECK bool cx_action_mail(const json_t *definition, const json_t *notices,
                                  const char *password, int64_t timeout_ms,
                                  cx_action_outcome *outcome, cx_err *err);

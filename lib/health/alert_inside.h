/* Inside the alerts: the set, for alert*.c only; the contract is health/alert.h. Pure. */
#pragma once

#include "health/alert.h"

cx_alert *cx_alerts_at(const cx_alerts *alerts, const char *key); /* NULL: none */
/* A new alert with this key, pending; NULL at the limit. */
cx_alert *cx_alerts_add(cx_alerts *alerts, const char *name, const char *subject);
void cx_alerts_remove(cx_alerts *alerts, cx_alert *alert);
/* The notice of a key, made when there is none. */
cx_alert_notice *cx_alerts_notice_of(cx_alerts *alerts, const char *key);
void cx_alerts_notice_remove(cx_alerts *alerts, const char *key);
void cx_alert_say(cx_alert *alert, const char *message);
/* Copies a text that cx_check_id has let through or that is cut to fit. */
void cx_alert_copy(char *to, size_t size, const char *from);

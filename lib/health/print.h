/* Checks in the words of monitoring systems. Pure: checks in, text out. */
#pragma once

#include "health/check.h"

/* The lines of a Nagios plugin: one that says all ("CX CRITICAL - 1 of 5: …|perfdata"), then one a
 * check that is not ok. */
void cx_health_nagios(const json_t *checks, cx_buffer *text);
/* The line when nothing could be looked at: "CX UNKNOWN - why". */
void cx_health_nagios_unknown(const char *why, cx_buffer *text);
/* Prometheus text format: cx_check_status (0 ok, 1 warning, 2 critical, 3 unknown) and, for numbers,
 * cx_check_value, each with the labels scope, node_id, name. A check that is there twice counts once. */
void cx_health_prometheus(const json_t *checks, cx_buffer *text);

typedef struct cx_health_label {
    const char *name, *value; /* the value may be any text */
} cx_health_label;
/* One sample; `labels` ends with one whose name is NULL. */
void cx_health_sample(cx_buffer *text, const char *metric, double value,
                      const cx_health_label *labels);

/* Notices (health/alert.h) in the words of their receivers: one line for people, JSON for programs.
 *
 * Pure. Texts come from nodes and policies: each is put so that it can't be anything but text where
 * it stands (no markup for Slack, no second header line for mail). */
#pragma once

#include "base/json.h"

/* "[FIRING] node_down node-3: no answer (critical, since 2026-…)"; caller owns. */
char *cx_notice_line(const json_t *notice);
/* "[prod] 2 alerts firing, 1 resolved: node_down node-3, …", one line; caller owns. */
char *cx_notices_title(const json_t *notices);

/* {"version":1,"cluster","watcher","status":"firing|resolved","title","alerts":[notice…]}: of a webhook
 * and on an exec's stdin. status is firing when any of them is. New reference, as the next three. */
json_t *cx_notices_document(const json_t *notices);
/* {"text"} and, where it is given, "channel": Slack's incoming webhook. */
json_t *cx_notices_slack(const json_t *notices, const char *channel);
/* PagerDuty Events API v2, one notice: trigger or resolve, with the alert's key as dedup_key. The
 * caller adds routing_key. */
json_t *cx_notice_pagerduty(const json_t *notice);
/* Alertmanager v2, POST /api/v2/alerts: a list. What fires ends by itself at ends_at unless it is
 * told again. */
json_t *cx_notices_alertmanager(const json_t *notices, int64_t ends_at_ms);
/* An RFC 5322 message with CRLF; date: as RFC 5322 has it. Its Message-ID is the first notice's id.
 * INVALID: an address that would be more than one. */
CX_MUST_CHECK bool cx_notices_mail(const json_t *notices, const char *from, const json_t *to,
                                   const char *date, cx_buffer *mail, cx_err *err);

#include "health/action_words.h"

#include <string.h>

#include "base/text.h"

enum { TITLE_MAX = 200, SUMMARY_MAX = 1024 /* PagerDuty's own limit */ };

static const char *text_of(const json_t *notice, const char *key)
{
    return cx_json_text_or_empty(notice, key);
}

static bool is_firing(const json_t *notice)
{
    return strcmp(text_of(notice, "status"), "firing") == 0;
}

/* ---- for people */

char *cx_notice_line(const json_t *notice)
{
    bool firing = is_firing(notice);
    bool again = json_is_true(json_object_get(notice, "again"));

    return cx_format("[%s] %s %s: %s (%s, since %s)",
                     !firing ? "RESOLVED"
                     : again ? "STILL FIRING"
                             : "FIRING",
                     text_of(notice, "name"), text_of(notice, "subject"),
                     text_of(notice, "message"), text_of(notice, "severity"),
                     text_of(notice, "since"));
}

static void add_names(const json_t *notices, cx_buffer *text)
{
    size_t at;
    json_t *notice;

    json_array_foreach (notices, at, notice) {
        if (text->size > TITLE_MAX) {
            cx_buffer_add_text(text, ", …");
            return;
        }
        cx_buffer_addf(text, "%s%s %s", at > 0 ? ", " : "", text_of(notice, "name"),
                       text_of(notice, "subject"));
    }
}

char *cx_notices_title(const json_t *notices)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    size_t firing = 0, at;
    json_t *notice;

    json_array_foreach (notices, at, notice)
        firing += is_firing(notice);

    size_t resolved = json_array_size(notices) - firing;

    cx_buffer_addf(&text, "[%s] ", text_of(json_array_get(notices, 0), "cluster"));
    if (firing > 0)
        cx_buffer_addf(&text, "%zu %s firing", firing, firing == 1 ? "alert" : "alerts");
    if (resolved > 0)
        cx_buffer_addf(&text, "%s%zu resolved", firing > 0 ? ", " : "", resolved);
    cx_buffer_add_text(&text, ": ");
    add_names(notices, &text);
    return cx_buffer_take_text(&text);
}

/* ---- for programs */

json_t *cx_notices_document(const json_t *notices)
{
    CX_AUTO(cx_free) char *title = cx_notices_title(notices);
    const json_t *first = json_array_get(notices, 0);
    bool firing = false;
    size_t at;
    json_t *notice;

    json_array_foreach (notices, at, notice)
        firing |= is_firing(notice);
    return json_pack("{s:i, s:s, s:s, s:s, s:o, s:O}", "version", 1, "cluster",
                     text_of(first, "cluster"), "watcher", text_of(first, "watcher"), "status",
                     firing ? "firing" : "resolved", "title", cx_json_text(title), "alerts",
                     notices);
}

/* Slack's three characters. */
static void add_slack(cx_buffer *text, const char *from)
{
    for (; *from != '\0'; from++)
        switch (*from) {
        case '&': cx_buffer_add_text(text, "&amp;"); break;
        case '<': cx_buffer_add_text(text, "&lt;"); break;
        case '>': cx_buffer_add_text(text, "&gt;"); break;
        default: cx_buffer_add(text, from, 1);
        }
}

json_t *cx_notices_slack(const json_t *notices, const char *channel)
{
    CX_AUTO(cx_free) char *title = cx_notices_title(notices);
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    json_t *document;
    size_t at;
    json_t *notice;

    cx_buffer_add_text(&text, "*");
    add_slack(&text, title);
    cx_buffer_add_text(&text, "*");
    json_array_foreach (notices, at, notice) {
        CX_AUTO(cx_free) char *line = cx_notice_line(notice);

        cx_buffer_add_text(&text, "\n");
        add_slack(&text, line);
        if (text_of(notice, "runbook")[0] != '\0') {
            cx_buffer_add_text(&text, " runbook: ");
            add_slack(&text, text_of(notice, "runbook"));
        }
    }
    document = json_pack("{s:o}", "text", cx_json_text_n((const char *)text.data, text.size));
    if (channel[0] != '\0')
        json_object_set_new(document, "channel", cx_json_text(channel));
    return document;
}

json_t *cx_notice_pagerduty(const json_t *notice)
{
    CX_AUTO(cx_free) char *line = cx_notice_line(notice);
    const char *severity = text_of(notice, "severity");

    return json_pack("{s:s, s:s, s:s, s:{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:O}}", "event_action",
                     is_firing(notice) ? "trigger" : "resolve", "dedup_key", text_of(notice, "key"),
                     "client", "cx", "payload", "summary",
                     cx_json_text_n(line, strlen(line) < SUMMARY_MAX ? strlen(line) : SUMMARY_MAX),
                     "source", text_of(notice, "subject"), "severity",
                     severity[0] != '\0' ? severity : "info", "timestamp", text_of(notice, "at"),
                     "component", text_of(notice, "subject"), "group", text_of(notice, "cluster"),
                     "class", text_of(notice, "name"), "custom_details", notice);
}

json_t *cx_notices_alertmanager(const json_t *notices, int64_t ends_at_ms)
{
    json_t *list = json_array();
    size_t at;
    json_t *notice;

    json_array_foreach (notices, at, notice)
        json_array_append_new(
            list,
            json_pack("{s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s}, s:s, s:o}", "labels",
                      "alertname", text_of(notice, "name"), "severity", text_of(notice, "severity"),
                      "cluster", text_of(notice, "cluster"), "subject", text_of(notice, "subject"),
                      "annotations", "summary", text_of(notice, "message"), "description",
                      text_of(notice, "description"), "runbook", text_of(notice, "runbook"),
                      "startsAt", text_of(notice, "since"), "endsAt",
                      is_firing(notice) ? cx_json_time(ends_at_ms)
                                        : json_incref(json_object_get(notice, "at"))));
    return list;
}

/* ---- mail */

/* One address and nothing else: what could begin another header or another recipient is refused. */
static bool check_address(const char *address, cx_err *err)
{
    return cx_is_mail_address(address) ||
           cx_fail(err, CX_INVALID, "\"%.64s\" is no mail address", address);
}

/* Header text: plain where it is ASCII, else encoded words (RFC 2047), each of whole characters. */
static void add_header_text(cx_buffer *mail, const char *text)
{
    enum { PIECE_MAX = 42 }; /* 75 characters with what stands around it */
    bool plain = true;

    for (const char *at = text; *at != '\0'; at++)
        plain &= *at >= ' ' && *at < 0x7F;
    if (plain) {
        cx_buffer_add_text(mail, text);
        return;
    }
    while (*text != '\0') {
        size_t size = strnlen(text, PIECE_MAX);

        while (size > 1 && ((unsigned char)text[size] & 0xC0) == 0x80)
            size--;

        CX_AUTO(cx_free) char *piece = cx_base64((cx_bytes){(const uint8_t *)text, size});

        cx_buffer_addf(mail, "=?UTF-8?B?%s?=%s", piece, text[size] != '\0' ? "\r\n " : "");
        text += size;
    }
}

/* Base64 in lines: any text is safe in it, and no line is too long. */
static void add_body(cx_buffer *mail, cx_bytes body)
{
    enum { LINE = 76 };
    CX_AUTO(cx_free) char *text = cx_base64(body);

    for (const char *at = text; *at != '\0';) {
        size_t size = strnlen(at, LINE);

        cx_buffer_add(mail, at, size);
        cx_buffer_add_text(mail, "\r\n");
        at += size;
    }
}

static bool add_recipients(cx_buffer *mail, const json_t *to, cx_err *err)
{
    size_t at;
    json_t *address;

    cx_buffer_add_text(mail, "To: ");
    json_array_foreach (to, at, address) {
        const char *text = json_is_string(address) ? json_string_value(address) : "";

        if (!check_address(text, err))
            return false;
        cx_buffer_addf(mail, "%s%s", at > 0 ? ",\r\n " : "", text);
    }
    cx_buffer_add_text(mail, "\r\n");
    return true;
}

bool cx_notices_mail(const json_t *notices, const char *from, const json_t *to, const char *date,
                     cx_buffer *mail, cx_err *err)
{
    CX_AUTO(cx_free) char *title = cx_notices_title(notices);
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};
    const json_t *first = json_array_get(notices, 0);
    size_t at;
    json_t *notice;

    if (!check_address(from, err))
        return false;
    cx_buffer_addf(mail, "From: %s\r\n", from);
    if (!add_recipients(mail, to, err))
        return false;
    cx_buffer_addf(mail, "Date: %s\r\nMessage-ID: <%s@%s.cx>\r\nAuto-Submitted: auto-generated\r\n",
                   date, text_of(first, "id"), text_of(first, "cluster"));
    cx_buffer_add_text(mail, "Subject: ");
    add_header_text(mail, title);
    cx_buffer_add_text(mail, "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                             "Content-Transfer-Encoding: base64\r\n\r\n");
    json_array_foreach (notices, at, notice) {
        CX_AUTO(cx_free) char *line = cx_notice_line(notice);

        cx_buffer_addf(&body, "%s\r\n", line);
        if (text_of(notice, "description")[0] != '\0')
            cx_buffer_addf(&body, "  %s\r\n", text_of(notice, "description"));
        if (text_of(notice, "runbook")[0] != '\0')
            cx_buffer_addf(&body, "  runbook: %s\r\n", text_of(notice, "runbook"));
    }
    cx_buffer_addf(&body, "\r\ntold by %s; key %s\r\n", text_of(first, "watcher"),
                   text_of(first, "key"));
    add_body(mail, cx_buffer_bytes(&body));
    return true;
}

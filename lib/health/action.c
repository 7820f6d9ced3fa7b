#include "health/action.h"

#include <string.h>
#include <sysexits.h>

#include "base/http.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/time.h"
#include "health/action_mail.h"
#include "health/action_words.h"

enum {
    SECRET_MAX = 8 * 1024,
    ANSWER_MAX = 64 * 1024,
    OUTPUT_MAX = 16 * 1024,
    SAID_MAX = 200, /* of an answer, in a message */
    DOUBLINGS_MAX = 16,
};

/* A firing alert that nobody tells again ends by itself in Alertmanager: long after a person saw it. */
static const int64_t alertmanager_ends_ms = INT64_C(7) * 86400 * 1000;

static const char *text_of(const json_t *object, const char *key)
{
    return cx_json_text_or_empty(object, key);
}

static int64_t timeout_of(const json_t *definition)
{
    double seconds = json_number_value(json_object_get(definition, "timeout_seconds"));

    return seconds > 0 ? (int64_t)(seconds * 1000) : 10000;
}

/* The first line of a secret's file; *secret stays NULL when the definition names none. */
static bool read_secret(const json_t *definition, const char *key, char **secret, cx_err *err)
{
    const char *path = text_of(definition, key);
    cx_buffer data = {0};
    bool read;

    if (path[0] == '\0')
        return true;
    read = cx_read_secret_file(path, SECRET_MAX, &data, err);
    if (read) {
        *secret = cx_strndup((const char *)data.data, data.size);
        (*secret)[strcspn(*secret, "\r\n")] = '\0';
    }
    if (data.data != NULL)
        explicit_bzero(data.data, data.capacity);
    cx_buffer_free(&data);
    if (read && (*secret)[0] == '\0')
        return cx_fail(err, CX_CONFIG, "%s is empty", path);
    return read || cx_wrap(err, "%s", key);
}

/* ---- HTTP */

/* What the receiver says to its refusal, without anything that steers a terminal. */
static char *said(const cx_http_answer *answer)
{
    char *text = cx_strndup((const char *)answer->body.data,
                            answer->body.size < SAID_MAX ? answer->body.size : SAID_MAX);

    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7F)
            *at = ' ';
    return text;
}

static bool judge(const cx_http_answer *answer, cx_action_outcome *outcome, cx_err *err)
{
    CX_AUTO(cx_free) char *words = NULL;

    outcome->status = answer->status;
    if (answer->status >= 200 && answer->status < 300)
        return true;
    outcome->passing = answer->status >= 500 || answer->status == 408 || answer->status == 429;
    words = answer->body.size > 0 ? said(answer) : cx_strdup("");
    return cx_fail(err, outcome->passing ? CX_UNAVAILABLE : CX_INVALID, "HTTP status %d%s%s",
                   answer->status, words[0] != '\0' ? ": " : "", words);
}

/* `url` may be a secret: it is in no message. */
static bool post(const char *url, const char *const *headers, const json_t *document,
                 int64_t timeout_ms, cx_action_outcome *outcome, cx_err *err)
{
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_http_answer_free) cx_http_answer answer = {0};
    CX_AUTO(cx_free) char *body = cx_json_line(document);
    cx_http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = cx_bytes_of(body),
        .answer_max = ANSWER_MAX,
        .answer_cut = true,
        .timeout_ms = timeout_ms,
        .verify_by_name = strncmp(url, "https:", 6) == 0,
    };

    if (!cx_http_do(http, &request, &answer, err)) {
        outcome->passing = err->code != CX_INVALID;
        return false;
    }
    return judge(&answer, outcome, err);
}

static bool send_json(const json_t *definition, const char *url, const json_t *notices,
                      const json_t *document, cx_action_outcome *outcome, cx_err *err)
{
    CX_AUTO(cx_free_secret) char *token = NULL;
    CX_AUTO(cx_free_secret) char *bearer = NULL;
    CX_AUTO(cx_free)
    char *key = cx_format("Idempotency-Key: %s", text_of(json_array_get(notices, 0), "id"));
    const char *headers[4] = {"Content-Type: application/json", key};

    if (!read_secret(definition, "token_file", &token, err))
        return false;
    if (token != NULL)
        headers[2] = bearer = cx_format("Authorization: Bearer %s", token);
    return post(url, headers, document, timeout_of(definition), outcome, err);
}

static bool send_webhook(const json_t *definition, const json_t *notices,
                         cx_action_outcome *outcome, cx_err *err)
{
    CX_AUTO(cx_free_secret) char *secret_url = NULL;
    CX_AUTO(cx_json_free) json_t *document = cx_notices_document(notices);

    if (!read_secret(definition, "url_file", &secret_url, err))
        return false;
    return send_json(definition, secret_url != NULL ? secret_url : text_of(definition, "url"),
                     notices, document, outcome, err);
}

static bool send_slack(const json_t *definition, const json_t *notices, cx_action_outcome *outcome,
                       cx_err *err)
{
    CX_AUTO(cx_free_secret) char *url = NULL;
    CX_AUTO(cx_json_free)
    json_t *document = cx_notices_slack(notices, text_of(definition, "channel"));

    if (!read_secret(definition, "url_file", &url, err))
        return false;
    return send_json(definition, url, notices, document, outcome, err);
}

static bool send_pagerduty(const json_t *definition, const json_t *notices,
                           cx_action_outcome *outcome, cx_err *err)
{
    CX_AUTO(cx_free_secret) char *routing_key = NULL;
    CX_AUTO(cx_json_free) json_t *event = cx_notice_pagerduty(json_array_get(notices, 0));

    if (!read_secret(definition, "routing_key_file", &routing_key, err))
        return false;
    json_object_set_new(event, "routing_key", cx_json_text(routing_key));
    return send_json(definition, text_of(definition, "url"), notices, event, outcome, err);
}

static bool send_alertmanager(const json_t *definition, const json_t *notices,
                              cx_action_outcome *outcome, cx_err *err)
{
    const char *base = text_of(definition, "url");
    size_t size = strlen(base);
    CX_AUTO(cx_free)
    char *url = cx_format("%.*s/api/v2/alerts",
                          (int)(size > 0 && base[size - 1] == '/' ? size - 1 : size), base);
    CX_AUTO(cx_json_free)
    json_t *list = cx_notices_alertmanager(notices, cx_wall_ms() + alertmanager_ends_ms);

    return send_json(definition, url, notices, list, outcome, err);
}

/* ---- programs, mail, log */

static void add_environment(cx_list *env, const json_t *notice)
{
    static const struct {
        const char *name, *key;
    } rows[] = {
        {"ID", "id"},           {"KEY", "key"},       {"NAME", "name"},
        {"SUBJECT", "subject"}, {"STATUS", "status"}, {"SEVERITY", "severity"},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++)
        cx_list_take(env, cx_format("CX_ALERT_%s=%s", rows[i].name, text_of(notice, rows[i].key)));
}

static const char **texts_of(const json_t *list)
{
    const char **texts = cx_alloc(json_array_size(list) + 1, sizeof *texts);
    size_t at;
    json_t *text;

    json_array_foreach (list, at, text)
        texts[at] = json_string_value(text);
    return texts;
}

static bool send_exec(const json_t *definition, const json_t *notices, cx_action_outcome *outcome,
                      cx_err *err)
{
    CX_AUTO(cx_free) const char **argv = texts_of(json_object_get(definition, "command"));
    CX_AUTO(cx_list_free) cx_list env = {0};
    CX_AUTO(cx_json_free) json_t *document = cx_notices_document(notices);
    CX_AUTO(cx_free) char *input = cx_json_line(document);
    CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
    CX_AUTO(cx_free) const char **env_texts = NULL;

    add_environment(&env, json_array_get(notices, 0));
    env_texts = cx_alloc(env.count + 1, sizeof *env_texts);
    for (size_t i = 0; i < env.count; i++)
        env_texts[i] = env.items[i];
    if (!cx_proc_run(&(cx_proc_spec){.argv = argv,
                                     .env = env_texts,
                                     .input = cx_bytes_of(input),
                                     .timeout_ms = timeout_of(definition),
                                     .output_max = OUTPUT_MAX},
                     &result, err))
        return false;
    outcome->status = result.status;
    outcome->passing = result.timed_out || result.status == EX_TEMPFAIL;
    if (result.timed_out)
        return cx_fail(err, CX_TIMEOUT, "%s took too long", argv[0]);
    return result.status == 0 ||
           cx_fail(err, CX_INVALID, "%s: exit status %d", argv[0], result.status);
}

static bool send_mail(const json_t *definition, const json_t *notices, cx_action_outcome *outcome,
                      cx_err *err)
{
    CX_AUTO(cx_free_secret) char *password = NULL;

    return read_secret(definition, "password_file", &password, err) &&
           cx_action_mail(definition, notices, password, timeout_of(definition), outcome, err);
}

static void write_log(const char *name, const json_t *notices, const cx_log *log)
{
    size_t at;
    json_t *notice;

    json_array_foreach (notices, at, notice) {
        CX_AUTO(cx_free) char *line = cx_notice_line(notice);

        cx_log_write(log, strcmp(text_of(notice, "status"), "firing") == 0 ? CX_WARN : CX_INFO,
                     "told", "{s:s, s:o, s:O}", "action", name, "text", cx_json_text(line),
                     "notice", notice);
    }
}

/* ---- the table */

static const struct kind {
    const char *type;
    size_t group_max;
    bool (*send)(const json_t *definition, const json_t *notices, cx_action_outcome *outcome,
                 cx_err *err);
} kinds[] = {
    {"exec", CX_ACTION_GROUP_MAX, send_exec},
    {"webhook", CX_ACTION_GROUP_MAX, send_webhook},
    {"slack", CX_ACTION_GROUP_MAX, send_slack},
    {"pagerduty", 1, send_pagerduty},
    {"alertmanager", CX_ACTION_GROUP_MAX, send_alertmanager},
    {"smtp", CX_ACTION_GROUP_MAX, send_mail},
};

static const struct kind *kind_of(const json_t *definition)
{
    const char *type = text_of(definition, "type");

    for (size_t i = 0; i < CX_COUNT(kinds); i++)
        if (strcmp(kinds[i].type, type) == 0)
            return &kinds[i];
    return NULL; /* log */
}

size_t cx_action_group_max(const json_t *definition)
{
    const struct kind *kind = kind_of(definition);

    return kind != NULL ? kind->group_max : CX_ACTION_GROUP_MAX;
}

bool cx_action_send(const char *name, const json_t *definition, const json_t *notices,
                    const cx_log *log, cx_action_outcome *outcome, cx_err *err)
{
    const struct kind *kind = kind_of(definition);

    /* What is missing here (a secret's file, a program) somebody may bring. */
    *outcome = (cx_action_outcome){.passing = true};
    if (kind == NULL) {
        write_log(name, notices, log);
        return true;
    }
    return kind->send(definition, notices, outcome, err) || cx_wrap(err, "action %s", name);
}

int64_t cx_action_wait_ms(int64_t failures, uint32_t random)
{
    int64_t doublings = failures < 1 ? 0 : failures > DOUBLINGS_MAX ? DOUBLINGS_MAX : failures - 1;
    int64_t wait_ms = (int64_t)CX_ACTION_WAIT_FIRST_MS << doublings;

    if (wait_ms > CX_ACTION_WAIT_MAX_MS)
        wait_ms = CX_ACTION_WAIT_MAX_MS;
    return wait_ms - wait_ms / 5 + (int64_t)random % (wait_ms / 5 + 1);
}

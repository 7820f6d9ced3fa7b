#include "health/action_mail.h"

#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "base/text.h"
#include "health/action_words.h"

/* The tls words of the policy. */
static const struct mode {
    const char *word, *scheme;
    uint16_t port;
    long use_ssl;
} modes[] = {
    {"starttls", "smtp", 587, CURLUSESSL_ALL},
    {"tls", "smtps", 465, CURLUSESSL_ALL},
    {"none", "smtp", 25, CURLUSESSL_NONE},
};

static const struct mode *mode_of(const json_t *definition)
{
    const char *word = cx_json_text_or_empty(definition, "tls");

    for (size_t i = 0; i < CX_COUNT(modes); i++)
        if (strcmp(modes[i].word, word) == 0)
            return &modes[i];
    return &modes[0];
}

/* RFC 5322; by hand, because strftime follows the locale. */
static char *date_text(time_t now)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm utc = {0};

    gmtime_r(&now, &utc);
    return cx_format("%s, %02d %s %04d %02d:%02d:%02d +0000", days[utc.tm_wday], utc.tm_mday,
                     months[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

static size_t give(char *to, size_t size, size_t count, void *arg)
{
    cx_bytes *rest = arg;
    size_t taken = size * count < rest->size ? size * count : rest->size;

    if (taken > 0)
        memcpy(to, rest->data, taken);
    *rest = (cx_bytes){rest->data + taken, rest->size - taken};
    return taken;
}

static size_t drop(char *from, size_t size, size_t count, void *arg)
{
    (void)from;
    (void)arg;
    return size * count;
}

/* Each line that the server says. One recipient that is not taken must not cost the others the mail,
 * and must not go unseen: 450 to 452 and 550 to 553 say so, of a recipient alone (RFC 5321, 4.3.2). */
static size_t hear(char *line, size_t one, size_t size, void *arg)
{
    cx_action_outcome *outcome = arg;
    size_t kept = 0;

    if (size < 4 || (line[0] != '4' && line[0] != '5') || line[1] != '5' ||
        outcome->refused[0] != '\0')
        return one * size;
    while (kept < size && kept < sizeof outcome->refused - 1 && strchr("\r\n", line[kept]) == NULL)
        kept++;
    for (size_t i = 0; i < kept; i++)
        outcome->refused[i] = (unsigned char)line[i] < ' ' || line[i] == 0x7F ? ' ' : line[i];
    outcome->refused[kept] = '\0';
    return one * size;
}

static struct curl_slist *recipients_of(const json_t *definition)
{
    struct curl_slist *list = NULL;
    size_t at;
    json_t *address;

    json_array_foreach (json_object_get(definition, "to"), at, address) {
        CX_AUTO(cx_free) char *text = cx_format("<%s>", json_string_value(address));

        list = curl_slist_append(list, text);
    }
    return list;
}

static void set_options(CURL *curl, const json_t *definition, const char *url, const char *from,
                        const char *password, int64_t timeout_ms)
{
    const char *username = cx_json_text_or_empty(definition, "username");

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(curl, CURLOPT_USE_SSL, mode_of(definition)->use_ssl);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_MAIL_FROM, from);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    if (username[0] != '\0')
        curl_easy_setopt(curl, CURLOPT_USERNAME, username);
    if (password != NULL)
        curl_easy_setopt(curl, CURLOPT_PASSWORD, password);
}

static bool explain(CURL *curl, CURLcode code, const char *server, const char *detail,
                    cx_action_outcome *outcome, cx_err *err)
{
    long status = 0;

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    outcome->status = (int)status;
    outcome->passing = code != CURLE_LOGIN_DENIED && code != CURLE_PEER_FAILED_VERIFICATION &&
                       code != CURLE_USE_SSL_FAILED && status < 500;
    return cx_fail(err, code == CURLE_OPERATION_TIMEDOUT ? CX_TIMEOUT : CX_UNAVAILABLE,
                   "mail by %s: %s", server, detail[0] != '\0' ? detail : curl_easy_strerror(code));
}

static bool deliver(CURL *curl, const json_t *definition, cx_bytes mail, cx_action_outcome *outcome,
                    cx_err *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *to = recipients_of(definition);
    CURLcode code;

    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, to);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(curl, CURLOPT_READDATA, &mail);
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT_ALLLOWFAILS, 1L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, hear);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, outcome);
    code = curl_easy_perform(curl);
    curl_slist_free_all(to);
    if (code == CURLE_OK)
        return true;
    outcome->refused[0] = '\0'; /* of all: the error says it */
    return explain(curl, code, cx_json_text_or_empty(definition, "server"), detail, outcome, err);
}

bool cx_action_mail(const json_t *definition, const json_t *notices, const char *password,
                    int64_t timeout_ms, cx_action_outcome *outcome, cx_err *err)
{
    const struct mode *mode = mode_of(definition);
    const char *from = cx_json_text_or_empty(definition, "from");
    CX_AUTO(cx_free) char *host = NULL;
    CX_AUTO(cx_free) char *url = NULL;
    CX_AUTO(cx_free) char *sender = cx_format("<%s>", from);
    CX_AUTO(cx_free) char *date = date_text(time(NULL));
    CX_AUTO(cx_buffer_free) cx_buffer mail = {0};
    uint16_t port = 0;
    CURL *curl;
    bool sent;

    if (!cx_parse_host_port(cx_json_text_or_empty(definition, "server"), mode->port, &host, &port,
                            err))
        return cx_wrap(err, "server");
    if (!cx_notices_mail(notices, from, json_object_get(definition, "to"), date, &mail, err))
        return false;
    url = cx_format(strchr(host, ':') != NULL ? "%s://[%s]:%u" : "%s://%s:%u", mode->scheme, host,
                    port);
    curl = curl_easy_init();
    if (curl == NULL)
        return cx_fail(err, CX_INTERNAL, "libcurl gives no handle");
    set_options(curl, definition, url, sender, password, timeout_ms);
    sent = deliver(curl, definition, cx_buffer_bytes(&mail), outcome, err);
    curl_easy_cleanup(curl);
    return sent;
}

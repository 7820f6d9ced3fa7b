#include "ask.h"

#include <string.h>

#include "admit.h"
#include "base/text.h"
#include "base/time.h"

enum { SKEW_NOTED_MS = 5000 };

static void note_skew(const cx_http_answer *answer, cx_err *err)
{
    int64_t skew_ms = answer->peer_date_ms ? cx_wall_ms() - answer->peer_date_ms : 0;

    if (skew_ms > SKEW_NOTED_MS || skew_ms < -SKEW_NOTED_MS)
        cx_hint(err, "this host's clock is %.0f s %s the other's", (double)skew_ms / 1000.0,
                skew_ms > 0 ? "ahead of" : "behind");
}

static bool read_answer(const cx_http_answer *answer, const char *what, json_t **document,
                        cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;

    if (!cx_json_parse(cx_buffer_bytes(&answer->body), ADMIT_BYTES_MAX, what, &json, err))
        return false;
    if (answer->status == 200) {
        *document = CX_TAKE(json);
        return true;
    }
    cx_err_from_json(json, err);
    note_skew(answer, err);
    return false;
}

bool join_ask(cx_http *http, cx_tls *tls, const struct join_question *question, json_t **document,
              cx_err *err)
{
    CX_AUTO(cx_http_answer_free) cx_http_answer answer = {0};
    CX_AUTO(cx_free) char *what = cx_format("answer of %s", question->who);
    const char *headers[] = {"Content-Type: application/json", NULL};
    cx_tls_peer peer = {.tls = tls, .node_id = question->peer_id};
    cx_http_request request = {.method = question->body.size > 0 ? "POST" : "GET",
                               .url = question->url,
                               .headers = question->body.size > 0 ? headers : NULL,
                               .body = question->body,
                               .answer_max = ADMIT_BYTES_MAX,
                               .timeout_ms = question->timeout_ms,
                               .tls_hook = cx_tls_client_hook,
                               .tls_arg = &peer};
    bool done;

    if (!cx_http_do(http, &request, &answer, err)) {
        if (peer.error.code != CX_OK)
            *err = peer.error;
        return cx_wrap(err, "%s", question->who);
    }
    done = read_answer(&answer, what, document, err);
    explicit_bzero(answer.body.data, answer.body.size); /* it may hold keys */
    return done;
}

bool join_api_address(const char *seed, const char *own_api_addr, char **address, cx_err *err)
{
    CX_AUTO(cx_free) char *host = NULL;
    CX_AUTO(cx_free) char *own_host = NULL;
    uint16_t port, api_port;

    if (!cx_parse_host_port(seed, CX_CONFIG_GOSSIP_PORT, &host, &port, err) ||
        !cx_parse_host_port(own_api_addr, CX_API_PORT, &own_host, &api_port, err))
        return false;
    *address = cx_format(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)api_port);
    return true;
}

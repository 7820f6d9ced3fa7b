#include <assert.h>
#include <string.h>
#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event.h>

#include "base/http.h"
#include "base/http_transfer.h"
#include "base/time.h"

/* A request with everything it needs, in the queue or under way. */
struct errand {
    TAILQ_ENTRY(errand) link;
    cx_http_request request; /* all texts of it are ours */
    cx_http_answer answer;
    cx_transfer transfer;
    cx_http_done *done;
    void *arg;
    int64_t asked_ms;
};

TAILQ_HEAD(errands, errand);

struct cx_http_loop {
    struct event_base *loop;
    CURLM *multi;
    struct event *timer; /* libcurl's */
    struct event *kick;  /* to start what waits */
    struct errands waiting, running;
    size_t running_count;
    size_t parallel_max;
};

static char **copy_list(const char *const *list)
{
    size_t count = 0;
    char **copy;

    if (!list)
        return NULL;
    while (list[count])
        count++;
    copy = cx_alloc(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = cx_strdup(list[i]);
    return copy;
}

static struct errand *copy_request(const cx_http_request *request)
{
    struct errand *errand = cx_alloc(1, sizeof(*errand));
    cx_http_request *copy = &errand->request;

    *copy = *request;
    copy->method = cx_strdup(request->method);
    copy->url = cx_strdup(request->url);
    copy->ca_file = cx_strdup(request->ca_file);
    copy->headers = (const char *const *)copy_list(request->headers);
    copy->body.data = NULL;
    if (request->body.size > 0) {
        uint8_t *data = cx_alloc(request->body.size, 1);

        memcpy(data, request->body.data, request->body.size);
        copy->body.data = data;
    }
    return errand;
}

static void free_errand(struct errand *errand)
{
    char **headers = (char **)errand->request.headers;

    cx_transfer_close(&errand->transfer);
    cx_http_answer_free(&errand->answer);
    for (size_t i = 0; headers && headers[i]; i++)
        cx_free(&headers[i]);
    cx_free(&headers);
    cx_free(&errand->request.method);
    cx_free(&errand->request.url);
    cx_free(&errand->request.ca_file);
    cx_free(&errand->request.body.data);
    cx_free(&errand);
}

static void tell(struct errand *errand)
{
    errand->done(&errand->answer, errand->arg);
    free_errand(errand);
}

static void end_running(cx_http_loop *http, struct errand *errand)
{
    curl_multi_remove_handle(http->multi, errand->transfer.handle);
    TAILQ_REMOVE(&http->running, errand, link);
    http->running_count--;
}

/* The time in the queue counts. */
static bool start_errand(struct errand *errand)
{
    int64_t left_ms = errand->request.timeout_ms;

    if (left_ms > 0) {
        left_ms -= cx_now_ms() - errand->asked_ms;
        if (left_ms <= 0)
            return cx_fail(&errand->answer.error, CX_TIMEOUT,
                           "%s: not begun in time, too many requests were before it",
                           errand->request.url);
    }
    return cx_transfer_open(&errand->request, left_ms, &errand->answer, &errand->transfer,
                            &errand->answer.error);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    cx_http_loop *http = arg;
    struct errand *errand;

    (void)fd;
    (void)what;
    while (http->running_count < http->parallel_max && (errand = TAILQ_FIRST(&http->waiting))) {
        TAILQ_REMOVE(&http->waiting, errand, link);
        if (!start_errand(errand)) {
            tell(errand);
            continue;
        }
        TAILQ_INSERT_TAIL(&http->running, errand, link);
        http->running_count++;
        curl_multi_add_handle(http->multi, errand->transfer.handle);
    }
}

static struct errand *errand_of(cx_http_loop *http, CURL *handle)
{
    struct errand *errand = NULL;

    TAILQ_FOREACH (errand, &http->running, link)
        if (errand->transfer.handle == handle)
            break;
    return errand;
}

static void collect(cx_http_loop *http)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        CURLcode result = message->data.result;
        struct errand *errand = NULL;

        if (message->msg == CURLMSG_DONE)
            errand = errand_of(http, message->easy_handle);
        if (!errand)
            continue;
        cx_transfer_finish(&errand->transfer, result);
        end_running(http, errand);
        tell(errand);
    }
    if (!TAILQ_EMPTY(&http->waiting))
        event_active(http->kick, EV_TIMEOUT, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    cx_http_loop *http = arg;
    int running;

    (void)fd;
    (void)what;
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(http);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    cx_http_loop *http = arg;
    int action =
        ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0);
    int running;

    curl_multi_socket_action(http->multi, (curl_socket_t)fd, action, &running);
    collect(http);
}

static int set_timer(CURLM *multi, long wait_ms, void *arg)
{
    cx_http_loop *http = arg;
    struct timeval wait = {wait_ms / 1000, (wait_ms % 1000) * 1000};

    (void)multi;
    if (wait_ms < 0)
        event_del(http->timer);
    else
        event_add(http->timer, &wait);
    return 0;
}

/* watched: the event of this socket, which libcurl keeps for us. */
static int watch(CURL *handle, curl_socket_t fd, int what, void *arg, void *watched)
{
    cx_http_loop *http = arg;
    struct event *event = watched;
    short wanted = EV_PERSIST;

    (void)handle;
    if (event)
        event_free(event);
    event = NULL;
    if (what != CURL_POLL_REMOVE) {
        wanted |= (what & CURL_POLL_IN) ? EV_READ : 0;
        wanted |= (what & CURL_POLL_OUT) ? EV_WRITE : 0;
        event = event_new(http->loop, fd, wanted, on_ready, http);
        event_add(event, NULL);
    }
    curl_multi_assign(http->multi, fd, event);
    return 0;
}

cx_http_loop *cx_http_loop_open(struct event_base *loop, size_t parallel_max)
{
    cx_http_loop *http = cx_alloc(1, sizeof(*http));

    assert(parallel_max > 0);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    http->loop = loop;
    http->parallel_max = parallel_max;
    TAILQ_INIT(&http->waiting);
    TAILQ_INIT(&http->running);
    http->timer = evtimer_new(loop, on_timer, http);
    http->kick = evtimer_new(loop, on_kick, http);
    http->multi = curl_multi_init();
    assert(http->multi && http->timer && http->kick);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    return http;
}

void cx_http_loop_close(cx_http_loop **owner)
{
    cx_http_loop *http = CX_TAKE(*owner);
    struct errands left = TAILQ_HEAD_INITIALIZER(left);
    struct errand *errand;

    if (!http)
        return;
    while ((errand = TAILQ_FIRST(&http->running))) {
        end_running(http, errand);
        TAILQ_INSERT_TAIL(&left, errand, link);
    }
    TAILQ_CONCAT(&left, &http->waiting, link);
    curl_multi_cleanup(http->multi);
    event_free(http->timer);
    event_free(http->kick);
    while ((errand = TAILQ_FIRST(&left))) {
        TAILQ_REMOVE(&left, errand, link);
        errand->answer.sent = true; /* perhaps */
        cx_fail(&errand->answer.error, CX_INTERRUPTED, "%s: given up", errand->request.url);
        tell(errand);
    }
    curl_global_cleanup();
    cx_free(&http);
}

void cx_http_loop_start(cx_http_loop *http, const cx_http_request *request, cx_http_done *done,
                        void *arg)
{
    struct errand *errand = copy_request(request);

    errand->done = done;
    errand->arg = arg;
    errand->asked_ms = cx_now_ms();
    TAILQ_INSERT_TAIL(&http->waiting, errand, link);
    event_active(http->kick, EV_TIMEOUT, 0);
}

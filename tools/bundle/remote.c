/* What the API of every node tells. All questions of a collector are asked at once; a node that answers
 * none of them is not asked by the next collector. */
#include <string.h>

#include "base/time.h"
#include "bundle.h"

typedef struct part {
    const char *file, *path;
} part;

enum { PARTS_MAX = 8, NAME_SIZE = 128 };

/* Takes a node's answers, one a part; status 0 or an error: there is none. */
typedef bool take_answers(bundle_source *source, bundle_collector *collector, const char *node,
                          const part *parts, cx_api_answer *answers, cx_err *err);

static int64_t left_ms(const bundle_collector *collector)
{
    int64_t left = collector->deadline_ms - cx_now_ms();

    return left > 1 ? left : 1;
}

/* A node's name as a folder's. */
static const char *folder_of(const cx_api_node *node, char name[NAME_SIZE])
{
    const char *from = cx_api_node_name(node);
    size_t size = 0;

    for (; *from != '\0' && size + 1 < NAME_SIZE; from++)
        name[size++] = *from == '/' || *from == ':' ? '_' : *from;
    name[size] = '\0';
    return name[0] == '.' ? "_" : name;
}

static void fail_node(bundle_collector *collector, const cx_api_node *node, const cx_err *error)
{
    json_array_append_new(collector->errors, cx_api_failure(node, error));
}

/* An HTTP error is an answer too: the node is there. False when there was none at all: said once. */
static bool take_errors(bundle_collector *collector, const cx_api_node *node, const part *parts,
                        size_t count, const cx_api_answer *answers, const cx_err *errors)
{
    size_t silent = 0;

    for (size_t i = 0; i < count; i++)
        silent += answers[i].status == 0;
    for (size_t i = silent == count ? count - 1 : 0; i < count; i++) {
        cx_err error = errors[i];
        json_t *document = NULL;

        if (answers[i].status != 0 && answers[i].status < 400)
            continue;
        if (answers[i].status != 0 && !cx_api_answer_json(&answers[i], &document, &error))
            cx_wrap(&error, "%s", parts[i].path);
        fail_node(collector, node, &error);
    }
    return silent < count;
}

static bool ask(bundle_source *source, bundle_collector *collector, const part *parts, size_t count,
                take_answers *take, cx_err *err)
{
    size_t total = source->nodes.count * count;
    CX_AUTO(cx_free) cx_api_question *questions = cx_alloc(total + 1, sizeof *questions);
    CX_AUTO(cx_free) cx_api_answer *answers = cx_alloc(total + 1, sizeof *answers);
    CX_AUTO(cx_free) cx_err *errors = cx_alloc(total + 1, sizeof *errors);
    size_t asked = 0, at = 0;
    bool good;

    if (source->api == NULL) {
        bundle_failed(collector, "the node API", &source->api_error);
        return true;
    }
    for (size_t i = 0; i < source->nodes.count; i++)
        for (size_t each = 0; each < count && !source->silent[i]; each++)
            questions[asked++] = (cx_api_question){&source->nodes.items[i], parts[each].path};
    good = cx_api_ask_all(source->api, questions, asked, left_ms(collector), answers, errors, err);
    for (size_t i = 0; i < source->nodes.count && good; i++) {
        const cx_api_node *node = &source->nodes.items[i];
        char name[NAME_SIZE];

        if (source->silent[i]) {
            cx_err skipped;

            cx_fail(&skipped, CX_UNAVAILABLE,
                    "%s: not asked: it did not answer the collector before",
                    cx_api_node_name(node));
            fail_node(collector, node, &skipped);
            continue;
        }
        source->silent[i] = !take_errors(collector, node, parts, count, &answers[at], &errors[at]);
        good = source->silent[i] ||
               take(source, collector, folder_of(node, name), parts, &answers[at], err);
        at += count;
    }
    for (size_t i = 0; i < asked; i++)
        cx_api_answer_free(&answers[i]);
    return good;
}

static bool is_good(const cx_api_answer *answer)
{
    return answer->status != 0 && answer->status < 400;
}

/* Each answer as a file; JSON is laid out for people. */
static bool take_files(bundle_source *source, bundle_collector *collector, const char *node,
                       const part *parts, cx_api_answer *answers, cx_err *err)
{
    (void)source;
    for (size_t i = 0; parts[i].file != NULL; i++) {
        CX_AUTO(cx_free) char *path = cx_format("nodes/%s/%s", node, parts[i].file);
        CX_AUTO(cx_json_free) json_t *document = NULL;
        cx_err ignored;

        if (!is_good(&answers[i]))
            continue;
        if (strstr(parts[i].file, ".json") != NULL &&
            cx_api_answer_json(&answers[i], &document, &ignored)) {
            if (!bundle_add_json(collector, path, document, err))
                return false;
        } else if (!bundle_add(collector, path, cx_buffer_bytes(&answers[i].body), 0, err)) {
            return false;
        }
    }
    return true;
}

bool bundle_collect_state(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const part parts[] = {
        {"state.json", "/api/v1/debug/state"},
        {"queues.json", "/api/v1/queues"},
        {"messages.json", "/api/v1/messages/stats"},
        {"drain.json", "/api/v1/node/drain"},
        {"leases.json", "/api/v1/leases"},
        {"cluster.json", "/api/v1/cluster"},
        {NULL, NULL},
    };

    if (source->members_error.code != CX_OK)
        bundle_failed(collector, "--all", &source->members_error);
    return ask(source, collector, parts, CX_COUNT(parts) - 1, take_files, err);
}

bool bundle_collect_metrics(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const part parts[] = {
        {"metrics.txt", "/metrics"},
        {"node.json", "/api/v1/node"},
        {NULL, NULL},
    };

    return ask(source, collector, parts, CX_COUNT(parts) - 1, take_files, err);
}

/* ---- traces */

static bool is_young(const json_t *message, int64_t since_ms)
{
    const char *state = cx_json_text_or_empty(message, "state");
    cx_err ignored;
    int64_t ms = 0;

    if (strcmp(state, "queued") == 0 || strcmp(state, "in_flight") == 0)
        return true;
    return !cx_time_parse(cx_json_text_or_empty(message, "accepted_at"), &ms, &ignored) ||
           ms >= since_ms;
}

/* What people sent each other is none of a bundle's business: its size is. */
static void shorten(json_t *message, const char *key, const char *size_key)
{
    const json_t *value = json_object_get(message, key);
    CX_AUTO(cx_free)
    char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    if (text == NULL)
        return;
    json_object_set_new(message, size_key, json_integer((json_int_t)strlen(text)));
    json_object_del(message, key);
}

static bool take_traces(bundle_source *source, bundle_collector *collector, const char *node,
                        const part *parts, cx_api_answer *answers, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *by_id = json_object();
    CX_AUTO(cx_json_free) json_t *list = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *path = cx_format("nodes/%s/traces.json", node);
    const char *id;
    json_t *message;
    size_t at;

    for (size_t i = 0; parts[i].file != NULL; i++) {
        CX_AUTO(cx_json_free) json_t *answer = NULL;
        cx_err ignored;

        if (!is_good(&answers[i]) || !cx_api_answer_json(&answers[i], &answer, &ignored))
            continue;
        json_array_foreach (json_object_get(answer, "messages"), at, message) {
            id = cx_json_text_or_empty(message, "message_id");
            if (id[0] != '\0' && is_young(message, source->since_wall_ms))
                json_object_set(by_id, id, message);
        }
    }
    json_object_foreach (by_id, id, message) {
        shorten(message, "content", "content_bytes");
        shorten(message, "reply", "reply_bytes");
        json_array_append(list, message);
    }
    document = json_pack("{s:o, s:O, s:I}", "node_id", cx_json_text(node), "messages", list,
                         "count", (json_int_t)json_array_size(list));
    return bundle_add_json(collector, path, document, err);
}

bool bundle_collect_traces(bundle_source *source, bundle_collector *collector, cx_err *err)
{
    static const part parts[] = {
        {"traces", "/api/v1/messages?state=failed&limit=200"},
        {"traces", "/api/v1/messages?state=in_flight&limit=200"},
        {"traces", "/api/v1/messages?state=queued&limit=200"},
        {"traces", "/api/v1/messages?limit=200"},
        {NULL, NULL},
    };

    return ask(source, collector, parts, CX_COUNT(parts) - 1, take_traces, err);
}

#include "config/config.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "config/address.h"

enum {
    SEEDS_MAX = 256,
    SOCKET_NAME_MAX = 24, /* "/gossip.sock" and its kin, which follow run_dir */
    RUN_DIR_MAX = (int)sizeof((struct sockaddr_un *)0)->sun_path - 1 - SOCKET_NAME_MAX,
};

enum kind {
    KIND_ID,       /* const char * */
    KIND_ADDRESS,  /* const char *, host:port */
    KIND_SEEDS,    /* cx_list of addresses */
    KIND_FOLDER,   /* const char *, absolute */
    KIND_COUNT,    /* int64_t */
    KIND_DURATION, /* int64_t, milliseconds */
    KIND_WORD,     /* const char *, one of choices */
    KIND_FLAG,     /* bool */
};

struct setting {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *fallback; /* the default as typed; NULL: derived, see derive() */
    const char *choices;  /* KIND_WORD: "a|b" */
    int64_t min, max;     /* KIND_COUNT, KIND_DURATION (ms) and the size of KIND_FOLDER */
    uint16_t port;        /* KIND_ADDRESS: where the text has none */
    const char *doc;
};

#define AT(field) offsetof(cx_config, field)

/* The only list of keys, in the order of the documents. */
static const struct setting settings[] = {
    {"cluster", KIND_ID, AT(cluster), "caxton",
     .doc = "name of the cluster, the same on every node"},
    {"node_id", KIND_ID, AT(node_id), NULL,
     .doc = "name of this node; default: the first label of the host name"},
    {"bind_addr", KIND_ADDRESS, AT(bind_addr), "0.0.0.0:7946", .port = CX_CONFIG_GOSSIP_PORT,
     .doc = "where gossip listens, UDP and TCP"},
    {"advertise_addr", KIND_ADDRESS, AT(advertise_addr), NULL, .port = CX_CONFIG_GOSSIP_PORT,
     .doc = "what other nodes are told; default: bind_addr, or this host's own address when "
            "bind_addr is every address"},
    {"api_addr", KIND_ADDRESS, AT(api_addr), "0.0.0.0:8080", .port = CX_API_PORT,
     .doc = "where the node API listens"},
    {"api_advertise_addr", KIND_ADDRESS, AT(api_advertise_addr), NULL, .port = CX_API_PORT,
     .doc = "what clients are told; default: api_addr, with the host of advertise_addr when "
            "api_addr is every address"},
    {"data_dir", KIND_FOLDER, AT(data_dir), "/var/lib/caxton", .max = PATH_MAX / 2,
     .doc = "queues, agents' state, registry"},
    {"cert_dir", KIND_FOLDER, AT(cert_dir), "/etc/caxton/certs", .max = PATH_MAX / 2,
     .doc = "ca.crt node.crt node.key crl.pem gossip.keys"},
    {"log_dir", KIND_FOLDER, AT(log_dir), "/var/log/caxton", .max = PATH_MAX / 2,
     .doc = "logs of the node and its agents"},
    {"run_dir", KIND_FOLDER, AT(run_dir), "/run/caxton", .max = RUN_DIR_MAX,
     .doc = "control sockets and locks"},
    {"policy_dir", KIND_FOLDER, AT(policy_dir), NULL, .max = PATH_MAX / 2,
     .doc = "policies that override the installed ones; default: the folder policies beside this "
            "file"},
    {"bootstrap_expect", KIND_COUNT, AT(bootstrap_expect), "3", .min = 1, .max = 100000,
     .doc = "expected size of the cluster: what a majority is counted of"},
    {"seeds", KIND_SEEDS, AT(seeds), "", .port = CX_CONFIG_GOSSIP_PORT,
     .doc = "gossip addresses of nodes to join through"},
    {"max_agents", KIND_COUNT, AT(max_agents), "10000", .min = 1, .max = 1000000,
     .doc = "agents that this node hosts at most"},
    {"gossip_profile", KIND_WORD, AT(gossip_profile), "lan", .choices = "lan|wan|local",
     .doc = "timing of the membership protocol"},
    {"log_level", KIND_WORD, AT(log_level), "info", .choices = "debug|info|warn|error",
     .doc = "what is logged"},
    {"drain_timeout", KIND_DURATION, AT(drain_timeout_ms), "60s", .min = 0, .max = 86400000,
     .doc = "how long a stopping node waits for work in flight"},
    {"message_retention", KIND_DURATION, AT(message_retention_ms), "24h", .min = 60000,
     .max = INT64_C(366) * 86400000,
     .doc = "done and failed messages are kept this long, for tracing and deduplication"},
    {"queue_max", KIND_COUNT, AT(queue_max), "100000", .min = 1, .max = 100000000,
     .doc = "queued messages of one agent; more are refused"},
    {"encrypt", KIND_FLAG, AT(encrypt), "true",
     .doc = "encrypt gossip with the keys of cert_dir/gossip.keys"},
};

enum { SETTING_COUNT = CX_COUNT(settings) };

struct cx_config_memory {
    cx_list texts; /* owns what the config's const char * point to */
    struct origin {
        enum { FROM_DEFAULT, FROM_FILE, DERIVED } source;
        size_t line, column;
    } origins[SETTING_COUNT];
};

static const char *keep(cx_config *config, char *text)
{
    cx_list_take(&config->memory->texts, text);
    return text;
}

static void *field_of(cx_config *config, const struct setting *setting)
{
    return (char *)config + setting->offset;
}

static const void *value_of(const cx_config *config, const struct setting *setting)
{
    return (const char *)config + setting->offset;
}

/* ---- one value, as typed */

/* An advertised address without a port has that of the address that listens. */
static uint16_t default_port(const cx_config *config, const struct setting *setting)
{
    const char *listens = setting->offset == AT(advertise_addr)       ? config->bind_addr
                          : setting->offset == AT(api_advertise_addr) ? config->api_addr
                                                                      : NULL;

    return listens != NULL ? cx_address_port(listens) : setting->port;
}

static bool set_address(cx_config *config, const struct setting *setting, const char *text,
                        cx_err *err)
{
    char *address = NULL;

    if (!cx_address_normal(text, default_port(config, setting), &address, err))
        return false;
    *(const char **)field_of(config, setting) = keep(config, address);
    if (cx_address_is_any(address) &&
        (setting->offset == AT(advertise_addr) || setting->offset == AT(api_advertise_addr))) {
        cx_fail(err, CX_INVALID, "\"%s\" can't be reached by other nodes", address);
        return cx_hint(err, "name the one address by which other nodes reach this host");
    }
    return true;
}

static bool set_folder(cx_config *config, const struct setting *setting, const char *text,
                       cx_err *err)
{
    size_t size = strlen(text);

    if (text[0] != '/') {
        cx_fail(err, CX_INVALID, "\"%.100s\" is no absolute path", text);
        return cx_hint(err, "daemons have no current folder: begin with /");
    }
    if (size > (size_t)setting->max)
        return cx_fail(err, CX_INVALID, "the path has %zu bytes, at most %" PRId64 " fit", size,
                       setting->max);
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20)
            return cx_fail(err, CX_INVALID, "the path has a control character");
    while (size > 1 && text[size - 1] == '/')
        size--;
    *(const char **)field_of(config, setting) = keep(config, cx_strndup(text, size));
    return true;
}

static bool set_word(cx_config *config, const struct setting *setting, const char *text,
                     cx_err *err)
{
    const char *words[8] = {0};
    size_t count = 0;
    CX_AUTO(cx_free) char *split = cx_strdup(setting->choices);
    char *rest = split;

    for (char *word = strsep(&rest, "|"); word != NULL; word = strsep(&rest, "|")) {
        words[count++] = word;
        if (strcmp(word, text) == 0) {
            *(const char **)field_of(config, setting) = keep(config, cx_strdup(text));
            return true;
        }
    }

    const char *nearest = cx_nearest(text, words, count);

    cx_fail(err, CX_INVALID, "\"%.100s\" is none of %s", text, setting->choices);
    return nearest != NULL ? cx_hint(err, "did you mean \"%s\"?", nearest) : false;
}

static bool set_count(cx_config *config, const struct setting *setting, const char *text,
                      cx_err *err)
{
    int64_t value = 0;

    for (const char *at = text; *at != '\0'; at++)
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return cx_fail(err, CX_INVALID, "\"%.100s\" is no whole number", text);
    if (text[0] == '\0' || value < setting->min || value > setting->max)
        return cx_fail(err, CX_INVALID, "must be from %" PRId64 " to %" PRId64, setting->min,
                       setting->max);
    *(int64_t *)field_of(config, setting) = value;
    return true;
}

static bool set_duration(cx_config *config, const struct setting *setting, const char *text,
                         cx_err *err)
{
    int64_t *field = field_of(config, setting);
    char min[CX_TIME_TEXT_SIZE];
    char max[CX_TIME_TEXT_SIZE];
    int64_t value = 0;

    if (!cx_duration_parse(text, &value, err)) {
        if (err->hint[0] == '\0')
            return cx_hint(err, "a number and one of ms s m h d w, as in 30s");
        return false;
    }
    if (value < setting->min || value > setting->max)
        return cx_fail(err, CX_INVALID, "must be from %s to %s",
                       cx_duration_text(setting->min, min), cx_duration_text(setting->max, max));
    *field = value;
    return true;
}

/* KIND_SEEDS: one more of them. */
static bool add_seed(cx_config *config, const struct setting *setting, const char *text,
                     cx_err *err)
{
    cx_list *list = field_of(config, setting);
    char *address = NULL;

    if (list->count == SEEDS_MAX)
        return cx_fail(err, CX_INVALID, "more than %d seeds", SEEDS_MAX);
    if (!cx_address_normal(text, setting->port, &address, err))
        return false;
    cx_list_take(list, address);
    return true;
}

static bool set(cx_config *config, const struct setting *setting, const char *text, cx_err *err)
{
    switch (setting->kind) {
    case KIND_ID:
        *(const char **)field_of(config, setting) = keep(config, cx_strdup(text));
        return cx_check_id(setting->name, text, err);
    case KIND_ADDRESS: return set_address(config, setting, text, err);
    case KIND_SEEDS: return add_seed(config, setting, text, err);
    case KIND_FOLDER: return set_folder(config, setting, text, err);
    case KIND_COUNT: return set_count(config, setting, text, err);
    case KIND_DURATION: return set_duration(config, setting, text, err);
    case KIND_WORD: return set_word(config, setting, text, err);
    case KIND_FLAG: *(bool *)field_of(config, setting) = strcmp(text, "true") == 0; return true;
    }
    return false;
}

/* ---- the whole */

static const char *wanted(enum kind kind)
{
    switch (kind) {
    case KIND_ID: return "a name";
    case KIND_ADDRESS: return "an address";
    case KIND_SEEDS: return "a list of addresses";
    case KIND_FOLDER: return "a path";
    case KIND_COUNT: return "a whole number";
    case KIND_DURATION: return "a duration";
    case KIND_WORD: return "a word";
    case KIND_FLAG: return "true or false";
    }
    return NULL;
}

static bool has_kind(const struct setting *setting, cx_conf_kind given)
{
    switch (setting->kind) {
    case KIND_SEEDS: return given == CX_CONF_LIST;
    case KIND_COUNT: return given == CX_CONF_INT;
    case KIND_FLAG: return given == CX_CONF_BOOL;
    case KIND_DURATION: return given == CX_CONF_TEXT || given == CX_CONF_INT;
    case KIND_ID: return given == CX_CONF_TEXT || given == CX_CONF_INT || given == CX_CONF_REAL;
    case KIND_ADDRESS:
    case KIND_FOLDER:
    case KIND_WORD: return given == CX_CONF_TEXT;
    }
    return false;
}

static void blame_kind(const cx_conf *conf, const cx_conf_node *node, const struct setting *setting,
                       const char *where, cx_conf_errors *errors)
{
    cx_conf_blame(conf, node, NULL, where, NULL, errors, "must be %s, not %s",
                  wanted(setting->kind), cx_conf_kind_word(node->kind));
}

static void set_seeds(cx_config *config, const struct setting *setting, const cx_conf *conf,
                      const cx_conf_node *list, cx_conf_errors *errors)
{
    for (size_t i = 0; i < list->count; i++) {
        const cx_conf_node *item = &list->items[i];
        CX_AUTO(cx_free) char *where = cx_format("%s[%zu]", setting->name, i);
        cx_err err = {0};

        if (item->kind != CX_CONF_TEXT)
            cx_conf_blame(conf, item, NULL, where, NULL, errors, "must be an address, not %s",
                          cx_conf_kind_word(item->kind));
        else if (!add_seed(config, setting, item->text, &err))
            cx_conf_blame(conf, item, NULL, where, err.hint, errors, "%s", err.message);
    }
}

/* From the file, where it has the key, else the default. A key with nothing behind it is absent. */
static void fill(cx_config *config, const struct setting *setting, const cx_conf *conf,
                 cx_conf_errors *errors)
{
    const cx_conf_node *node = conf != NULL ? cx_conf_at(cx_conf_root(conf), setting->name) : NULL;
    struct origin *origin = &config->memory->origins[setting - settings];
    cx_err err = {0};

    if (node == NULL || node->kind == CX_CONF_NULL) {
        if (setting->fallback != NULL && setting->fallback[0] != '\0' &&
            !set(config, setting, setting->fallback, &err))
            cx_conf_errors_add(errors, "defaults", 0, 0, setting->name, NULL, "%s", err.message);
        return;
    }
    *origin = (struct origin){FROM_FILE, node->line, node->column};
    if (!has_kind(setting, node->kind))
        blame_kind(conf, node, setting, setting->name, errors);
    else if (setting->kind == KIND_SEEDS)
        set_seeds(config, setting, conf, node, errors);
    else if (setting->kind == KIND_FLAG)
        *(bool *)field_of(config, setting) = node->text[0] == 't' || node->text[0] == 'T';
    else if (!set(config, setting, node->text, &err))
        cx_conf_blame(conf, node, NULL, setting->name, err.hint, errors, "%s", err.message);
}

static char *own_node_id(void)
{
    char name[HOST_NAME_MAX + 1] = "";
    cx_err err = {0};

    gethostname(name, sizeof name - 1);
    name[strcspn(name, ".")] = '\0';
    return cx_strdup(cx_check_id("node_id", name, &err) ? name : "node");
}

static char *own_policy_dir(const char *path)
{
    char *slash = NULL;
    CX_AUTO(cx_free) char *absolute = realpath(path, NULL);

    if (absolute == NULL) /* no file, or stdin */
        return cx_strdup("/etc/caxton/policies");
    slash = strrchr(absolute, '/');
    *slash = '\0';
    return cx_format("%s/policies", absolute);
}

static char *own_advertise_addr(const char *bind_addr)
{
    if (!cx_address_is_any(bind_addr))
        return cx_strdup(bind_addr);

    CX_AUTO(cx_free) char *host = cx_address_own_host();
    CX_AUTO(cx_free)
    char *address = strchr(host, ':') != NULL ? cx_format("[%s]:0", host) : cx_format("%s:0", host);

    return cx_address_combine(address, bind_addr);
}

/* The settings without a fallback: from others, or from the host. */
static void derive(cx_config *config)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (settings[i].fallback == NULL && config->memory->origins[i].source == FROM_DEFAULT)
            config->memory->origins[i].source = DERIVED;
    if (config->node_id == NULL)
        config->node_id = keep(config, own_node_id());
    if (config->policy_dir == NULL)
        config->policy_dir = keep(config, own_policy_dir(config->path));
    if (config->advertise_addr == NULL)
        config->advertise_addr = keep(config, own_advertise_addr(config->bind_addr));
    if (config->api_advertise_addr == NULL)
        config->api_advertise_addr =
            keep(config, cx_address_is_any(config->api_addr)
                             ? cx_address_combine(config->advertise_addr, config->api_addr)
                             : cx_strdup(config->api_addr));
}

static void blame_unknown(const cx_conf *conf, cx_conf_errors *errors)
{
    const char *names[SETTING_COUNT + 1] = {0};
    const cx_conf_node *root = cx_conf_root(conf);

    for (size_t i = 0; i < SETTING_COUNT; i++)
        names[i] = settings[i].name;
    if (root->kind == CX_CONF_MAP)
        cx_conf_only_keys(conf, root, "", names, errors);
    else if (root->kind != CX_CONF_NULL)
        cx_conf_blame(conf, root, NULL, "", "write `key: value`, one a line", errors,
                      "must be a group of keys, not %s", cx_conf_kind_word(root->kind));
}

/* conf NULL: defaults alone. With findings the config is only good for being freed. */
static cx_config *build(const cx_conf *conf, cx_conf_errors *errors)
{
    cx_config *config = cx_alloc(1, sizeof *config);
    size_t before = errors->count;

    config->memory = cx_alloc(1, sizeof *config->memory);
    config->path = keep(config, cx_strdup(conf != NULL ? cx_conf_name(conf) : ""));
    if (conf != NULL)
        blame_unknown(conf, errors);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        fill(config, &settings[i], conf, errors);
    if (errors->count == before)
        derive(config);
    return config;
}

static json_t *to_json(const cx_config *config, const struct setting *setting)
{
    const void *value = value_of(config, setting);
    char text[CX_TIME_TEXT_SIZE];
    json_t *list = NULL;

    switch (setting->kind) {
    case KIND_ID:
    case KIND_ADDRESS:
    case KIND_FOLDER:
    case KIND_WORD: return cx_json_text(*(const char *const *)value);
    case KIND_COUNT: return json_integer(*(const int64_t *)value);
    case KIND_DURATION: return cx_json_text(cx_duration_text(*(const int64_t *)value, text));
    case KIND_FLAG: return json_boolean(*(const bool *)value);
    case KIND_SEEDS:
        list = json_array();
        for (size_t i = 0; i < ((const cx_list *)value)->count; i++)
            json_array_append_new(list, cx_json_text(((const cx_list *)value)->items[i]));
        return list;
    }
    return list;
}

static json_t *origin_to_json(const cx_config *config, const struct origin *origin)
{
    switch (origin->source) {
    case FROM_DEFAULT: return json_string("default");
    case DERIVED: return json_string("derived");
    case FROM_FILE: break;
    }

    CX_AUTO(cx_free)
    char *text = cx_format("%s:%zu:%zu", config->path, origin->line, origin->column);
    return cx_json_text(text);
}

/* ---- writing */

/* Whether every YAML reader takes the text as text without quotes. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no",
                                        "on",   "off",   "y",    "n"};

    if (text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./:_-")] !=
            '\0' ||
        text[0] == '\0' || text[0] == '-' || text[0] == '.' || text[0] == ':' || text[0] == '_' ||
        text[strlen(text) - 1] == ':')
        return false;
    for (size_t i = 0; i < CX_COUNT(words); i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    /* Digits alone, or with a few signs, may be a number or a time to somebody. */
    return strpbrk(text, "ghijklmnpqrstuvwxyzGHIJKLMNPQRSTUVWXYZ/") != NULL ||
           (strchr(text, '.') != NULL && strchr(text, ':') != NULL);
}

static void write_value(const json_t *value, cx_buffer *text)
{
    if (json_is_string(value) && is_plain(json_string_value(value))) {
        cx_buffer_add_text(text, json_string_value(value));
        return;
    }
    if (!json_is_array(value)) {
        CX_AUTO(cx_free) char *dump = json_dumps(value, JSON_ENCODE_ANY);

        cx_buffer_add_text(text, dump != NULL ? dump : "null");
        return;
    }
    cx_buffer_add_text(text, "[");
    for (size_t i = 0; i < json_array_size(value); i++) {
        CX_AUTO(cx_free) char *dump = json_dumps(json_array_get(value, i), JSON_ENCODE_ANY);

        cx_buffer_addf(text, "%s%s", i > 0 ? ", " : "", dump != NULL ? dump : "null");
    }
    cx_buffer_add_text(text, "]");
}

static bool check_text(const char *path, cx_bytes text, cx_err *err)
{
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;

    if (!cx_conf_parse(text, path, &conf, &errors, err))
        return false;
    cx_config_check_conf(conf, &errors);
    return errors.count == 0 || cx_conf_fail(&errors, err);
}

/* ---- public */

bool cx_config_load(const char *path, bool missing_ok, cx_config **config, cx_err *err)
{
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;

    if (!cx_conf_read(path, &conf, &errors, err)) {
        if (err->code != CX_NOT_FOUND)
            return false;
        if (!missing_ok)
            return cx_hint(err, "--config FILE or $CX_CONFIG names it; `cx-join init` writes one");
        *err = (cx_err){0};
    }

    CX_AUTO(cx_config_free) cx_config *built = build(conf, &errors);

    if (errors.count > 0)
        return cx_conf_fail(&errors, err);
    *config = CX_TAKE(built);
    return true;
}

void cx_config_free(cx_config **owner)
{
    if (*owner == NULL)
        return;
    cx_list_free(&(*owner)->seeds);
    cx_list_free(&(*owner)->memory->texts);
    cx_free(&(*owner)->memory);
    cx_free(owner);
}

char *cx_config_cert(const cx_config *config, const char *name)
{
    return cx_path_join(config->cert_dir, name);
}

char *cx_config_run(const cx_config *config, const char *name)
{
    return cx_path_join(config->run_dir, name);
}

char *cx_config_data(const cx_config *config, const char *name)
{
    return cx_path_join(config->data_dir, name);
}

json_t *cx_config_to_json(const cx_config *config, bool with_origin)
{
    json_t *document = json_object();

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        json_t *value = to_json(config, &settings[i]);

        if (with_origin)
            value = json_pack("{s:o, s:o}", "value", value, "origin",
                              origin_to_json(config, &config->memory->origins[i]));
        json_object_set_new(document, settings[i].name, value);
    }
    return document;
}

json_t *cx_config_keys(void)
{
    json_t *list = json_array();

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        json_t *fallback = setting->fallback == NULL     ? json_null()
                           : setting->kind == KIND_SEEDS ? json_array()
                           : setting->kind == KIND_FLAG  ? json_true()
                           : setting->kind == KIND_COUNT ? json_integer(atoll(setting->fallback))
                                                         : json_string(setting->fallback);

        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s}", "key", setting->name, "kind",
                                              wanted(setting->kind), "default", fallback, "help",
                                              setting->doc));
    }
    return list;
}

void cx_config_check_conf(const cx_conf *conf, cx_conf_errors *errors)
{
    cx_config *config = build(conf, errors);

    cx_config_free(&config);
}

bool cx_config_write(const char *path, const json_t *values, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    const char *names[SETTING_COUNT + 1] = {0};

    for (size_t i = 0; i < SETTING_COUNT; i++)
        names[i] = settings[i].name;
    if (!cx_json_only_keys(values, "configuration", names, err))
        return false;
    cx_buffer_add_text(&text,
                       "# Configuration of a Caxton node; `cx-config keys` explains each key.\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const json_t *value = json_object_get(values, settings[i].name);

        if (value == NULL || json_is_null(value))
            continue;
        cx_buffer_addf(&text, "%s: ", settings[i].name);
        write_value(value, &text);
        cx_buffer_add_text(&text, "\n");
    }
    return check_text(path, cx_buffer_bytes(&text), err) &&
           cx_replace(path, 0644, cx_buffer_bytes(&text), err);
}

#include "place.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"

static const char lock_name[] = ".join.lock";

static void close_folder(DIR **owner)
{
    if (*owner)
        closedir(*owner);
    *owner = NULL;
}

void place_record(struct place *place, const char *name, bool changed, const char *path)
{
    place->changed |= changed;
    json_array_append_new(place->steps, json_pack("{s:s, s:b, s:o}", "name", name, "changed",
                                                  changed, "path", cx_json_text(path)));
}

char *place_cert(const struct place *place, const char *name)
{
    return cx_path_join(place->cert_dir, name);
}

/* An absolute path without a slash at the end: daemons run in other folders. */
static bool absolute(const char *path, char **result, cx_err *err)
{
    CX_AUTO(cx_free) char *joined = NULL;

    if (path[0] == '/') {
        joined = cx_strdup(path);
    } else {
        char *here = getcwd(NULL, 0);

        if (!here)
            return cx_fail_errno(err, "the current folder");
        joined = cx_path_join(here, path);
        free(here);
    }
    for (size_t size = strlen(joined); size > 1 && joined[size - 1] == '/'; size--)
        joined[size - 1] = '\0';
    *result = CX_TAKE(joined);
    return true;
}

/* ---- the configuration */

/* Keys of the configuration and their options. */
struct text_option {
    const char *key;
    size_t offset;
};

#define TEXT(key, field)                           \
    {                                              \
        key, offsetof(struct place_options, field) \
    }
static const struct text_option text_options[] = {
    TEXT("cluster", cluster),     TEXT("node_id", node_id),
    TEXT("bind_addr", bind_addr), TEXT("advertise_addr", advertise_addr),
    TEXT("api_addr", api_addr),   TEXT("data_dir", data_dir),
    TEXT("cert_dir", cert_dir),   TEXT("log_dir", log_dir),
    TEXT("run_dir", run_dir),     TEXT("gossip_profile", profile),
};
#undef TEXT

static bool has_text(const struct place_options *given, const struct text_option *option)
{
    return *(const char *const *)((const char *)given + option->offset) != NULL;
}

static bool is_given(const struct place_options *given, const char *key)
{
    for (size_t i = 0; i < CX_COUNT(text_options); i++)
        if (strcmp(text_options[i].key, key) == 0)
            return has_text(given, &text_options[i]);
    if (strcmp(key, "bootstrap_expect") == 0)
        return given->bootstrap_expect > 0;
    if (strcmp(key, "max_agents") == 0)
        return given->max_agents > 0;
    return given->seeds.count > 0;
}

bool place_is_bare(const struct place_options *given)
{
    for (size_t i = 0; i < CX_COUNT(text_options); i++)
        if (has_text(given, &text_options[i]))
            return false;
    return given->bootstrap_expect == 0 && given->max_agents == 0;
}

static json_t *wanted_values(const struct place *place)
{
    const struct place_options *option = place->option;
    json_t *values = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "cluster", option->cluster, "node_id",
        option->node_id, "bind_addr", option->bind_addr, "api_addr", option->api_addr, "data_dir",
        place->data_dir, "cert_dir", place->cert_dir, "log_dir", place->log_dir, "run_dir",
        place->run_dir, "bootstrap_expect", (json_int_t)option->bootstrap_expect);

    if (option->advertise_addr)
        json_object_set_new(values, "advertise_addr", json_string(option->advertise_addr));
    if (option->profile)
        json_object_set_new(values, "gossip_profile", json_string(option->profile));
    if (option->max_agents)
        json_object_set_new(values, "max_agents", json_integer((json_int_t)option->max_agents));
    if (option->seeds.count) {
        json_t *seeds = json_array();

        for (size_t i = 0; i < option->seeds.count; i++)
            json_array_append_new(seeds, json_string(option->seeds.items[i]));
        json_object_set_new(values, "seeds", seeds);
    }
    return values;
}

/* A configuration that is there already must say what the options say: nothing is overwritten. */
static bool check_same(const struct place *place, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *present = cx_config_to_json(place->present, false);
    const char *key;
    json_t *value;

    json_object_foreach (place->config, key, value) {
        json_t *old = json_object_get(present, key);

        if (!is_given(place->given, key) || json_equal(old, value))
            continue;

        CX_AUTO(cx_free) char *old_text = old ? json_dumps(old, JSON_ENCODE_ANY) : NULL;
        CX_AUTO(cx_free) char *new_text = json_dumps(value, JSON_ENCODE_ANY);

        cx_fail(err, CX_EXISTS, "%s has %s %s, not %s", place->config_path, key,
                old_text ? old_text : "null", new_text);
        return cx_hint(err, "it is never overwritten: edit the file, or remove it to start anew");
    }
    return true;
}

/* ---- steps */

/* The folders on the way to path that are not there, outer ones first. */
static void note_missing(struct place *place, const char *path)
{
    for (const char *end = path + 1; end[-1] != '\0'; end++) {
        if (*end != '/' && *end != '\0')
            continue;

        CX_AUTO(cx_free) char *part = cx_format("%.*s", (int)(end - path), path);

        if (!cx_exists(part))
            cx_list_add(&place->made, part);
    }
}

static bool make_folder(struct place *place, const char *path, mode_t mode, cx_err *err)
{
    bool made = !cx_exists(path);

    if (!place->run->dry_run) {
        note_missing(place, path);
        if (!cx_make_folders(path, mode, &made, err)) {
            if (err->code == CX_NOT_FOUND || err->code == CX_EXISTS || err->code == CX_INVALID)
                err->code = CX_CANT_CREATE;
            return false;
        }
    }
    place_record(place, "folder", made, path);
    return true;
}

static bool holds_lock_alone(const char *folder)
{
    CX_AUTO(close_folder) DIR *listing = opendir(folder);
    const struct dirent *entry;

    if (!listing)
        return false;
    while ((entry = readdir(listing)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, lock_name) != 0)
            return false;
    return true;
}

/* A run that failed leaves no empty folders of its own. The lock goes only with a cert_dir that nobody
 * had before. */
static void remove_made(struct place *place)
{
    CX_AUTO(cx_free) char *lock = place->cert_dir ? place_cert(place, lock_name) : NULL;
    cx_err ignored = {0};

    if (lock && cx_list_has(&place->made, place->cert_dir) && holds_lock_alone(place->cert_dir))
        (void)!cx_remove_file(lock, &ignored);
    for (size_t i = place->made.count; i-- > 0;)
        rmdir(place->made.items[i]);
}

bool place_make_folders(struct place *place, cx_err *err)
{
    CX_AUTO(cx_free) char *config_dir = cx_strdup(place->config_path);

    *strrchr(config_dir, '/') = '\0';
    return make_folder(place, config_dir[0] ? config_dir : "/", 0755, err) &&
           make_folder(place, place->data_dir, 0750, err) &&
           make_folder(place, place->log_dir, 0750, err) &&
           make_folder(place, place->run_dir, 0755, err);
}

bool place_create(struct place *place, const char *step, const char *name, mode_t mode,
                  cx_bytes bytes, cx_err *err)
{
    CX_AUTO(cx_free) char *path = place_cert(place, name);
    bool made = !cx_exists(path);

    if (made && !place->run->dry_run && !cx_create(path, mode, bytes, err))
        return false;
    place_record(place, step, made, path);
    return true;
}

bool place_write_config(struct place *place, cx_err *err)
{
    bool made = !cx_exists(place->config_path);

    if (made && !place->run->dry_run && !cx_config_write(place->config_path, place->config, err))
        return false;
    place_record(place, "config", made, place->config_path);
    return true;
}

/* "IP:10.0.0.1" or "DNS:host" of host:port; NULL for an address that names no host. */
static char *san_of(const char *address)
{
    CX_AUTO(cx_free) char *host = NULL;
    cx_err ignored;
    uint16_t port;

    if (!address || !cx_parse_host_port(address, 1, &host, &port, &ignored) ||
        strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return NULL;

    bool is_ip = strchr(host, ':') || strspn(host, "0123456789.") == strlen(host);

    return cx_format("%s:%s", is_ip ? "IP" : "DNS", host);
}

void place_sans(const struct place_options *option, cx_list *sans)
{
    const char *addresses[] = {option->advertise_addr, option->bind_addr, option->api_addr};

    for (size_t i = 0; i < CX_COUNT(addresses); i++) {
        char *san = san_of(addresses[i]);

        if (san && !cx_list_has(sans, san))
            cx_list_take(sans, san);
        else
            cx_free(&san);
    }
}

/* ---- open and close */

static bool take_paths(struct place *place, cx_err *err)
{
    const struct place_options *option = place->option;

    return absolute(option->data_dir, &place->data_dir, err) &&
           absolute(option->cert_dir, &place->cert_dir, err) &&
           absolute(option->log_dir, &place->log_dir, err) &&
           absolute(option->run_dir, &place->run_dir, err);
}

static const char *either(const char *given, const char *present)
{
    return given ? given : present;
}

/* What was not given is what is there. */
static void fill_in(struct place *place)
{
    const struct place_options *given = place->given;
    const cx_config *present = place->present;
    struct place_options *option = &place->effective;

    *option = *given;
    option->cluster = either(given->cluster, present->cluster);
    option->node_id = either(given->node_id, place->is_configured ? present->node_id : NULL);
    option->bind_addr = either(given->bind_addr, present->bind_addr);
    option->api_addr = either(given->api_addr, present->api_addr);
    option->data_dir = either(given->data_dir, present->data_dir);
    option->cert_dir = either(given->cert_dir, present->cert_dir);
    option->log_dir = either(given->log_dir, present->log_dir);
    option->run_dir = either(given->run_dir, present->run_dir);
    if (!given->bootstrap_expect)
        option->bootstrap_expect = present->bootstrap_expect;
    place->option = option;
}

static bool check_options(const struct place_options *option, cx_err *err)
{
    if (!option->node_id)
        return cx_fail(err, CX_USAGE, "--node-id is needed");
    return cx_check_id("--node-id", option->node_id, err) &&
           cx_check_id("--cluster", option->cluster, err);
}

static bool lock(struct place *place, cx_err *err)
{
    CX_AUTO(cx_free) char *path = place_cert(place, lock_name);

    return make_folder(place, place->cert_dir, 0750, err) && cx_lock(path, &place->lock, err) &&
           cx_sweep_stages(place->cert_dir, err);
}

bool place_open(cx_run *run, const struct place_options *option, struct place *place, cx_err *err)
{
    *place = (struct place){.run = run, .given = option, .steps = json_array(), .lock = -1};
    if (!absolute(run->config_path, &place->config_path, err) ||
        !cx_config_load(place->config_path, true, &place->present, err))
        return false;
    place->is_configured = cx_exists(place->config_path);
    fill_in(place);
    if (!check_options(place->option, err) || !take_paths(place, err))
        return false;
    place->config = wanted_values(place);
    return (!place->is_configured || check_same(place, err)) &&
           (run->dry_run ? make_folder(place, place->cert_dir, 0750, err) : lock(place, err));
}

void place_close(struct place *place)
{
    if (!place->done)
        remove_made(place);
    cx_list_free(&place->made);
    cx_config_free(&place->present);
    cx_free(&place->data_dir);
    cx_free(&place->cert_dir);
    cx_free(&place->log_dir);
    cx_free(&place->run_dir);
    cx_free(&place->config_path);
    cx_json_free(&place->steps);
    cx_json_free(&place->config);
    cx_fd_close(&place->lock);
}

json_t *place_result(struct place *place)
{
    place->done = true;
    return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:O}", "changed", place->changed, "cluster",
                     place->option->cluster, "node_id", place->option->node_id, "config",
                     place->config_path, "cert_dir", place->cert_dir, "data_dir", place->data_dir,
                     "steps", place->steps);
}

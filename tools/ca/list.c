/* list: the certificates that the CA made, from its record. */
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "commands.h"
#include "store.h"

#define DAY_MS INT64_C(86400000)

struct list_options {
    ca_place_options place;
    int64_t expiring_ms;
    bool all;
};

static const cx_option options[] = {
    {"expiring", CX_DURATION(struct list_options, expiring_ms), "DUR", NULL,
     "only those that end within DUR and have no successor"},
    {"all", CX_FLAG(struct list_options, all), NULL, NULL, "also expired and revoked ones"},
    CA_PLACE_OPTIONS(struct list_options, place),
    {0},
};

/* A newer certificate of the same identity that isn't revoked makes one superseded. */
static const char QUERY[] =
    "SELECT i.serial, i.kind, i.name, i.role, i.uri, i.how, i.not_before_ms, i.not_after_ms, "
    "i.issued_at_ms, r.revoked_at_ms, r.reason, EXISTS (SELECT 1 FROM issued n WHERE n.uri = i.uri "
    "AND n.not_after_ms > i.not_after_ms AND n.serial NOT IN (SELECT serial FROM revoked)) "
    "FROM issued i LEFT JOIN revoked r ON r.serial = i.serial "
    "ORDER BY i.kind, i.name, i.issued_at_ms, i.serial";

enum {
    SERIAL,
    KIND,
    NAME,
    ROLE,
    URI,
    HOW,
    NOT_BEFORE,
    NOT_AFTER,
    ISSUED_AT,
    REVOKED_AT,
    REASON,
    SUPERSEDED
};

static const char *status_of(cx_statement *row, int64_t now_ms)
{
    if (!cx_column_is_null(row, REVOKED_AT))
        return "revoked";
    if (cx_column_int(row, NOT_AFTER) <= now_ms)
        return "expired";
    return "valid";
}

static bool is_wanted(cx_statement *row, const struct list_options *option, int64_t now_ms)
{
    bool is_expiring = cx_column_int(row, NOT_AFTER) <= now_ms + option->expiring_ms &&
                       cx_column_is_null(row, REVOKED_AT) && cx_column_int(row, SUPERSEDED) == 0;

    if (option->expiring_ms > 0)
        return is_expiring;
    return option->all || strcmp(status_of(row, now_ms), "valid") == 0;
}

static json_t *describe(cx_statement *row, int64_t now_ms)
{
    int64_t not_after_ms = cx_column_int(row, NOT_AFTER);
    json_t *item = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:s}", "serial",
                             cx_column_text(row, SERIAL), "status", status_of(row, now_ms), "kind",
                             cx_column_text(row, KIND), "name", cx_column_text(row, NAME), "role",
                             cx_column_text(row, ROLE), "uri", cx_column_text(row, URI));

    json_object_set_new(item, "not_before", cx_json_time(cx_column_int(row, NOT_BEFORE)));
    json_object_set_new(item, "not_after", cx_json_time(not_after_ms));
    json_object_set_new(item, "days_left",
                        cx_json_figure((double)(not_after_ms - now_ms) / (double)DAY_MS));
    json_object_set_new(item, "superseded", json_boolean(cx_column_int(row, SUPERSEDED) != 0));
    json_object_set_new(item, "how", cx_json_text(cx_column_text(row, HOW)));
    json_object_set_new(item, "issued_at", cx_json_time(cx_column_int(row, ISSUED_AT)));
    if (!cx_column_is_null(row, REVOKED_AT)) {
        json_object_set_new(item, "revoked_at", cx_json_time(cx_column_int(row, REVOKED_AT)));
        json_object_set_new(item, "reason", cx_json_text(cx_column_text(row, REASON)));
    }
    return item;
}

static bool collect(cx_db *db, const struct list_options *option, json_t *certificates, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *row = NULL;
    int64_t now_ms = cx_wall_ms();

    if (!cx_db_prepare(db, QUERY, &row, err))
        return false;
    for (bool is_there = true;;) {
        if (!cx_step(row, &is_there, err))
            return false;
        if (!is_there)
            return true;
        if (is_wanted(row, option, now_ms))
            json_array_append_new(certificates, describe(row, now_ms));
    }
}

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    CX_AUTO(cx_json_free) json_t *certificates = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!ca_place_find(run, &option->place, &place, err) || !ca_db_open_read(&place, &db, err) ||
        !collect(db, option, certificates, err))
        return false;
    document = json_pack("{s:O, s:I}", "certificates", certificates, "count",
                         (json_int_t)json_array_size(certificates));
    return cx_emit(run, document, err);
}

const cx_command ca_list = {
    .name = "list",
    .summary = "list the certificates that the CA made",
    .description =
        "Without options: those that are valid now. --expiring names what needs a new one, "
        "what is over its end too.",
    .options = options,
    .options_size = sizeof(struct list_options),
    .run = list,
};

#include "health/store.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/time.h"

enum { DOCUMENT_MAX = 16 * 1024 * 1024 };

const int64_t cx_health_history_ms = INT64_C(30) * 86400 * 1000;
const int64_t cx_health_outbox_keep_ms = INT64_C(86400) * 1000;
const int64_t cx_health_silence_keep_ms = INT64_C(7) * 86400 * 1000;

static const char *const migrations[] = {
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), document TEXT NOT NULL);"
    "CREATE TABLE history (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL,"
    " document TEXT NOT NULL);"
    "CREATE INDEX history_at ON history (at_ms);"
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY, action TEXT NOT NULL, notice_id TEXT NOT NULL,"
    " key TEXT NOT NULL, document TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " next_ms INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,"
    " error TEXT NOT NULL DEFAULT '', UNIQUE (action, notice_id));"
    "CREATE TABLE silence (id TEXT PRIMARY KEY, ends_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL, document TEXT NOT NULL);",
};

struct cx_health_store {
    cx_db *db;
};

bool cx_health_store_open(const char *data_dir, bool read_only, cx_health_store **store,
                          cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(data_dir, "health.db");
    CX_AUTO(cx_health_store_close) cx_health_store *opened = cx_alloc(1, sizeof *opened);

    if (read_only && !cx_exists(path)) {
        cx_fail(err, CX_NOT_FOUND, "%s: no watcher has run here", path);
        return cx_hint(err, "cx-health watch is the daemon");
    }
    if (!cx_db_open(path, migrations, CX_COUNT(migrations), read_only, &opened->db, err))
        return false;
    *store = CX_TAKE(opened);
    return true;
}

void cx_health_store_close(cx_health_store **owner)
{
    if (*owner == NULL)
        return;
    cx_db_close(&(*owner)->db);
    cx_free(owner);
}

/* ---- state and history */

static bool read_document(cx_statement *statement, int column, json_t **document, cx_err *err)
{
    const char *text = cx_column_text(statement, column);

    return cx_json_parse(cx_bytes_of(text != NULL ? text : ""), DOCUMENT_MAX, "health.db", document,
                         err);
}

bool cx_health_store_load(cx_health_store *store, json_t **state, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(store->db, "SELECT document FROM state", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    return !row || read_document(statement, 0, state, err);
}

static bool save_state(cx_health_store *store, const json_t *state, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_free) char *text = cx_json_line(state);

    if (!cx_db_prepare(store->db, "INSERT OR REPLACE INTO state VALUES (1, ?)", &statement, err))
        return false;
    cx_bind_text(statement, 1, text);
    return cx_run_statement(statement, err);
}

static bool save_changes(cx_health_store *store, const json_t *changes, int64_t wall_ms,
                         cx_err *err)
{
    size_t at;
    json_t *change;

    json_array_foreach (changes, at, change) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
        CX_AUTO(cx_free) char *text = cx_json_line(change);

        if (!cx_db_prepare(store->db, "INSERT INTO history (at_ms, document) VALUES (?, ?)",
                           &statement, err))
            return false;
        cx_bind_int(statement, 1, wall_ms);
        cx_bind_text(statement, 2, text);
        if (!cx_run_statement(statement, err))
            return false;
    }
    return true;
}

static bool count_outbox(cx_health_store *store, int64_t *count, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(store->db, "SELECT count(*) FROM outbox", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    *count = cx_column_int(statement, 0);
    return true;
}

static bool save_notices(cx_health_store *store, const json_t *notices, int64_t wall_ms,
                         size_t *refused, cx_err *err)
{
    int64_t count = 0;
    size_t at;
    json_t *item;

    if (json_array_size(notices) > 0 && !count_outbox(store, &count, err))
        return false;
    json_array_foreach (notices, at, item) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
        const json_t *notice = json_object_get(item, "notice");
        CX_AUTO(cx_free) char *text = cx_json_line(notice);

        if (count++ >= CX_HEALTH_OUTBOX_MAX) {
            (*refused)++;
            continue;
        }
        if (!cx_db_prepare(store->db,
                           "INSERT OR IGNORE INTO outbox (action, notice_id, key, document,"
                           " created_ms) VALUES (?, ?, ?, ?, ?)",
                           &statement, err))
            return false;
        cx_bind_text(statement, 1, cx_json_text_or_empty(item, "action"));
        cx_bind_text(statement, 2, cx_json_text_or_empty(notice, "id"));
        cx_bind_text(statement, 3, cx_json_text_or_empty(notice, "key"));
        cx_bind_text(statement, 4, text);
        cx_bind_int(statement, 5, wall_ms);
        if (!cx_run_statement(statement, err))
            return false;
    }
    return true;
}

static bool delete_before(cx_health_store *store, const char *sql, int64_t ms, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(store->db, sql, &statement, err))
        return false;
    cx_bind_int(statement, 1, ms);
    return cx_run_statement(statement, err);
}

static bool save(cx_health_store *store, const cx_health_turn *turn, size_t *refused, cx_err *err)
{
    return save_state(store, turn->state, err) &&
           save_changes(store, turn->changes, turn->wall_ms, err) &&
           save_notices(store, turn->notices, turn->wall_ms, refused, err) &&
           delete_before(store, "DELETE FROM history WHERE at_ms < ?",
                         turn->wall_ms - cx_health_history_ms, err) &&
           delete_before(store, "DELETE FROM silence WHERE ends_ms < ?",
                         turn->wall_ms - cx_health_silence_keep_ms, err);
}

bool cx_health_store_save(cx_health_store *store, const cx_health_turn *turn, size_t *refused,
                          cx_err *err)
{
    *refused = 0;
    if (cx_db_begin(store->db, err) && save(store, turn, refused, err) &&
        cx_db_commit(store->db, err))
        return true;
    cx_db_rollback(store->db);
    return cx_wrap(err, "health.db");
}

/* The documents of all rows of a statement that is bound. */
static bool read_rows(cx_statement *statement, json_t **list, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *read = json_array();
    bool row = false;

    for (;;) {
        json_t *document = NULL;

        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            break;
        if (!read_document(statement, 0, &document, err))
            return false;
        json_array_append_new(read, document);
    }
    *list = CX_TAKE(read);
    return true;
}

bool cx_health_store_history(cx_health_store *store, int64_t since_ms, size_t max, json_t **changes,
                             cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(store->db,
                       "SELECT document FROM (SELECT id, document FROM history WHERE at_ms >= ?"
                       " ORDER BY id DESC LIMIT ?) ORDER BY id",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, since_ms);
    cx_bind_int(statement, 2, (int64_t)max);
    return read_rows(statement, changes, err);
}

/* ---- outbox */

void cx_health_parcel_free(cx_health_parcel *parcel)
{
    cx_json_free(&parcel->notices);
    cx_free(&parcel->ids);
    *parcel = (cx_health_parcel){0};
}

static bool has_text(const json_t *list, const char *text)
{
    size_t at;
    json_t *item;

    json_array_foreach ((json_t *)list, at, item)
        if (strcmp(json_string_value(item), text) == 0)
            return true;
    return false;
}

/* A row of a lane; *waits: it is the first, and not due yet. */
static bool take_row(cx_statement *statement, int64_t wall_ms, cx_health_parcel *parcel,
                     bool *waits, cx_err *err)
{
    json_t *notice = NULL;

    if (parcel->count == 0) {
        /* A clock that was set back must not hold anything up. */
        int64_t next_ms = cx_column_int(statement, 2);

        *waits = next_ms > wall_ms && next_ms - wall_ms <= cx_health_outbox_keep_ms;
        parcel->next_ms = next_ms;
        parcel->failures = cx_column_int(statement, 3);
        if (*waits)
            return true;
        parcel->notices = json_array();
    }
    if (!read_document(statement, 0, &notice, err))
        return false;
    json_array_append_new(parcel->notices, notice);
    parcel->ids[parcel->count++] = cx_column_int(statement, 1);
    return true;
}

bool cx_health_store_take(cx_health_store *store, const char *action, size_t max,
                          const json_t *skip, int64_t wall_ms, cx_health_parcel *parcel,
                          cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = true, waits = false;

    *parcel = (cx_health_parcel){.ids = cx_alloc(max, sizeof(int64_t))};
    if (!cx_db_prepare(store->db,
                       "SELECT document, id, next_ms, failures, notice_id FROM outbox"
                       " WHERE action = ? ORDER BY id LIMIT ?",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, action);
    cx_bind_int(statement, 2, (int64_t)(max + json_array_size(skip)));
    while (row && !waits && parcel->count < max) {
        if (!cx_step(statement, &row, err))
            return false;
        if (row && !has_text(skip, cx_column_text(statement, 4)) &&
            !take_row(statement, wall_ms, parcel, &waits, err))
            return false;
    }
    return true;
}

static bool for_each_id(cx_health_store *store, const cx_health_parcel *parcel, const char *sql,
                        int64_t next_ms, const char *why, cx_err *err)
{
    if (!cx_db_begin(store->db, err))
        return false;
    for (size_t i = 0; i < parcel->count; i++) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
        bool good = cx_db_prepare(store->db, sql, &statement, err);

        if (good) {
            cx_bind_int(statement, 1, parcel->ids[i]);
            if (why != NULL) {
                cx_bind_int(statement, 2, next_ms);
                cx_bind_text(statement, 3, why);
            }
            good = cx_run_statement(statement, err);
        }
        if (!good) {
            cx_statement_done(&statement);
            cx_db_rollback(store->db);
            return false;
        }
    }
    if (cx_db_commit(store->db, err))
        return true;
    cx_db_rollback(store->db);
    return false;
}

bool cx_health_store_done(cx_health_store *store, const cx_health_parcel *parcel, cx_err *err)
{
    return for_each_id(store, parcel, "DELETE FROM outbox WHERE id = ?1", 0, NULL, err);
}

bool cx_health_store_delay(cx_health_store *store, const cx_health_parcel *parcel, int64_t next_ms,
                           const char *why, cx_err *err)
{
    return for_each_id(store, parcel,
                       "UPDATE outbox SET next_ms = ?2, error = ?3, failures = failures + 1"
                       " WHERE id = ?1",
                       next_ms, why, err);
}

bool cx_health_store_forget(cx_health_store *store, const char *action, const json_t *ids,
                            cx_err *err)
{
    size_t at;
    json_t *id;

    json_array_foreach ((json_t *)ids, at, id) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

        if (!cx_db_prepare(store->db, "DELETE FROM outbox WHERE action = ? AND notice_id = ?",
                           &statement, err))
            return false;
        cx_bind_text(statement, 1, action);
        cx_bind_text(statement, 2, json_string_value(id));
        if (!cx_run_statement(statement, err))
            return false;
    }
    return true;
}

bool cx_health_store_drop(cx_health_store *store, const json_t *keys, cx_err *err)
{
    size_t at;
    json_t *key;

    json_array_foreach ((json_t *)keys, at, key) {
        CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

        if (!cx_db_prepare(store->db, "DELETE FROM outbox WHERE key = ?", &statement, err))
            return false;
        cx_bind_text(statement, 1, json_string_value(key));
        if (!cx_run_statement(statement, err))
            return false;
    }
    return true;
}

static bool count_by_action(cx_health_store *store, json_t **by_action, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_json_free) json_t *counts = json_object();
    bool row = true;

    if (!cx_db_prepare(store->db, "SELECT action, count(*) FROM outbox GROUP BY action", &statement,
                       err))
        return false;
    while (row) {
        if (!cx_step(statement, &row, err))
            return false;
        if (row)
            json_object_set_new(counts, cx_column_text(statement, 0),
                                json_integer(cx_column_int(statement, 1)));
    }
    *by_action = CX_TAKE(counts);
    return true;
}

bool cx_health_store_waiting(cx_health_store *store, json_t **by_action, json_t **keys, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_json_free) json_t *found = json_array();
    bool row = true;

    if (by_action != NULL && !count_by_action(store, by_action, err))
        return false;
    if (keys == NULL)
        return true;
    if (!cx_db_prepare(store->db, "SELECT DISTINCT key FROM outbox", &statement, err))
        return false;
    while (row) {
        if (!cx_step(statement, &row, err))
            return false;
        if (row)
            json_array_append_new(found, cx_json_text(cx_column_text(statement, 0)));
    }
    *keys = CX_TAKE(found);
    return true;
}

/* ---- from one file into another */

bool cx_health_store_outbox(cx_health_store *store, const json_t *sent, json_t **parcels,
                            cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_json_free) json_t *list = json_array();
    bool row = true;

    if (!cx_db_prepare(store->db, "SELECT document, action, notice_id FROM outbox ORDER BY id",
                       &statement, err))
        return false;
    for (;;) {
        const char *action;
        json_t *notice = NULL;

        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            break;
        action = cx_column_text(statement, 1);
        if (has_text(json_object_get(sent, action), cx_column_text(statement, 2)))
            continue;
        if (!read_document(statement, 0, &notice, err))
            return false;
        json_array_append_new(
            list, json_pack("{s:o, s:o}", "action", cx_json_text(action), "notice", notice));
    }
    *parcels = CX_TAKE(list);
    return true;
}

/* Numbers go as text: the columns make numbers of them again. */
static bool copy_rows(cx_health_store *from, const char *select, cx_health_store *to,
                      const char *insert, int columns, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *read = NULL;
    bool row = true;

    if (!cx_db_prepare(from->db, select, &read, err))
        return false;
    for (;;) {
        CX_AUTO(cx_statement_done) cx_statement *write = NULL;

        if (!cx_step(read, &row, err))
            return false;
        if (!row)
            return true;
        if (!cx_db_prepare(to->db, insert, &write, err))
            return false;
        for (int i = 0; i < columns; i++)
            cx_bind_text(write, i + 1, cx_column_text(read, i));
        if (!cx_run_statement(write, err))
            return false;
    }
}

static bool carry(cx_health_store *from, cx_health_store *to, cx_err *err)
{
    return cx_db_exec(to->db, "DELETE FROM outbox", err) &&
           copy_rows(from, "SELECT document FROM state", to,
                     "INSERT OR REPLACE INTO state VALUES (1, ?1)", 1, err) &&
           copy_rows(from, "SELECT at_ms, document FROM history ORDER BY id", to,
                     "INSERT INTO history (at_ms, document) SELECT ?1, ?2 WHERE NOT EXISTS"
                     " (SELECT 1 FROM history WHERE at_ms = ?1 AND document = ?2)",
                     2, err) &&
           copy_rows(from, "SELECT id, ends_ms, updated_ms, document FROM silence", to,
                     "INSERT INTO silence VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET"
                     " ends_ms = excluded.ends_ms, updated_ms = excluded.updated_ms,"
                     " document = excluded.document WHERE updated_ms < excluded.updated_ms",
                     4, err);
}

bool cx_health_store_carry(cx_health_store *from, cx_health_store *to, cx_err *err)
{
    if (cx_db_begin(to->db, err) && carry(from, to, err) && cx_db_commit(to->db, err))
        return true;
    cx_db_rollback(to->db);
    return cx_wrap(err, "health.db");
}

/* ---- silences */

bool cx_health_store_silences(cx_health_store *store, bool all, int64_t wall_ms, json_t **silences,
                              cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(store->db,
                       "SELECT document FROM silence WHERE ends_ms > ? ORDER BY ends_ms DESC, id"
                       " LIMIT ?",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, all ? 0 : wall_ms);
    cx_bind_int(statement, 2, CX_HEALTH_SILENCES_MAX);
    return read_rows(statement, silences, err);
}

bool cx_health_store_silence(cx_health_store *store, const char *id, json_t **found, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(store->db, "SELECT document FROM silence WHERE id = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, id);
    if (!cx_step(statement, &row, err))
        return false;
    return !row || read_document(statement, 0, found, err);
}

bool cx_health_store_put_silence(cx_health_store *store, const json_t *silence, bool *changed,
                                 cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_free) char *text = cx_json_line(silence);
    int64_t ends_ms = 0, updated_ms = 0;

    if (!cx_time_parse(cx_json_text_or_empty(silence, "ends_at"), &ends_ms, err) ||
        !cx_json_need_int(silence, "silence", "updated_ms", 0, INT64_MAX, &updated_ms, err) ||
        !cx_db_prepare(store->db,
                       "INSERT INTO silence VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET"
                       " ends_ms = ?2, updated_ms = ?3, document = ?4 WHERE updated_ms < ?3",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, cx_json_text_or_empty(silence, "id"));
    cx_bind_int(statement, 2, ends_ms);
    cx_bind_int(statement, 3, updated_ms);
    cx_bind_text(statement, 4, text);
    if (!cx_run_statement(statement, err))
        return false;
    if (changed != NULL)
        *changed = cx_db_changes(store->db) > 0;
    return true;
}

#include "revocation.h"

#include <string.h>

#include <openssl/x509.h>

#include "base/io.h"
#include "base/time.h"

/* How long after its end a revoked certificate stays on the list: renewal of expired ones asks it. */
#define KEEP_MS (INT64_C(366) * 24 * 60 * 60 * 1000)

struct entries {
    cx_crl_entry *items;
    size_t count;
};

static void entries_free(struct entries *entries)
{
    cx_free(&entries->items);
    entries->count = 0;
}

static bool read_entries(ca_store *store, struct entries *entries, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (store->db == NULL)
        return true;
    if (!cx_db_prepare(store->db,
                       "SELECT r.serial, r.revoked_at_ms, r.reason FROM revoked r "
                       "LEFT JOIN issued i ON i.serial = r.serial "
                       "WHERE i.serial IS NULL OR i.not_after_ms > ? ORDER BY r.serial",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, store->now_ms - KEEP_MS);
    for (bool row = true;;) {
        cx_crl_entry *entry;
        cx_err unused;

        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            return true;
        entries->items = cx_realloc(entries->items, entries->count + 1, sizeof(*entries->items));
        entry = &entries->items[entries->count++];
        *entry = (cx_crl_entry){.revoked_at_ms = cx_column_int(statement, 1)};
        strncpy(entry->serial, cx_column_text(statement, 0), CX_SERIAL_SIZE - 1);
        if (!cx_crl_reason_parse(cx_column_text(statement, 2), &entry->reason, &unused))
            entry->reason = CX_REVOKED_UNSPECIFIED;
    }
}

/* How many revocations are recorded; it only grows. */
static bool count_known(ca_store *store, int64_t *known, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *known = 0;
    if (store->db == NULL)
        return true;
    if (!cx_db_prepare(store->db, "SELECT count(*) FROM revoked", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    *known = cx_column_int(statement, 0);
    return true;
}

/* The last recorded list, and how many revocations were known to it; *pem is NULL when it is not kept. number 0: none. */
static bool read_last(ca_store *store, ca_crl_result *last, int64_t *known, char **pem, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *last = (ca_crl_result){0};
    *known = 0;
    *pem = NULL;
    if (store->db == NULL)
        return true;
    if (!cx_db_prepare(store->db,
                       "SELECT number, issued_at_ms, next_update_ms, revoked, crl_pem FROM crl "
                       "ORDER BY number DESC LIMIT 1",
                       &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    if (!row)
        return true;
    last->number = cx_column_int(statement, 0);
    last->this_update_ms = cx_column_int(statement, 1);
    last->next_update_ms = cx_column_int(statement, 2);
    *known = cx_column_int(statement, 3);
    *pem = cx_strdup(cx_column_text(statement, 4));
    return true;
}

static bool record(ca_store *store, const ca_crl_result *result, int64_t known, const char *pem,
                   cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(store->db,
                       "INSERT INTO crl (number, issued_at_ms, next_update_ms, revoked, crl_pem) "
                       "VALUES (?, ?, ?, ?, ?)",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, result->number);
    cx_bind_int(statement, 2, result->this_update_ms);
    cx_bind_int(statement, 3, result->next_update_ms);
    cx_bind_int(statement, 4, known);
    cx_bind_text(statement, 5, pem);
    return cx_run_statement(statement, err) &&
           audit_add(store->db, "crl_signed",
                     json_pack("{s:I, s:o, s:I}", "number", (json_int_t)result->number,
                               "next_update", cx_json_time(result->next_update_ms), "count",
                               (json_int_t)result->count),
                     store->now_ms, err) &&
           cx_db_commit(store->db, err);
}

static bool sign(ca_store *store, const struct entries *entries, const ca_crl_result *result,
                 char **pem, cx_err *err)
{
    CX_AUTO(cx_crl_free) X509_CRL *crl = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    if (!cx_crl_make(store->cert, store->key, entries->items, entries->count, result->number,
                     store->now_ms, result->next_update_ms, &crl, err) ||
        !cx_crl_to_pem(crl, &text, err))
        return false;
    *pem = cx_buffer_take_text(&text);
    return true;
}

/* What the published list knows and the record doesn't. *number grows to the list's. */
static bool take_over(ca_store *store, int64_t *number, cx_err *err)
{
    CX_AUTO(cx_crl_free) X509_CRL *crl = NULL;
    CX_AUTO(entries_free) struct entries entries = {0};
    cx_err unused;

    if (!cx_crl_read(store->place.crl, &crl, &unused) || !cx_crl_is_signed_by(crl, store->cert))
        return true;
    if (cx_crl_number(crl) > *number)
        *number = cx_crl_number(crl);
    cx_crl_entries(crl, &entries.items, &entries.count);
    for (size_t i = 0; i < entries.count; i++) {
        const cx_crl_entry *entry = &entries.items[i];
        bool changed;

        if (!ca_db_revoke(store->db, entry->serial, entry->revoked_at_ms, entry->reason, &changed,
                          err))
            return false;
    }
    return true;
}

static bool take_over_in_transaction(ca_store *store, int64_t *number, cx_err *err)
{
    if (!cx_db_begin(store->db, err))
        return false;
    if (take_over(store, number, err) && cx_db_commit(store->db, err))
        return true;
    cx_db_rollback(store->db);
    return false;
}

/* The list knows all revocations, and more than half of its life, and of the wanted life, is left. */
static bool is_fresh(const ca_store *store, const ca_crl_result *last, int64_t life_ms)
{
    int64_t left_ms = last->next_update_ms - store->now_ms;

    return left_ms > (last->next_update_ms - last->this_update_ms) / 2 && left_ms > life_ms / 2;
}

static bool publish(ca_store *store, const char *pem, bool *changed, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer old = {0};
    cx_err unused;

    if (cx_read_file(store->place.crl, CX_CERTS_BYTES_MAX, &old, &unused) &&
        cx_bytes_equal(cx_buffer_bytes(&old), cx_bytes_of(pem)))
        return true;
    *changed = true;
    return cx_replace(store->place.crl, 0644, cx_bytes_of(pem), err);
}

static bool make_new(ca_store *store, const struct entries *entries, int64_t known, int64_t number,
                     int64_t life_ms, ca_crl_result *result, char **pem, cx_err *err)
{
    *result = (ca_crl_result){
        .changed = true,
        .number = number,
        .this_update_ms = store->now_ms,
        .next_update_ms = store->now_ms + life_ms,
        .count = entries->count,
    };
    cx_free(pem);
    if (!sign(store, entries, result, pem, err))
        return false;
    if (store->dry_run)
        return true;
    if (!cx_db_begin(store->db, err))
        return false;
    if (record(store, result, known, *pem, err))
        return audit_flush(store->db, store->place.audit, err);
    cx_db_rollback(store->db);
    return false;
}

bool ca_crl_update(ca_store *store, int64_t life_ms, bool anew, ca_crl_result *result, cx_err *err)
{
    CX_AUTO(entries_free) struct entries entries = {0};
    CX_AUTO(cx_free) char *pem = NULL;
    int64_t number, known, known_to_last;

    if (!read_last(store, result, &known_to_last, &pem, err))
        return false;
    number = result->number;
    if ((!store->dry_run && !take_over_in_transaction(store, &number, err)) ||
        !count_known(store, &known, err) || !read_entries(store, &entries, err))
        return false;
    result->count = entries.count;
    if ((anew || pem == NULL || number > result->number || known != known_to_last ||
         !is_fresh(store, result, life_ms)) &&
        !make_new(store, &entries, known, number + 1, life_ms, result, &pem, err))
        return false;
    return store->dry_run || publish(store, pem, &result->changed, err);
}

json_t *ca_crl_describe(const ca_store *store, const ca_crl_result *result)
{
    return json_pack("{s:b, s:o, s:I, s:o, s:o, s:I}", "changed", result->changed, "crl",
                     cx_json_text(store->place.crl), "number", (json_int_t)result->number,
                     "this_update", cx_json_time(result->this_update_ms), "next_update",
                     cx_json_time(result->next_update_ms), "count", (json_int_t)result->count);
}

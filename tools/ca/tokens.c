#include "tokens.h"

#include <string.h>

#include <sodium.h>

#include "base/text.h"
#include "base/time.h"

/* A token as it is recorded. */
struct record {
    char node_id[CX_ID_SIZE];
    char secret_sha256[CX_FINGERPRINT_SIZE];
    char serial[CX_SERIAL_SIZE]; /* of the certificate it was spent on, "" */
    int64_t expires_at_ms;
    bool is_revoked;
    bool is_used;
};

static void copy_column(cx_statement *row, int at, char *to, size_t size)
{
    const char *text = cx_column_text(row, at);

    strncpy(to, text != NULL ? text : "", size - 1);
}

static bool read_record(cx_db *db, const char *id, struct record *record, bool *found, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *row = NULL;

    *record = (struct record){0};
    if (!cx_db_prepare(db,
                       "SELECT node_id, secret_sha256, serial, expires_at_ms, revoked_at_ms, "
                       "used_at_ms FROM tokens WHERE id = ?",
                       &row, err))
        return false;
    cx_bind_text(row, 1, id);
    if (!cx_step(row, found, err))
        return false;
    if (*found) {
        copy_column(row, 0, record->node_id, sizeof(record->node_id));
        copy_column(row, 1, record->secret_sha256, sizeof(record->secret_sha256));
        copy_column(row, 2, record->serial, sizeof(record->serial));
        record->expires_at_ms = cx_column_int(row, 3);
        record->is_revoked = !cx_column_is_null(row, 4);
        record->is_used = !cx_column_is_null(row, 5);
    }
    return true;
}

static bool insert(ca_store *store, const cx_token *token, int64_t expires_at_ms, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    char hash[CX_FINGERPRINT_SIZE];

    if (!cx_db_prepare(store->db,
                       "INSERT INTO tokens (id, node_id, secret_sha256, url, created_at_ms, "
                       "expires_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
                       &statement, err))
        return false;
    cx_token_secret_hash(token->secret, hash);
    cx_bind_text(statement, 1, token->id);
    cx_bind_text(statement, 2, token->node_id);
    cx_bind_text(statement, 3, hash);
    cx_bind_text(statement, 4, token->url);
    cx_bind_int(statement, 5, store->now_ms);
    cx_bind_int(statement, 6, expires_at_ms);
    return cx_run_statement(statement, err) &&
           audit_add(store->db, "token_created",
                     json_pack("{s:s, s:s, s:o}", "token_id", token->id, "node_id", token->node_id,
                               "expires_at", cx_json_time(expires_at_ms)),
                     store->now_ms, err) &&
           cx_db_commit(store->db, err);
}

static bool mark_revoked(ca_store *store, const char *id, bool *changed, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(store->db,
                       "UPDATE tokens SET revoked_at_ms = ? WHERE id = ? AND revoked_at_ms IS NULL "
                       "AND used_at_ms IS NULL AND expires_at_ms > ?",
                       &statement, err))
        return false;
    cx_bind_int(statement, 1, store->now_ms);
    cx_bind_text(statement, 2, id);
    cx_bind_int(statement, 3, store->now_ms);
    if (!cx_run_statement(statement, err))
        return false;
    *changed = cx_db_changes(store->db) > 0;
    return (!*changed || audit_add(store->db, "token_revoked", json_pack("{s:s}", "token_id", id),
                                   store->now_ms, err)) &&
           cx_db_commit(store->db, err);
}

static const char *status_of(cx_statement *row, int64_t now_ms)
{
    if (!cx_column_is_null(row, 4))
        return "used";
    if (!cx_column_is_null(row, 5))
        return "revoked";
    return cx_column_int(row, 3) <= now_ms ? "expired" : "active";
}

static void set_time_or_null(json_t *object, const char *key, cx_statement *row, int at)
{
    json_object_set_new(object, key,
                        cx_column_is_null(row, at) ? json_null()
                                                   : cx_json_time(cx_column_int(row, at)));
}

/* ---- spending */

/* The claim is true and the token can be spent, or (*again) was spent on this very key. */
static bool check_claim(ca_store *store, const ca_token_claim *claim, const struct record *record,
                        bool found, bool *again, cx_err *err)
{
    static const char nothing[CX_FINGERPRINT_SIZE] = "";
    char hash[CX_FINGERPRINT_SIZE] = "";

    /* Unknown and false take the same path and the same time. */
    cx_token_secret_hash(claim->secret, hash);
    if (sodium_memcmp(hash, found ? record->secret_sha256 : nothing, sizeof(hash)) != 0 || !found) {
        cx_fail(err, CX_TOKEN_INVALID, "the token is not one of this CA's");
        return cx_hint(err, "cx-ca token create --node-id %s makes one", claim->node_id);
    }
    if (strcmp(record->node_id, claim->node_id) != 0)
        return cx_fail(err, CX_TOKEN_INVALID, "the token is for node %s, not for %s",
                       record->node_id, claim->node_id);
    if (record->is_revoked)
        return cx_fail(err, CX_TOKEN_INVALID, "the token is revoked");
    *again = record->is_used;
    if (record->expires_at_ms <= store->now_ms) {
        cx_fail(err, CX_TOKEN_EXPIRED, "the token has expired");
        return cx_hint(err, "cx-ca token create --node-id %s makes another", claim->node_id);
    }
    return true;
}

/* The certificate that the token was spent on, if the same key asks again. */
static bool give_again(ca_store *store, const struct record *record, const EVP_PKEY *key,
                       X509 **cert, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *row = NULL;
    char key_id[CX_KEY_ID_SIZE];
    bool found = false;

    if (!cx_db_prepare(store->db,
                       "SELECT certificate_pem FROM issued WHERE serial = ? AND key_sha256 = ? "
                       "AND serial NOT IN (SELECT serial FROM revoked)",
                       &row, err))
        return false;
    cx_key_id(key, key_id);
    cx_bind_text(row, 1, record->serial);
    cx_bind_text(row, 2, key_id);
    if (!cx_step(row, &found, err))
        return false;
    if (!found || cx_column_is_null(row, 0)) {
        cx_fail(err, CX_TOKEN_USED, "the token was used already");
        return cx_hint(err, "if that was not you: cx-ca revoke --serial %s", record->serial);
    }
    return cx_cert_from_pem(cx_bytes_of(cx_column_text(row, 0)), "ca.db", cert, err);
}

bool ca_token_add(ca_store *store, const cx_token *token, int64_t expires_at_ms, cx_err *err)
{
    if (!cx_db_begin(store->db, err))
        return false;
    if (insert(store, token, expires_at_ms, err))
        return audit_flush(store->db, store->place.audit, err);
    cx_db_rollback(store->db);
    return false;
}

bool ca_token_revoke(ca_store *store, const char *id, bool *changed, cx_err *err)
{
    struct record record;
    bool found = false;

    *changed = false;
    if (store->db != NULL && !read_record(store->db, id, &record, &found, err))
        return false;
    if (!found)
        return cx_fail(err, CX_NOT_FOUND, "no token %.40s", id);
    if (store->dry_run) {
        *changed = !record.is_revoked && !record.is_used && record.expires_at_ms > store->now_ms;
        return true;
    }
    if (!cx_db_begin(store->db, err))
        return false;
    if (mark_revoked(store, id, changed, err))
        return audit_flush(store->db, store->place.audit, err);
    cx_db_rollback(store->db);
    return false;
}

bool ca_token_list(cx_db *db, int64_t now_ms, bool all, json_t *tokens, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *row = NULL;

    if (!cx_db_prepare(db,
                       "SELECT id, node_id, created_at_ms, expires_at_ms, used_at_ms, "
                       "revoked_at_ms, serial, url FROM tokens ORDER BY id",
                       &row, err))
        return false;
    for (bool is_there = true;;) {
        const char *status;
        json_t *token;

        if (!cx_step(row, &is_there, err))
            return false;
        if (!is_there)
            return true;
        status = status_of(row, now_ms);
        if (!all && strcmp(status, "active") != 0)
            continue;
        token = json_pack("{s:s, s:s, s:s, s:s}", "id", cx_column_text(row, 0), "node_id",
                          cx_column_text(row, 1), "status", status, "url", cx_column_text(row, 7));
        set_time_or_null(token, "created_at", row, 2);
        set_time_or_null(token, "expires_at", row, 3);
        set_time_or_null(token, "used_at", row, 4);
        set_time_or_null(token, "revoked_at", row, 5);
        json_object_set_new(token, "serial",
                            cx_column_is_null(row, 6) ? json_null()
                                                      : cx_json_text(cx_column_text(row, 6)));
        json_array_append_new(tokens, token);
    }
}

bool ca_token_spend(ca_store *store, const ca_token_claim *claim, EVP_PKEY *key,
                    int64_t validity_ms, X509 **cert, bool *changed, cx_err *err)
{
    CX_AUTO(ca_leaf_wish_free) ca_leaf_wish wish = {0};
    struct record record;
    bool found, again = false;

    *changed = false;
    if (!read_record(store->db, claim->id, &record, &found, err) ||
        !check_claim(store, claim, &record, found, &again, err))
        return false;
    if (again)
        return give_again(store, &record, key, cert, err);
    if (!ca_leaf_wish_make(claim->node_id, NULL, NULL, &(cx_list){0}, validity_ms, &wish, err))
        return false;
    ca_leaf_wish_bind(&wish, store);
    *changed = true;
    return ca_leaf_make_for_token(store, key, &wish, claim->id, cert, err);
}

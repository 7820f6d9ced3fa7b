#include "store.h"

#include <string.h>

#include <openssl/x509.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

enum { LOCK_WAIT_MS = 10000 };

static const char *const MIGRATIONS[] = {
    "CREATE TABLE ca ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " cluster TEXT NOT NULL,"
    " fingerprint_sha256 TEXT NOT NULL,"
    " certificate_pem TEXT NOT NULL) STRICT;"
    /* certificate_pem is NULL for what was taken over from the audit log. */
    "CREATE TABLE issued ("
    " serial TEXT PRIMARY KEY,"
    " kind TEXT NOT NULL,"
    " name TEXT NOT NULL,"
    " role TEXT,"
    " uri TEXT NOT NULL,"
    " key_sha256 TEXT NOT NULL,"
    " how TEXT NOT NULL,"
    " not_before_ms INTEGER NOT NULL,"
    " not_after_ms INTEGER NOT NULL,"
    " issued_at_ms INTEGER NOT NULL,"
    " certificate_pem TEXT) STRICT;"
    "CREATE INDEX issued_by_uri ON issued (uri, issued_at_ms);"
    "CREATE INDEX issued_by_end ON issued (not_after_ms);"
    "CREATE INDEX issued_by_key ON issued (key_sha256);"
    "CREATE TABLE revoked ("
    " serial TEXT PRIMARY KEY,"
    " revoked_at_ms INTEGER NOT NULL,"
    " reason TEXT NOT NULL) STRICT;"
    "CREATE TABLE crl ("
    " number INTEGER PRIMARY KEY,"
    " issued_at_ms INTEGER NOT NULL,"
    " next_update_ms INTEGER NOT NULL,"
    " revoked INTEGER NOT NULL,"
    " crl_pem TEXT) STRICT;"
    "CREATE TABLE tokens ("
    " id TEXT PRIMARY KEY,"
    " node_id TEXT NOT NULL,"
    " secret_sha256 TEXT NOT NULL,"
    " url TEXT NOT NULL,"
    " created_at_ms INTEGER NOT NULL,"
    " expires_at_ms INTEGER NOT NULL,"
    " revoked_at_ms INTEGER,"
    " used_at_ms INTEGER,"
    " serial TEXT) STRICT;"
    "CREATE TABLE audit ("
    " seq INTEGER PRIMARY KEY,"
    " line TEXT NOT NULL) STRICT;"
    /* What was recorded stays as it is, whichever program opens the file. */
    "CREATE TRIGGER revoked_stays BEFORE DELETE ON revoked"
    " BEGIN SELECT RAISE(ABORT, 'revocations are kept'); END;"
    "CREATE TRIGGER issued_stays BEFORE DELETE ON issued"
    " BEGIN SELECT RAISE(ABORT, 'records of certificates are kept'); END;"
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;"
    "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;",
};

static char *pem_of(X509 *cert)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    cx_err unused;

    if (!cx_cert_to_pem(cert, &pem, &unused))
        return NULL;
    return cx_buffer_take_text(&pem);
}

static bool insert_ca(ca_store *store, const char *fingerprint, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_free) char *pem = pem_of(store->cert);

    if (!cx_db_prepare(store->db,
                       "INSERT OR REPLACE INTO ca "
                       "(id, cluster, fingerprint_sha256, certificate_pem) VALUES (1, ?, ?, ?)",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, store->cluster);
    cx_bind_text(statement, 2, fingerprint);
    cx_bind_text(statement, 3, pem);
    return cx_run_statement(statement, err);
}

/* The recorded certificate, NULL when there is none. */
static bool recorded(cx_db *db, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *cert = NULL;
    if (!cx_db_prepare(db, "SELECT certificate_pem FROM ca", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    return !row || cx_cert_from_pem(cx_bytes_of(cx_column_text(statement, 0)), "ca.db", cert, err);
}

static bool insert_issued(ca_store *store, X509 *cert, const cx_identity *identity, const char *how,
                          cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    CX_AUTO(cx_free) char *pem = pem_of(cert);
    char serial[CX_SERIAL_SIZE], uri[CX_URI_SIZE], key_id[CX_KEY_ID_SIZE];
    bool is_operator = identity->kind == CX_IDENTITY_OPERATOR;

    if (!cx_db_prepare(store->db,
                       "INSERT INTO issued (serial, kind, name, role, uri, key_sha256, how, "
                       "not_before_ms, not_after_ms, issued_at_ms, certificate_pem) "
                       "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                       &statement, err))
        return false;
    cx_cert_serial(cert, serial);
    cx_identity_uri(identity, uri);
    cx_key_id(X509_get0_pubkey(cert), key_id);
    cx_bind_text(statement, 1, serial);
    cx_bind_text(statement, 2, cx_identity_kind_word(identity->kind));
    cx_bind_text(statement, 3, identity->name);
    cx_bind_text(statement, 4, is_operator ? cx_role_word(identity->role) : NULL);
    cx_bind_text(statement, 5, uri);
    cx_bind_text(statement, 6, key_id);
    cx_bind_text(statement, 7, how);
    cx_bind_int(statement, 8, cx_cert_not_before_ms(cert));
    cx_bind_int(statement, 9, cx_cert_not_after_ms(cert));
    cx_bind_int(statement, 10, store->now_ms);
    cx_bind_text(statement, 11, pem);
    return cx_run_statement(statement, err);
}

/* All that apply_issued of the audit log needs to make the record anew. */
static json_t *audit_fields(const ca_store *store, X509 *cert, const cx_identity *identity,
                            const char *how)
{
    char serial[CX_SERIAL_SIZE], uri[CX_URI_SIZE], key_id[CX_KEY_ID_SIZE];
    json_t *fields;

    cx_cert_serial(cert, serial);
    cx_identity_uri(identity, uri);
    cx_key_id(X509_get0_pubkey(cert), key_id);
    fields = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "serial", serial, "kind",
                       cx_identity_kind_word(identity->kind), "name", identity->name, "uri", uri,
                       "key_sha256", key_id, "how", how, "not_before",
                       cx_json_time(cx_cert_not_before_ms(cert)), "not_after",
                       cx_json_time(cx_cert_not_after_ms(cert)));
    if (identity->kind == CX_IDENTITY_OPERATOR)
        json_object_set_new(fields, "role", json_string(cx_role_word(identity->role)));
    if (store->peer[0] != '\0')
        json_object_set_new(fields, "from", cx_json_text(store->peer));
    return fields;
}

/* Marks a token as spent on the certificate, if it still can be. */
static bool spend_token(ca_store *store, const char *id, X509 *cert, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    char serial[CX_SERIAL_SIZE];

    if (!cx_db_prepare(store->db,
                       "UPDATE tokens SET used_at_ms = ?, serial = ? WHERE id = ? "
                       "AND used_at_ms IS NULL AND revoked_at_ms IS NULL AND expires_at_ms > ?",
                       &statement, err))
        return false;
    cx_cert_serial(cert, serial);
    cx_bind_int(statement, 1, store->now_ms);
    cx_bind_text(statement, 2, serial);
    cx_bind_text(statement, 3, id);
    cx_bind_int(statement, 4, store->now_ms);
    if (!cx_run_statement(statement, err))
        return false;
    if (cx_db_changes(store->db) == 0)
        return cx_fail(err, CX_TOKEN_USED, "the token was used already");
    return audit_add(store->db, "token_used",
                     json_pack("{s:s, s:s}", "token_id", id, "serial", serial), store->now_ms, err);
}

static bool record_in_transaction(ca_store *store, X509 *cert, const cx_identity *identity,
                                  const char *how, const char *token_id, cx_err *err)
{
    return (token_id == NULL || spend_token(store, token_id, cert, err)) &&
           insert_issued(store, cert, identity, how, err) &&
           audit_add(store->db, "certificate_issued", audit_fields(store, cert, identity, how),
                     store->now_ms, err) &&
           cx_db_commit(store->db, err);
}

static bool record_ca_in_transaction(ca_store *store, cx_err *err)
{
    char fingerprint[CX_FINGERPRINT_SIZE];

    cx_cert_fingerprint(store->cert, fingerprint);
    return insert_ca(store, fingerprint, err) &&
           audit_add(store->db, "ca_recorded",
                     json_pack("{s:s, s:s, s:o}", "cluster", store->cluster, "fingerprint_sha256",
                               fingerprint, "not_after",
                               cx_json_time(cx_cert_not_after_ms(store->cert))),
                     store->now_ms, err) &&
           cx_db_commit(store->db, err);
}

/* "no CA here" with what to do, in place of "no such file". */
static bool explain_missing(const ca_store *store, const char *path, cx_err *err)
{
    if (err->code != CX_NOT_FOUND)
        return false;
    if (strcmp(path, store->place.key) == 0 && cx_exists(store->place.cert)) {
        cx_fail(err, CX_NOT_FOUND, "%s: no CA key here, only its certificate", path);
        return cx_hint(err, "sign on the CA's host: cx-join csr | ssh HOST cx-ca sign --node-id "
                            "ID, or name the key with --ca-key");
    }
    cx_fail(err, CX_NOT_FOUND, "%s: no CA here", path);
    return cx_hint(err,
                   "cx-ca init makes one; --ca-dir, --ca-cert and --ca-key name another place");
}

static bool check_in_date(const ca_store *store, cx_err *err)
{
    int64_t end_ms = cx_cert_not_after_ms(store->cert);
    char end[CX_TIME_TEXT_SIZE];

    if (end_ms > store->now_ms)
        return true;
    cx_fail(err, CX_CERT_EXPIRED, "%s: the CA has expired on %s", store->place.cert,
            cx_time_text(end_ms, end));
    return cx_hint(err, "check this host's clock; else the cluster needs a new CA");
}

bool ca_store_begin(const cx_run *run, const ca_key_options *options, ca_store **store, cx_err *err)
{
    CX_AUTO(ca_store_close) ca_store *made = cx_alloc(1, sizeof(*made));

    made->lock = -1;
    made->now_ms = cx_wall_ms();
    made->dry_run = run->dry_run;
    if (!ca_place_find(run, &options->place, &made->place, err))
        return false;
    if (!made->dry_run && cx_exists(made->place.folder)) {
        if (!cx_lock_wait(made->place.lock, cx_timeout_or(run, LOCK_WAIT_MS), &made->lock, err) ||
            !cx_sweep_stages(made->place.folder, err))
            return cx_wrap(err, "the CA in %s", made->place.folder);
    }
    *store = CX_TAKE(made);
    return true;
}

bool ca_store_read_key(ca_store *store, const ca_key_options *options, cx_err *err)
{
    CX_AUTO(cx_passphrase_free) char *passphrase = NULL;

    if (options->passphrase_file != NULL &&
        !cx_passphrase_read(options->passphrase_file, &passphrase, err))
        return cx_wrap(err, "--passphrase-file");
    return cx_key_read(store->place.key, passphrase, &store->key, err) ||
           explain_missing(store, store->place.key, err);
}

bool ca_store_read_cert(ca_store *store, cx_err *err)
{
    if (!cx_cert_read(store->place.cert, &store->cert, err))
        return explain_missing(store, store->place.cert, err);
    return cx_cert_cluster(store->cert, store->cluster, err) ||
           cx_wrap(err, "%s", store->place.cert);
}

bool ca_store_open_db(ca_store *store, cx_err *err)
{
    size_t recovered;

    if (store->dry_run)
        return !cx_exists(store->place.db) ||
               cx_db_open(store->place.db, MIGRATIONS, CX_COUNT(MIGRATIONS), true, &store->db, err);
    return cx_db_open(store->place.db, MIGRATIONS, CX_COUNT(MIGRATIONS), false, &store->db, err) &&
           audit_recover(store->db, store->place.audit, &recovered, err) &&
           audit_flush(store->db, store->place.audit, err);
}

bool ca_store_open(const cx_run *run, const ca_key_options *options, ca_store **store, cx_err *err)
{
    CX_AUTO(ca_store_close) ca_store *made = NULL;

    if (!ca_store_begin(run, options, &made, err) || !ca_store_read_key(made, options, err) ||
        !ca_store_read_cert(made, err) ||
        !cx_cert_check_key(made->cert, made->place.cert, made->key, made->place.key, err) ||
        !check_in_date(made, err) || !ca_store_open_db(made, err) || !ca_store_record_ca(made, err))
        return false;
    *store = CX_TAKE(made);
    return true;
}

void ca_store_close(ca_store **owner)
{
    ca_store *store = *owner;

    if (store == NULL)
        return;
    cx_db_close(&store->db);
    cx_key_free(&store->key);
    cx_cert_free(&store->cert);
    ca_place_free(&store->place);
    cx_fd_close(&store->lock);
    cx_free(owner);
}

bool ca_db_open_read(const ca_place *place, cx_db **db, cx_err *err)
{
    if (cx_db_open(place->db, MIGRATIONS, CX_COUNT(MIGRATIONS), true, db, err))
        return true;
    if (err->code != CX_NOT_FOUND)
        return false;
    cx_fail(err, CX_NOT_FOUND, "%s: no CA has kept its records here", place->db);
    return cx_hint(err, "--ca-dir or --ca-key names another place; cx-ca show FILE reads a single "
                        "certificate");
}

bool ca_store_record_ca(ca_store *store, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *known = NULL;

    if (store->dry_run)
        return true;
    if (!recorded(store->db, &known, err))
        return false;
    if (known != NULL && X509_cmp(known, store->cert) == 0)
        return true;
    if (!cx_db_begin(store->db, err))
        return false;
    if (!record_ca_in_transaction(store, err)) {
        cx_db_rollback(store->db);
        return false;
    }
    return audit_flush(store->db, store->place.audit, err);
}

bool ca_store_recorded_ca(ca_store *store, const char *cluster, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_cert_free) X509 *known = NULL;
    char its_cluster[CX_ID_SIZE];

    *cert = NULL;
    if (store->db == NULL)
        return true;
    if (!recorded(store->db, &known, err))
        return false;
    if (known == NULL || EVP_PKEY_eq(X509_get0_pubkey(known), store->key) != 1 ||
        !cx_cert_cluster(known, its_cluster, err) || strcmp(its_cluster, cluster) != 0)
        return true;
    *cert = CX_TAKE(known);
    return true;
}

bool ca_store_record(ca_store *store, X509 *cert, const char *how, const char *token_id,
                     cx_err *err)
{
    cx_identity identity;

    if (!cx_cert_identity(cert, &identity, err) || !cx_db_begin(store->db, err))
        return false;
    if (!record_in_transaction(store, cert, &identity, how, token_id, err)) {
        cx_db_rollback(store->db);
        return false;
    }
    return audit_flush(store->db, store->place.audit, err);
}

bool ca_store_newest(ca_store *store, const char *uri, X509 **cert, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    *cert = NULL;
    if (store->db == NULL)
        return true;
    if (!cx_db_prepare(store->db,
                       "SELECT certificate_pem FROM issued WHERE uri = ? "
                       "AND serial NOT IN (SELECT serial FROM revoked) "
                       "ORDER BY issued_at_ms DESC, rowid DESC LIMIT 1",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, uri);
    if (!cx_step(statement, &row, err))
        return false;
    if (!row || cx_column_is_null(statement, 0))
        return true;
    return cx_cert_from_pem(cx_bytes_of(cx_column_text(statement, 0)), "ca.db", cert, err);
}

bool ca_store_is_compromised(ca_store *store, const EVP_PKEY *key, bool *compromised, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    char key_id[CX_KEY_ID_SIZE];

    *compromised = false;
    if (store->db == NULL)
        return true;
    if (!cx_db_prepare(store->db,
                       "SELECT 1 FROM issued i JOIN revoked r ON r.serial = i.serial "
                       "WHERE i.key_sha256 = ? AND r.reason = 'key_compromise' LIMIT 1",
                       &statement, err))
        return false;
    cx_key_id(key, key_id);
    cx_bind_text(statement, 1, key_id);
    return cx_step(statement, compromised, err);
}

bool ca_db_is_revoked(cx_db *db, const char *serial, bool *revoked, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    *revoked = false;
    if (db == NULL)
        return true;
    if (!cx_db_prepare(db, "SELECT 1 FROM revoked WHERE serial = ?", &statement, err))
        return false;
    cx_bind_text(statement, 1, serial);
    return cx_step(statement, revoked, err);
}

bool ca_db_revoke(cx_db *db, const char *serial, int64_t at_ms, cx_crl_reason reason, bool *changed,
                  cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (!cx_db_prepare(db,
                       "INSERT OR IGNORE INTO revoked (serial, revoked_at_ms, reason) "
                       "VALUES (?, ?, ?)",
                       &statement, err))
        return false;
    cx_bind_text(statement, 1, serial);
    cx_bind_int(statement, 2, at_ms);
    cx_bind_text(statement, 3, cx_crl_reason_word(reason));
    if (!cx_run_statement(statement, err))
        return false;
    *changed = cx_db_changes(db) > 0;
    return !*changed || audit_add(db, "certificate_revoked",
                                  json_pack("{s:s, s:s}", "serial", serial, "reason",
                                            cx_crl_reason_word(reason)),
                                  at_ms, err);
}

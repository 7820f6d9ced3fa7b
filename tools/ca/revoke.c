/* revoke: certificates that are no longer to be trusted. By name all that are alive are revoked, so
 * that none is forgotten. The record, the audit log and crl.pem, in this order. */
#include <ctype.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "commands.h"
#include "revocation.h"

enum { SERIALS_MAX = 10000 };

struct revoke_options {
    ca_key_options ca;
    const char *serial;
    const char *node_id;
    const char *operator_name;
    const char *reason;
    int64_t next_update_ms;
    bool force;
};

static const cx_option options[] = {
    {"serial", CX_TEXT(struct revoke_options, serial), "S", NULL, "this certificate"},
    {"node-id", CX_TEXT(struct revoke_options, node_id), "ID", NULL, "all of this node"},
    {"operator", CX_TEXT(struct revoke_options, operator_name), "NAME", NULL, "all of this person"},
    {"reason", CX_CHOICE(struct revoke_options, reason),
     "unspecified|key_compromise|ca_compromise|affiliation_changed|superseded|"
     "cessation_of_operation",
     "unspecified", "why"},
    {"next-update", CX_DURATION(struct revoke_options, next_update_ms), "DUR", "7d",
     "when the next list is due"},
    {"force", CX_FLAG(struct revoke_options, force), NULL, NULL,
     "also a serial that is not in the record"},
    CA_KEY_OPTIONS(struct revoke_options, ca),
    {0},
};

/* A serial as the record writes it: lower case, without the colons of other programs. */
static bool clean_serial(const char *text, char serial[CX_SERIAL_SIZE], cx_err *err)
{
    size_t size = 0;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at == ':')
            continue;
        if (!isxdigit((unsigned char)*at) || size + 1 >= CX_SERIAL_SIZE)
            return cx_fail(err, CX_INVALID, "--serial: not a serial number in hexadecimal");
        serial[size++] = (char)tolower((unsigned char)*at);
    }
    serial[size] = '\0';
    if (size == 0)
        return cx_fail(err, CX_INVALID, "--serial: empty");
    return true;
}

static bool collect(cx_statement *statement, cx_list *serials, cx_err *err)
{
    for (bool row = true;;) {
        if (!cx_step(statement, &row, err))
            return false;
        if (!row)
            return true;
        if (serials->count == SERIALS_MAX)
            return cx_fail(err, CX_TOO_LARGE, "more than %d certificates", SERIALS_MAX);
        cx_list_add(serials, cx_column_text(statement, 0));
    }
}

/* How long after its end a certificate might still be renewed: serve's --grace and more. */
#define RENEWABLE_MS (INT64_C(366) * 24 * 60 * 60 * 1000)

/* All certificates of a name that are in date or could be renewed; revoked ones too: they are no
 * error. */
static bool find_by_name(ca_store *store, cx_identity_kind kind, const char *name, cx_list *serials,
                         cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;

    if (store->db != NULL) {
        if (!cx_db_prepare(store->db,
                           "SELECT serial FROM issued WHERE kind = ? AND name = ? "
                           "AND not_after_ms > ? ORDER BY issued_at_ms, serial",
                           &statement, err))
            return false;
        cx_bind_text(statement, 1, cx_identity_kind_word(kind));
        cx_bind_text(statement, 2, name);
        cx_bind_int(statement, 3, store->now_ms - RENEWABLE_MS);
        if (!collect(statement, serials, err))
            return false;
    }
    if (serials->count == 0) {
        cx_fail(err, CX_NOT_FOUND, "%s %s has no valid certificate in the record",
                cx_identity_kind_word(kind), name);
        return cx_hint(err, "cx-ca list --all shows the record; --serial S --force revokes what is "
                            "not in it");
    }
    return true;
}

static bool find_by_serial(ca_store *store, const struct revoke_options *option, cx_list *serials,
                           cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    char serial[CX_SERIAL_SIZE];
    bool found = false;

    if (!clean_serial(option->serial, serial, err))
        return false;
    if (store->db != NULL) {
        if (!cx_db_prepare(store->db, "SELECT 1 FROM issued WHERE serial = ?", &statement, err))
            return false;
        cx_bind_text(statement, 1, serial);
        if (!cx_step(statement, &found, err))
            return false;
    }
    if (!found && !option->force) {
        cx_fail(err, CX_NOT_FOUND, "no certificate of serial %s in the record", serial);
        return cx_hint(err, "cx-ca list --all shows the record; --force revokes it all the same");
    }
    cx_list_add(serials, serial);
    return true;
}

static bool find(ca_store *store, const struct revoke_options *option, cx_list *serials,
                 cx_err *err)
{
    if (option->serial != NULL)
        return find_by_serial(store, option, serials, err);
    if (option->node_id != NULL)
        return find_by_name(store, CX_IDENTITY_NODE, option->node_id, serials, err);
    return find_by_name(store, CX_IDENTITY_OPERATOR, option->operator_name, serials, err);
}

/* Marks all or none. */
static bool mark(ca_store *store, const cx_list *serials, cx_crl_reason reason, json_t *revoked,
                 bool *changed, cx_err *err)
{
    for (size_t i = 0; i < serials->count; i++) {
        bool is_new = false, is_marked;

        if (store->dry_run) {
            if (!ca_db_is_revoked(store->db, serials->items[i], &is_marked, err))
                return false;
            is_new = !is_marked;
        } else if (!ca_db_revoke(store->db, serials->items[i], store->now_ms, reason, &is_new,
                                 err)) {
            return false;
        }
        *changed |= is_new;
        json_array_append_new(
            revoked, json_pack("{s:s, s:b}", "serial", serials->items[i], "changed", is_new));
    }
    return true;
}

static bool mark_in_transaction(ca_store *store, const cx_list *serials, cx_crl_reason reason,
                                json_t *revoked, bool *changed, cx_err *err)
{
    if (store->dry_run)
        return mark(store, serials, reason, revoked, changed, err);
    if (!cx_db_begin(store->db, err))
        return false;
    if (mark(store, serials, reason, revoked, changed, err) && cx_db_commit(store->db, err))
        return audit_flush(store->db, store->place.audit, err);
    cx_db_rollback(store->db);
    return false;
}

static bool revoke(cx_run *run, const void *parsed, cx_err *err)
{
    const struct revoke_options *option = parsed;
    CX_AUTO(ca_store_close) ca_store *store = NULL;
    CX_AUTO(cx_list_free) cx_list serials = {0};
    CX_AUTO(cx_json_free) json_t *revoked = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    bool changed = false;
    cx_crl_reason reason;
    ca_crl_result list;

    if ((option->serial != NULL) + (option->node_id != NULL) + (option->operator_name != NULL) != 1)
        return cx_fail(err, CX_USAGE, "one of --serial, --node-id and --operator is needed");
    if (!cx_crl_reason_parse(option->reason, &reason, err) ||
        !ca_store_open(run, &option->ca, &store, err) || !find(store, option, &serials, err) ||
        !mark_in_transaction(store, &serials, reason, revoked, &changed, err) ||
        !ca_crl_update(store, option->next_update_ms, false, &list, err))
        return false;
    document =
        json_pack("{s:b, s:O, s:I, s:s, s:o, s:I}", "changed", changed || list.changed, "revoked",
                  revoked, "count", (json_int_t)serials.count, "reason", option->reason, "crl",
                  cx_json_text(store->place.crl), "crl_number", (json_int_t)list.number);
    if (changed && !run->dry_run)
        cx_remark(run, "copy %s into cert_dir of every node: until then they still accept it",
                  store->place.crl);
    return cx_emit(run, document, err);
}

const cx_command ca_revoke = {
    .name = "revoke",
    .summary = "take a certificate's trust away",
    .description =
        "Records it and signs a new list, which nodes take up from crl.pem in their "
        "cert_dir. By name every certificate is revoked that is in date or could be renewed.",
    .options = options,
    .options_size = sizeof(struct revoke_options),
    .changes = true,
    .run = revoke,
};

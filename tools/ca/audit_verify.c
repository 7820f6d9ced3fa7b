/* audit verify: is the audit log whole and unchanged? */
#include "audit.h"
#include "base/io.h"
#include "commands.h"
#include "store.h"

struct audit_options {
    ca_place_options place;
};

static const cx_option options[] = {
    CA_PLACE_OPTIONS(struct audit_options, place),
    {0},
};

static bool audit_verify(cx_run *run, const void *parsed, cx_err *err)
{
    const struct audit_options *option = parsed;
    CX_AUTO(ca_place_free) ca_place place = {0};
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    audit_report report;

    if (!ca_place_find(run, &option->place, &place, err) ||
        (cx_exists(place.db) && !ca_db_open_read(&place, &db, err)) ||
        !audit_check(db, place.audit, &report, err))
        return false;
    run->answer_no = report.broken_at != 0;
    document =
        json_pack("{s:b, s:I, s:s, s:o, s:o, s:o}", "ok", report.broken_at == 0, "entries",
                  (json_int_t)report.entries, "head", report.head, "broken_at",
                  report.broken_at != 0 ? json_integer(report.broken_at) : json_null(), "problem",
                  report.broken_at != 0 ? cx_json_text(report.problem) : json_null(), "audit_log",
                  cx_json_text(place.audit));
    return cx_emit(run, document, err);
}

const cx_command ca_audit_verify = {
    .name = "audit verify",
    .summary = "tell whether the audit log is whole and unchanged",
    .description =
        "Each line holds the SHA-256 of the one before it; ca.db holds them all a second "
        "time. Exit status 1 when a line was changed or is missing. Keep `head` elsewhere, "
        "and nobody can rewrite both.",
    .options = options,
    .options_size = sizeof(struct audit_options),
    .run = audit_verify,
};

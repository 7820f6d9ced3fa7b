#include <string.h>

#include "base/io.h"
#include "base/proc.h"
#include "join.h"

enum { TOOL_TIMEOUT_MS = 60000, TOOL_OUTPUT_MAX = 1024 * 1024, ARGUMENTS_MAX = 64 };

/* Takes what a tool printed on stderr into err. */
static bool tool_failed(const char *tool, const cx_proc_result *result, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_err unreadable = {0};

    if (cx_json_parse(cx_buffer_bytes(&result->errors), TOOL_OUTPUT_MAX, tool, &document,
                      &unreadable))
        cx_err_from_json(document, err);
    else
        cx_fail(err, CX_INTERNAL, "status %d", result->status);
    return cx_wrap(err, "%s", tool);
}

bool join_run_tool(const char *tool, const char *const *arguments, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_proc_sibling(tool);
    CX_AUTO(cx_proc_result_free) cx_proc_result result = {0};
    const char *argv[ARGUMENTS_MAX] = {path};
    size_t count = 1;

    for (; *arguments; arguments++) {
        if (count >= ARGUMENTS_MAX - 2)
            return cx_fail(err, CX_USAGE, "%s: more than %d arguments", tool, ARGUMENTS_MAX - 3);
        argv[count++] = *arguments;
    }
    argv[count] = "--json";
    if (!cx_proc_run(&(cx_proc_spec){.argv = argv,
                                     .timeout_ms = TOOL_TIMEOUT_MS,
                                     .output_max = TOOL_OUTPUT_MAX},
                     &result, err))
        return cx_wrap(err, "run %s", tool);
    if (result.timed_out)
        return cx_fail(err, CX_TIMEOUT, "%s %s did not end within %d s", tool, argv[1],
                       TOOL_TIMEOUT_MS / 1000);
    if (result.status != 0)
        return tool_failed(tool, &result, err);
    return cx_json_parse(cx_buffer_bytes(&result.output), TOOL_OUTPUT_MAX, tool, answer, err);
}

json_t *join_checks_new(void)
{
    return json_pack("{s:b, s:[]}", "ok", 1, "checks");
}

void join_checks_add(json_t *document, const char *name, bool ok, const char *detail)
{
    json_array_append_new(
        json_object_get(document, "checks"),
        json_pack("{s:s, s:b, s:o}", "name", name, "ok", ok, "detail", cx_json_text(detail)));
    if (!ok)
        json_object_set_new(document, "ok", json_false());
}

void join_checks_add_error(json_t *document, const char *name, const cx_err *err)
{
    CX_AUTO(cx_free)
    char *detail =
        err->hint[0] ? cx_format("%s (%s)", err->message, err->hint) : cx_strdup(err->message);

    join_checks_add(document, name, false, detail);
}

bool join_checks_ok(const json_t *document)
{
    return json_is_true(json_object_get(document, "ok"));
}

/* audit verify: is the audit log whole and unchanged? It is read as a stream, also while a node writes it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "base/io.h"
#include "base/text.h"
#include "commands.h"
#include "config/config.h"

enum { HEX_SIZE = 2 * CX_SHA256_SIZE + 1 };

struct audit_options {
    const char *head;
};

static const cx_option options[] = {
    {"head", CX_TEXT(struct audit_options, head), "SHA256", NULL,
     "the `head` of an earlier verify: its line must still be there, so nothing up to it is "
     "missing"},
    {0},
};

struct chain {
    const char *wanted; /* NULL: no head is looked for */
    bool found;
    char head[HEX_SIZE]; /* of the line that was read last */
    int64_t lines, entries;
    int64_t cut;       /* lines that a crash cut off */
    bool is_cut;       /* the last line is one, as it seems */
    int64_t broken_at; /* 0: nowhere */
    const char *problem;
};

static bool broken(struct chain *chain, int64_t line, const char *problem)
{
    chain->broken_at = line;
    chain->problem = problem;
    return false;
}

static void take_head(struct chain *chain, cx_bytes line)
{
    uint8_t digest[CX_SHA256_SIZE];
    CX_AUTO(cx_free) char *hex = NULL;

    cx_sha256(line, digest);
    hex = cx_hex((cx_bytes){digest, sizeof digest});
    memcpy(chain->head, hex, HEX_SIZE);
    chain->found |= chain->wanted != NULL && strcmp(chain->wanted, hex) == 0;
}

/* A line that a crash cut off is no document, but the next one, written after the restart, has its hash:
 * so had somebody changed a line into that, the chain would be broken all the same. False: broken. */
static bool take_line(struct chain *chain, cx_bytes text)
{
    CX_AUTO(cx_json_free) json_t *line = NULL;
    const char *prev = NULL;
    cx_err unused;
    bool is_entry = cx_json_parse(text, NODE_AUDIT_LINE_MAX, "audit.log", &line, &unused) &&
                    cx_json_need_text(line, "audit.log", "prev", &prev, &unused);

    chain->lines++;
    if (is_entry && strcmp(prev, chain->head) != 0)
        return broken(chain, chain->lines, "the line before it was changed, or is missing");
    if (!is_entry && chain->is_cut)
        return broken(chain, chain->lines - 1, "the line is damaged");
    chain->is_cut = !is_entry;
    chain->cut += !is_entry;
    chain->entries += is_entry;
    take_head(chain, text);
    return true;
}

/* The whole lines of what was read so far; the rest of it stays. */
static bool take_lines(struct chain *chain, cx_buffer *read)
{
    cx_bytes rest = cx_buffer_bytes(read);
    bool whole = true;

    while (whole && rest.size > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);

        if (end == NULL)
            break;
        whole = take_line(chain, (cx_bytes){rest.data, (size_t)(end - rest.data)});
        rest = (cx_bytes){end + 1, rest.size - (size_t)(end + 1 - rest.data)};
    }
    cx_buffer_consume(read, read->size - rest.size);
    if (whole && rest.size > NODE_AUDIT_LINE_MAX)
        return broken(chain, chain->lines + 1, "the line is damaged");
    return whole;
}

static bool read_chain(const char *path, struct chain *chain, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CX_AUTO(cx_buffer_free) cx_buffer read_bytes = {0};

    if (fd < 0)
        return cx_fail_errno(err, "open %s", path);
    for (;;) {
        uint8_t *to = cx_buffer_reserve(&read_bytes, NODE_AUDIT_LINE_MAX);
        ssize_t got = read(fd, to, NODE_AUDIT_LINE_MAX);

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cx_fail_errno(err, "read %s", path);
        if (got == 0)
            break;
        read_bytes.size += (size_t)got;
        if (!take_lines(chain, &read_bytes))
            return true;
    }
    /* The node writes it now, or was killed while it did. */
    chain->cut += read_bytes.size > 0;
    if (chain->wanted != NULL && !chain->found)
        (void)broken(chain, chain->lines + 1,
                     "the line of --head is not there: lines at the end are missing");
    return true;
}

static bool audit_verify(cx_run *run, const void *parsed, cx_err *err)
{
    const struct audit_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *path = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *wanted = NULL;
    struct chain chain = {0};
    uint8_t digest[CX_SHA256_SIZE];

    if (option->head != NULL && !cx_from_hex(option->head, digest, sizeof digest, err))
        return cx_fail(err, CX_USAGE, "--head: 64 hex digits, as an earlier verify printed them");
    if (!cx_config_load(run->config_path, run->config_is_default, &config, err))
        return false;
    path = cx_config_data(config, "audit.log");
    wanted = option->head != NULL ? cx_hex((cx_bytes){digest, sizeof digest}) : NULL;
    memset(chain.head, '0', HEX_SIZE - 1);
    chain.wanted = wanted;
    chain.found = wanted != NULL && strcmp(wanted, chain.head) == 0; /* of an empty log */
    if (!read_chain(path, &chain, err))
        return false;
    run->answer_no = chain.broken_at != 0;
    document =
        json_pack("{s:b, s:I, s:I, s:s, s:o, s:o, s:o}", "ok", chain.broken_at == 0, "entries",
                  (json_int_t)chain.entries, "cut_off", (json_int_t)chain.cut, "head", chain.head,
                  "broken_at", chain.broken_at != 0 ? json_integer(chain.broken_at) : json_null(),
                  "problem", cx_json_text(chain.problem), "audit_log", cx_json_text(path));
    return cx_emit(run, document, err);
}

const cx_command node_audit_verify = {
    .name = "audit verify",
    .summary = "tell whether the node's audit log is whole and unchanged",
    .description =
        "Each line of data_dir/audit.log holds the SHA-256 of the one before it. Exit status 1 "
        "when "
        "a line was changed or is missing; one that a crash cut off is counted (cut_off) and is no "
        "fault. Whether the last lines are missing only an earlier `head` can tell, kept "
        "elsewhere: "
        "--head. After a restore the log is as old as the backup. Nothing is changed, and the node "
        "may run.",
    .options = options,
    .options_size = sizeof(struct audit_options),
    .run = audit_verify,
};

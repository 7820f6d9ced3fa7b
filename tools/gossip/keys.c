#include <sodium.h>

#include "base/text.h"
#include "gossip.h"

enum { KEY_BYTES = 32 }; /* AES-256 */

struct keys_options {
    bool raw;
};

static const cx_option options[] = {
    {"raw", CX_FLAG(struct keys_options, raw), NULL, NULL,
     "print a key ring file instead: a JSON list with the key"},
    {0},
};

static bool generate(cx_run *run, const void *parsed, cx_err *err)
{
    const struct keys_options *option = parsed;
    uint8_t key[KEY_BYTES];

    cx_random(key, sizeof key);

    char *base64 = cx_base64((cx_bytes){key, sizeof key});
    json_t *document = option->raw ? json_pack("[s]", base64) : json_pack("{s:s}", "key", base64);
    char *line = cx_json_line(document);
    bool printed = option->raw ? cx_emit_text(run, line, err) : cx_emit(run, document, err);

    sodium_memzero(key, sizeof key);
    cx_free(&base64);
    cx_free(&line);
    cx_json_free(&document);
    return printed;
}

const cx_command gossip_keys_generate = {
    .name = "keys generate",
    .summary = "make a new random gossip key",
    .description = "A key ring file is a JSON list of base64 keys, the primary key first, mode "
                   "0600:\n  (umask 077; cx-gossip keys generate --raw > gossip.keys)",
    .options = options,
    .options_size = sizeof(struct keys_options),
    .run = generate,
};

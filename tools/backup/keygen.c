/* keygen: the keys of a node's backups. */
#include <string.h>

#include <sodium.h>

#include "backup.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

struct keygen_options {
    const char *output;
};

static const cx_option options[] = {
    {"output", CX_TEXT(struct keygen_options, output), "DIR", NULL,
     "folder for the keys; made with mode 0700 when it is missing"},
    {0},
};

struct keygen {
    const char *folder;
    bool dry_run;
    bool changed;
    char *recipient;
};

static void free_keygen(struct keygen *keygen)
{
    cx_free(&keygen->recipient);
}

static bool write_key(struct keygen *keygen, const char *name, mode_t mode, const char *text,
                      cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(keygen->folder, name);

    keygen->changed = true;
    return keygen->dry_run || cx_create(path, mode, cx_bytes_of(text), err);
}

static bool make_identity(struct keygen *keygen, cx_err *err)
{
    CX_AUTO(cx_free_secret) char *identity = NULL;
    CX_AUTO(cx_free_secret) char *text = NULL;
    char time[CX_TIME_TEXT_SIZE];

    cx_age_generate(&identity, &keygen->recipient);
    text = cx_format("# created: %s\n# public key: %s\n%s\n", cx_time_text(cx_wall_ms(), time),
                     keygen->recipient, identity);
    return write_key(keygen, backup_identity_file, 0600, text, err);
}

static bool read_recipient(struct keygen *keygen, const char *path, cx_err *err)
{
    CX_AUTO(cx_age_identities_free) cx_age_identities *identities = NULL;
    cx_age_recipients recipients;

    if (!cx_age_read_identities(path, &identities, err))
        return false;
    cx_age_recipients_of(identities, &recipients);
    keygen->recipient = cx_age_recipient_text(recipients.keys[0]);
    return true;
}

static bool make_age_files(struct keygen *keygen, cx_err *err)
{
    CX_AUTO(cx_free) char *identity = cx_path_join(keygen->folder, backup_identity_file);
    CX_AUTO(cx_free) char *recipients = cx_path_join(keygen->folder, backup_recipients_file);
    CX_AUTO(cx_free) char *text = NULL;

    if (cx_exists(identity) ? !read_recipient(keygen, identity, err) : !make_identity(keygen, err))
        return false;
    text = cx_format("%s\n", keygen->recipient);
    return cx_exists(recipients) || write_key(keygen, backup_recipients_file, 0644, text, err);
}

/* The secret key's file last: with it the pair counts as made. */
static bool make_sign_files(struct keygen *keygen, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(keygen->folder, backup_sign_file);
    CX_AUTO(cx_free) char *public_path = cx_path_join(keygen->folder, backup_trusted_file);
    CX_AUTO(cx_free_secret) char *secret = NULL;
    CX_AUTO(cx_free) char *public = NULL;

    if (cx_exists(path))
        return true;
    cx_minisign_generate(&secret, &public);
    keygen->changed = true;
    return keygen->dry_run || (cx_replace(public_path, 0644, cx_bytes_of(public), err) &&
                               cx_create(path, 0600, cx_bytes_of(secret), err));
}

static bool make_naming_file(struct keygen *keygen, cx_err *err)
{
    CX_AUTO(cx_free) char *path = cx_path_join(keygen->folder, backup_naming_file);
    uint8_t key[CX_NAMING_KEY_SIZE];
    CX_AUTO(cx_free_secret) char *hex = NULL;
    CX_AUTO(cx_free_secret) char *text = NULL;

    if (cx_exists(path))
        return true;
    cx_random(key, sizeof key);
    hex = cx_hex((cx_bytes){key, sizeof key});
    sodium_memzero(key, sizeof key);
    text = cx_format("%s\n", hex);
    return write_key(keygen, backup_naming_file, 0600, text, err);
}

static json_t *path_json(const char *folder, const char *name)
{
    CX_AUTO(cx_free) char *path = cx_path_join(folder, name);

    return cx_json_text(path);
}

static bool keygen_run(cx_run *run, const void *parsed, cx_err *err)
{
    const struct keygen_options *option = parsed;
    CX_AUTO(free_keygen)
    struct keygen keygen = {.folder = option->output, .dry_run = run->dry_run};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (option->output == NULL)
        return cx_fail(err, CX_USAGE, "keygen: --output is missing");
    if ((!run->dry_run && !cx_make_folders(option->output, 0700, NULL, err)) ||
        !make_age_files(&keygen, err) || !make_sign_files(&keygen, err) ||
        !make_naming_file(&keygen, err))
        return false;
    document =
        json_pack("{s:b, s:s, s:o, s:o, s:o, s:o, s:o}", "changed", keygen.changed, "recipient",
                  keygen.recipient, "identity", path_json(keygen.folder, backup_identity_file),
                  "recipients_file", path_json(keygen.folder, backup_recipients_file), "sign_key",
                  path_json(keygen.folder, backup_sign_file), "trusted_key",
                  path_json(keygen.folder, backup_trusted_file), "naming_key",
                  path_json(keygen.folder, backup_naming_file));
    cx_remark(run, "the identity opens every backup: keep it off the node, and in a recovery kit "
                   "(cx-backup kit)");
    return cx_emit(run, document, err);
}

const cx_command backup_keygen = {
    .name = "keygen",
    .summary = "make the keys of a node's backups",
    .description =
        "identity.txt (age) opens backups and belongs to the operator. recipients.txt, sign.key "
        "(minisign) and naming.key go to the node, into the folder `backup` beside its "
        "configuration: with them it writes backups that it can't read. sign.pub tells whose a "
        "backup is. What is there already is kept.",
    .options = options,
    .options_size = sizeof(struct keygen_options),
    .changes = true,
    .run = keygen_run,
};

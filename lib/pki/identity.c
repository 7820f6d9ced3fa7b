#include "pki/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const char SCHEME[] = "spiffe://";

/* Takes the text up to the next slash, or to the end, as an id. */
static bool take_id(const char **rest, const char *what, char id[CX_ID_SIZE], cx_err *err)
{
    size_t size = strcspn(*rest, "/");

    if (size == 0 || size >= CX_ID_SIZE)
        return cx_fail(err, CX_CERT_INVALID, "%s has %zu characters, not 1 to %d", what, size,
                       CX_ID_SIZE - 1);
    memcpy(id, *rest, size);
    id[size] = '\0';
    *rest += size;
    if (!cx_check_id(what, id, err)) {
        err->code = CX_CERT_INVALID;
        return false;
    }
    return true;
}

static bool take_slash(const char **rest, cx_err *err)
{
    if (**rest != '/')
        return cx_fail(err, CX_CERT_INVALID, "it ends too soon");
    *rest += 1;
    return true;
}

static bool take_kind(const char **rest, cx_identity_kind *kind, cx_err *err)
{
    size_t size = strcspn(*rest, "/");

    for (cx_identity_kind each = CX_IDENTITY_NODE; cx_identity_kind_word(each) != NULL; each++)
        if (strlen(cx_identity_kind_word(each)) == size &&
            memcmp(cx_identity_kind_word(each), *rest, size) == 0) {
            *kind = each;
            *rest += size;
            return true;
        }
    return cx_fail(err, CX_CERT_INVALID, "it names neither a node nor an operator");
}

static bool parse(const char *uri, cx_identity *identity, cx_err *err)
{
    cx_identity found = {0};
    const char *rest = uri + sizeof(SCHEME) - 1;

    if (strncmp(uri, SCHEME, sizeof(SCHEME) - 1) != 0)
        return cx_fail(err, CX_CERT_INVALID, "it does not begin with %s", SCHEME);
    if (!take_id(&rest, "cluster", found.cluster, err) || !take_slash(&rest, err) ||
        !take_kind(&rest, &found.kind, err) || !take_slash(&rest, err) ||
        !take_id(&rest, "name", found.name, err))
        return false;
    if (*rest != '\0')
        return cx_fail(err, CX_CERT_INVALID, "more follows the name");
    *identity = found;
    return true;
}

const char *cx_role_word(cx_role role)
{
    switch (role) {
    case CX_ROLE_VIEWER: return "viewer";
    case CX_ROLE_OPERATOR: return "operator";
    case CX_ROLE_ADMIN: return "admin";
    }
    return NULL;
}

bool cx_role_parse(const char *text, cx_role *role, cx_err *err)
{
    for (cx_role each = CX_ROLE_VIEWER; cx_role_word(each) != NULL; each++)
        if (strcmp(text, cx_role_word(each)) == 0) {
            *role = each;
            return true;
        }
    return cx_fail(err, CX_INVALID, "unknown role (roles: viewer, operator, admin)");
}

const char *cx_identity_kind_word(cx_identity_kind kind)
{
    switch (kind) {
    case CX_IDENTITY_NODE: return "node";
    case CX_IDENTITY_OPERATOR: return "operator";
    }
    return NULL;
}

void cx_identity_uri(const cx_identity *identity, char uri[CX_URI_SIZE])
{
    snprintf(uri, CX_URI_SIZE, "%s%s/%s/%s", SCHEME, identity->cluster,
             cx_identity_kind_word(identity->kind), identity->name);
}

bool cx_identity_parse_uri(const char *uri, cx_identity *identity, cx_err *err)
{
    return parse(uri, identity, err) || cx_wrap(err, "the URI is not an identity of a cluster");
}

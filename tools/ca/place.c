#include "place.h"

#include <string.h>

#include "base/io.h"
#include "config/config.h"

static void fill(ca_place *place, char *folder, char *cert, char *key)
{
    place->folder = folder;
    place->cert = cert != NULL ? cert : cx_path_join(folder, "ca.crt");
    place->key = key != NULL ? key : cx_path_join(folder, "ca.key");
    place->db = cx_path_join(folder, "ca.db");
    place->audit = cx_path_join(folder, "audit.log");
    place->lock = cx_path_join(folder, "ca.lock");
    place->crl = cx_path_join(folder, "crl.pem");
}

static bool has_ca(const char *folder)
{
    CX_AUTO(cx_free) char *key = cx_path_join(folder, "ca.key");
    CX_AUTO(cx_free) char *cert = cx_path_join(folder, "ca.crt");

    return cx_exists(key) && cx_exists(cert);
}

static bool find_by_config(const cx_run *run, ca_place *place, cx_err *err)
{
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *within = NULL;
    CX_AUTO(cx_free) char *beside = NULL;

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err))
        return false;
    within = cx_config_cert(config, "ca");
    beside = ca_folder_of(config->cert_dir);
    if (!has_ca(within) && has_ca(beside))
        fill(place, CX_TAKE(beside), NULL, NULL);
    else
        fill(place, CX_TAKE(within), NULL, NULL);
    return true;
}

bool ca_place_find(const cx_run *run, const ca_place_options *options, ca_place *place, cx_err *err)
{
    if (options->ca_key != NULL) {
        char *folder = ca_folder_of(options->ca_key);
        char *cert = options->ca_cert != NULL  ? cx_strdup(options->ca_cert)
                     : options->ca_dir != NULL ? cx_path_join(options->ca_dir, "ca.crt")
                                               : NULL;

        fill(place, folder, cert, cx_strdup(options->ca_key));
        return true;
    }
    if (options->ca_dir != NULL) {
        fill(place, cx_strdup(options->ca_dir), cx_strdup(options->ca_cert), NULL);
        return true;
    }
    if (options->ca_cert != NULL) {
        fill(place, ca_folder_of(options->ca_cert), cx_strdup(options->ca_cert), NULL);
        return true;
    }
    return find_by_config(run, place, err);
}

void ca_place_free(ca_place *place)
{
    cx_free(&place->folder);
    cx_free(&place->cert);
    cx_free(&place->key);
    cx_free(&place->db);
    cx_free(&place->audit);
    cx_free(&place->lock);
    cx_free(&place->crl);
}

char *ca_folder_of(const char *path)
{
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    return size > 0 ? cx_strndup(path, size) : cx_strdup(".");
}

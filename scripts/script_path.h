/*
 * Where scripts are found by name: the user's folder, beside the program, where `make install` put
 * them. Any thread after the first call.
 */
#ifndef SCRIPTS_SCRIPT_PATH_H
#define SCRIPTS_SCRIPT_PATH_H

#include <stdbool.h>

#include "vmm/base/buf.h"

/* The file of script `name` ("recorder", with or without .lua); malloc'ed. NULL when no folder has
 * it, or when the name is more than letters, digits, '_', '-' and '.'. */
char *script_path(const char *name);
/* What a script says of itself: the comment at its beginning, without its dashes. False when the
 * file cannot be read or has none. */
bool script_about(const char *path, struct buf *out);
/* Calls fn(arg, name, path) for the scripts of all folders, by folder and name. */
void script_each(void (*fn)(void *arg, const char *name, const char *path), void *arg);
/* The folders, for sentences. */
const char *script_folders(void);

#endif

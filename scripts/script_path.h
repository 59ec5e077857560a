/*
 * Where scripts are found by name: the user's folder, beside the program, where `make install` put
 * them. Any thread after the first call.
 */
#ifndef SCRIPTS_SCRIPT_PATH_H
#define SCRIPTS_SCRIPT_PATH_H

/* The file of script `name` ("recorder", with or without .lua); malloc'ed. NULL when no folder has
 * it, or when the name is more than letters, digits, '_', '-' and '.'. */
char *script_path(const char *name);
/* The folders, for sentences. */
const char *script_folders(void);

#endif

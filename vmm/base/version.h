/*
 * The program's version, for --version and for clients that ask.
 */
#ifndef VMM_BASE_VERSION_H
#define VMM_BASE_VERSION_H

#define VMSCOPE_VERSION "0.1.0"

#endif

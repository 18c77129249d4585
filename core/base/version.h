/* version.h - which Moontill this is: the number of the CMake project. */
#ifndef TILL_BASE_VERSION_H
#define TILL_BASE_VERSION_H

const char *till_version(void);

#endif

#include "base/version.h"

const char *till_version(void) { return TILL_VERSION; }

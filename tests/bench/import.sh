#!/bin/sh
# import.sh MOONTILL DIR FILE - what `import products` and `import orders` of FILE take: seconds and peak memory.
# DIR is the --var of a running `moontill dev`. The baseline is unpacking and reading the file at all.
set -eu
moontill=$1 dir=$2 file=$3

# Wall seconds, CPU seconds and peak megabytes of a command.
measure() { # name, command...
    name=$1
    shift
    /usr/bin/env python3 - "$name" "$@" <<'PY'
import os, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("%-22s %8.1f s %8.1f s CPU %8.0f MB%s" % (sys.argv[1], time.monotonic() - begin,
      used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, "" if code == 0 else "   failed"))
PY
}

echo "import of $(xz -dc "$file" | wc -l) lines (at most 60 s and 300 MB each)"
measure "xz and a count" sh -c "xz -dc '$file' | wc -l"
measure "products" "$moontill" import products "$file" --var "$dir"
measure "orders" "$moontill" import orders "$file" --var "$dir"
echo

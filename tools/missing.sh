#!/bin/sh
# Prints the Debian and Ubuntu packages that a build with the interpreter $1 (default python3) still lacks.
python=${1:-python3}
package=$(basename "$python")

lacks() { # lacks PACKAGE COMMAND...: prints the package unless the command succeeds
    lacking=$1
    shift
    "$@" >/dev/null 2>&1 || printf '%s ' "$lacking"
}
compiles() { echo '#include <pthread.h>' | "${CC:-cc}" -E -; }

lacks make command -v make
lacks gcc command -v "${CC:-cc}"
lacks libc6-dev compiles
lacks "$package" command -v "$python"
lacks "$package-venv" "$python" -c 'import ensurepip, venv'
lacks "$package-dev" "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'

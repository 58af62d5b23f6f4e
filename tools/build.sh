#!/bin/sh
# Builds the engine with CMake, incrementally, for the interpreter PYTHON (default: python).
#   tools/build.sh NAME PREFIX [-DOPTION=VALUE ...]
# The build is kept in build/NAME. PREFIX is src for a build in place; any other PREFIX gets a copy of the Python
# packages too, so that a build with odd flags (coverage, sanitizers) never stands where people work.
set -eu
cd "$(dirname "$0")/.."
name=$1 prefix=$2
shift 2

python=$("${PYTHON:-python}" -c 'import sys; print(sys.executable)')
PATH=$(dirname "$python"):$PATH # the environment's cmake and ninja before the system's
export PATH

# One build at a time: `make serve` and `make test` may run in two terminals.
mkdir -p "build/$name"
exec 9>"build/$name/.lock"
if command -v flock >/dev/null; then flock 9; fi

if [ "$prefix" != src ]; then
    rm -rf "$prefix"
    mkdir -p "$prefix"
    cp -R src/fastfan src/pubsub "$prefix"
    find "$prefix" -name '*.so' -delete
fi

cmake -S . -B "build/$name" -G Ninja -DPython_EXECUTABLE="$python" -DFASTFAN_WERROR=ON "$@" >/dev/null
cmake --build "build/$name" -- --quiet 9>&-
rm -rf "build/$name/installed"
cmake --install "build/$name" --prefix "build/$name/installed" >/dev/null
# Never written over: a server that runs from here has the old file mapped. `install` makes a new one where they differ.
for folder in fastfan fastfan/load; do
    install -C -m 755 "build/$name/installed/$folder/"*.* "$prefix/$folder"
done

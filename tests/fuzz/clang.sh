#!/bin/sh
# Prints a clang that has libFuzzer and its sanitizers; nothing where there is none.
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo '#include <stddef.h>
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) { return !data && bytes; }' >"$probe/probe.c"
# Debian's versions go by names of their own; the newest first.
for name in ${CLANG-} clang $(ls /usr/bin 2>/dev/null | grep -E '^clang-[0-9]+$' | sort -t- -k2 -nr); do
    if "$name" -fsanitize=fuzzer,address,undefined "$probe/probe.c" -o "$probe/probe" 2>/dev/null; then
        echo "$name"
        exit
    fi
done

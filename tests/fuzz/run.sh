#!/bin/sh
# Builds and runs the fuzz targets, for `make fuzz`, which sets up what they need.
#   tests/fuzz/run.sh [seconds=60] [targets="utf8 streams"] [seed=1] [input=build/fuzz/utf8-crash-...]
# Those of C (fuzz_*.c) get AddressSanitizer and UndefinedBehaviorSanitizer, and clang's libFuzzer where there is one
# (CLANG=... names it), else driver.c with cc. Those of Python are programs: heads.py and streams.py; streams-asan is
# streams.py on an engine with these sanitizers. The seconds are shared out evenly.
# What libFuzzer finds to be new goes to build/fuzz/corpus, what fails to build/fuzz; `input` runs one such file again.
set -eu
cd "$(dirname "$0")/../.."
seconds=60 targets="frame scanner unmask utf8 upgrade heads streams streams-asan" seed='' input=''
for argument in "$@"; do
    case $argument in
    seconds=*) seconds=${argument#*=} ;;
    targets=*) targets=${argument#*=} ;;
    seed=*) seed=${argument#*=} ;;
    input=*) input=${argument#*=} ;;
    *) echo "what is $argument? seconds=60 targets=\"utf8 streams\" seed=1 input=FILE" && exit 2 ;;
    esac
done

out=build/fuzz
mkdir -p "$out"
clang=$(sh tests/fuzz/clang.sh)
if [ -n "$clang" ]; then
    compile="$clang -fsanitize=fuzzer"
    echo "$clang with libFuzzer"
else
    compile="${CC:-cc} tests/fuzz/driver.c"
    echo "no clang with libFuzzer here: ${CC:-cc}, and inputs that are changed blindly"
fi
seed=${seed:-$(date +%s)} # printed, so that a run can be had again

run_c() { # run_c TARGET FLAG-OR-PATH...
    target=$1
    shift
    # libFuzzer does not guess a header's name.
    if [ -n "$clang" ] && [ -e "tests/fuzz/$target.dict" ]; then set -- "-dict=tests/fuzz/$target.dict" "$@"; fi
    # shellcheck disable=SC2086  # a list of words
    $compile -std=gnu11 -g -O1 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all \
        -fno-omit-frame-pointer -Isrc/fastfan "tests/fuzz/fuzz_$target.c" src/fastfan/frame.c src/fastfan/scanner.c \
        src/fastfan/unmask*.c src/fastfan/utf8*.c src/fastfan/upgrade.c -o "$out/$target"
    if ! "$out/$target" -seed="$seed" -artifact_prefix="$out/$target-" "$@" >"$out/$target.log" 2>&1; then
        tail -n 40 "$out/$target.log"
        echo "$target: FAILED with seed=$seed"
        return 1
    fi
    [ -n "$input" ] && echo "$target: holds for $input" && return
    echo "$target: $(tail -n 1 "$out/$target.log"), seed=$seed"
}

run_python() { # run_python PROGRAM ARGUMENT...: it says itself what came of it
    program=$1
    shift
    if [ "$program" = streams-asan ]; then
        make --no-print-directory asan-engine
        printf '%s' "with ASan and UBSan, "
        # shellcheck disable=SC2086  # the variables of Makefile's SANITIZED
        set -- env $SANITIZED python -m tests.fuzz.streams "$@"
    else
        set -- python -m "tests.fuzz.$program" "$@"
    fi
    "$@" || { echo "$program: FAILED with seed=$seed"; return 1; }
}

# shellcheck disable=SC2086
set -- $targets
share=$((seconds / $#)) failed=''
[ "$share" -gt 0 ] || share=1
for target; do
    case $target in
    heads | streams | streams-asan)
        set -- seconds="$share" seed="$seed"
        [ -z "$input" ] || set -- input="$input"
        run_python "$target" "$@" || failed="$failed $target"
        continue
        ;;
    esac
    mkdir -p "$out/corpus/$target"
    set -- -max_total_time="$share" "$out/corpus/$target" "tests/fuzz/corpus/$target"
    [ -z "$input" ] || set -- -runs=0 "$input"
    run_c "$target" "$@" || failed="$failed $target"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }

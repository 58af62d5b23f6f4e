#!/bin/sh
# Builds and runs the fuzz targets of the C in src/fastfan, with AddressSanitizer and UndefinedBehaviorSanitizer.
#   tests/fuzz/run.sh [seconds=60] [targets="utf8 unmask"] [seed=1] [input=build/fuzz/utf8-crash-...]
# The seconds are shared out evenly. clang's libFuzzer where there is one (CLANG=... names it), else driver.c with cc.
# What it finds to be new goes to build/fuzz/corpus, what fails to build/fuzz; `input` runs one such file again.
set -eu
cd "$(dirname "$0")/../.."
seconds=60 targets="frame scanner unmask utf8 upgrade" seed='' input=''
for argument in "$@"; do
    case $argument in
    seconds=*) seconds=${argument#*=} ;;
    targets=*) targets=${argument#*=} ;;
    seed=*) seed=${argument#*=} ;;
    input=*) input=${argument#*=} ;;
    *) echo "what is $argument? seconds=60 targets=\"utf8 unmask\" seed=1 input=FILE" && exit 2 ;;
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

run() { # run TARGET FLAG-OR-PATH...
    target=$1
    shift
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

# shellcheck disable=SC2086
set -- $targets
share=$((seconds / $#)) failed=''
[ "$share" -gt 0 ] || share=1
for target; do
    mkdir -p "$out/corpus/$target"
    if [ -n "$input" ]; then
        run "$target" -runs=0 "$input" || failed="$failed $target"
    else
        run "$target" -max_total_time="$share" "$out/corpus/$target" "tests/fuzz/corpus/$target" || failed="$failed $target"
    fi
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }

#!/bin/bash
# Runs the Dockerfile without a container engine: every step in a folder made by debootstrap and entered by chroot,
# then the image's command in namespaces of its own, with the loopback interface as its only network.
#   tools/container-check.sh [FOLDER]      as root, on Linux; FOLDER (default build/container) keeps the base system
# It reads the Dockerfile itself, so the two cannot drift apart; it knows the instructions that ours uses, no more.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-build/container}")
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
[ "$(id -u)" = 0 ] || { echo "must run as root: it uses debootstrap, chroot and unshare" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "apt-get install debootstrap" >&2; exit 2; }
mkdir -p "$work"

say() { printf '\n== %s\n' "$*"; }
now() { date +%s%N; }
ms_since() { echo $((($(now) - $1) / 1000000)); }

# -- Building: one folder a stage ----------------------------------------------------------------------------------

declare -A stage_root=() env=()
root='' stage_count=0 workdir=/ user=root
entrypoint=() command=() healthcheck=() enter=() stop_signal=TERM

base_system() { # base_system IMAGE: the folder of debian:SUITE-slim, made once
    local suite=${1#debian:}
    suite=${suite%-slim}
    local base=$work/base-$suite
    if [ ! -e "$base/.complete" ]; then
        rm -rf "$base"
        # Debian's suites since 2023 share one script; an older debootstrap does not know the newest names.
        debootstrap --variant=minbase "$suite" "$base" "$mirror" /usr/share/debootstrap/scripts/sid >"$work/debootstrap.log"
        # What the host needs to reach registries (name server, certificates) is lent, and is no part of the image.
        cp /etc/resolv.conf "$base/etc/resolv.conf"
        rm -rf "$base"/var/cache/apt/*.bin "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
        touch "$base/.complete"
    fi
    echo "$base"
}

# The words that put a command into the current stage, as the image's user, with the image's variables only.
set_enter() {
    local variables=() name
    for name in "${!env[@]}"; do variables+=("$name=${env[$name]}"); done
    enter=(chroot --userspec="$user" "$root" /usr/bin/env -i HOME=/ DEBIAN_FRONTEND=noninteractive
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${PIP_CERT:+PIP_CERT=/host-certificates.crt}
        "${variables[@]}" /bin/sh -c 'cd "$0" && exec "$@"' "$workdir")
}

copy() { # COPY [--from=STAGE] SOURCE... TARGET
    local from=. arguments=()
    for word in "$@"; do
        case $word in --from=*) from=${stage_root[${word#--from=}]} ;; *) arguments+=("$word") ;; esac
    done
    local target=${arguments[-1]} sources=("${arguments[@]:0:${#arguments[@]}-1}") source
    [[ $target = /* ]] || target=$workdir/$target
    mkdir -p "$root$target"
    for source in "${sources[@]}"; do
        if [ "$from" = . ]; then
            # The build context: what .dockerignore leaves, in tar's words.
            tar -C "$source" --exclude-from=<(sed -E '/^#/d; s#^\*\*/##; /^[^*]/s#^#./#' .dockerignore) -cf - . | tar -C "$root$target" -xf -
        else
            cp -a "$from$source/." "$root$target"
        fi
    done
}

words_of() { # ["a", "b"] to the array named $1
    mapfile -t "$1" < <(python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$2")
}

instruction() { # instruction NAME REST: one logical line of the Dockerfile
    local name=$1 rest=$2 word
    case $name in
    FROM)
        stage_count=$((stage_count + 1)) env=() workdir=/ user=root
        root=$work/stage-$stage_count
        local base
        base=$(base_system "${rest%% *}")
        rm -rf "$root"
        cp -a --reflink=auto "$base" "$root"
        if [ -n "${PIP_CERT:-}" ]; then cp "$PIP_CERT" "$root/host-certificates.crt"; fi
        if [[ $rest = *" AS "* ]]; then stage_root[${rest##* AS }]=$root; fi
        ;;
    RUN) "${enter[@]}" /bin/sh -c "$rest" >"$work/step.log" 2>&1 || { tail -n 30 "$work/step.log" >&2; exit 1; } ;;
    # shellcheck disable=SC2086  # words, as the instruction has them
    COPY) copy $rest ;;
    ENV) for word in $rest; do env[${word%%=*}]=${word#*=}; done ;;
    WORKDIR) workdir=$rest && mkdir -p "$root$rest" ;;
    USER) user=$rest ;;
    ENTRYPOINT) words_of entrypoint "$rest" ;;
    CMD) words_of command "$rest" ;;
    HEALTHCHECK) words_of healthcheck "${rest#*CMD }" ;;
    EXPOSE) ;;
    STOPSIGNAL) stop_signal=${rest#SIG} ;;
    *) echo "container-check.sh does not know the instruction $name" >&2 && exit 2 ;;
    esac
    set_enter
}

line=''
while IFS= read -r part || [ -n "$part" ]; do
    case $part in '#'* | '') continue ;; esac
    line+=${part%\\}
    if [[ $part = *\\ ]]; then continue; fi
    say "$line"
    started=$(now)
    instruction "${line%% *}" "${line#* }"
    echo "   $(ms_since "$started") ms"
    line=''
done <Dockerfile

# -- The image's promises ------------------------------------------------------------------------------------------

say "the image: $(du -sm --exclude=proc "$root" | cut -f1) MiB, user $("${enter[@]}" id -un)"
[ "$user" != root ]
for tool in gcc cc cmake pip; do
    if "${enter[@]}" sh -c "command -v $tool" >/dev/null; then echo "$tool is in the runtime image" >&2 && exit 1; fi
done

# -- Running: process 1 of its own namespace, loopback only ---------------------------------------------------------

say "${entrypoint[*]} ${command[*]}"
unshare --net --mount --pid --fork --kill-child \
    sh -c 'ip link set lo up && mount -t proc proc "$0/proc" && exec "$@"' "$root" \
    "${enter[@]}" "${entrypoint[@]}" "${command[@]}" >"$work/serve.log" 2>&1 &
outer=$!
trap 'kill -KILL $outer 2>/dev/null || true' EXIT
for _ in $(seq 50); do
    server=$(ps -o pid= --ppid "$outer" | tr -d ' ') && [ -n "$server" ] && break
    sleep 0.1
done
joined() { # joined COMMAND...: in the server's namespaces, as `docker exec` would
    nsenter --target "$server" --net --pid --mount "${enter[@]}" "$@"
}

started=$(now)
until joined "${healthcheck[@]}" >"$work/health.log" 2>&1; do
    if [ "$(ms_since "$started")" -gt 5000 ] || ! kill -0 "$server"; then
        cat "$work/serve.log" "$work/health.log" >&2
        echo "not healthy after 5 s" >&2
        exit 1
    fi
    sleep 0.1
done
say "healthy after $(ms_since "$started") ms: ${healthcheck[*]}"
cat "$work/serve.log"

joined fastpubsub sub /container --count 3 >"$work/received" &
subscriber=$!
until grep -q /container "$work/serve.log"; do sleep 0.05; done # its joining is an event that serve prints
joined fastpubsub pub /container one two three
wait "$subscriber"
say "pub and sub inside: $(tr '\n' ' ' <"$work/received")"
[ "$(tr '\n' ' ' <"$work/received")" = "one two three " ]

joined fastpubsub sub /container >"$work/received" 2>&1 & # a client that the drain has to tell
client=$!
until [ "$(grep -c /container "$work/serve.log")" -ge 5 ]; do sleep 0.05; done
started=$(now)
kill -s "$stop_signal" "$server"
code=0
wait "$outer" || code=$?
stopped=$(ms_since "$started")
wait "$client" || true
say "SIG$stop_signal: gone after $stopped ms with exit code $code"
cat "$work/serve.log"
[ "$stopped" -lt 10000 ] && [ "$code" = 0 ]
say "container check passed"

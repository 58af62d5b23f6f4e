#!/bin/sh
# Installs the rivals into build/rivals; what is there already stays, so it may be run again at any time.
#   setup.sh
# A rival that cannot be installed is passed over, with a line that says why. On Debian and Ubuntu, as root, packages
# that are missing are installed; otherwise the line names them.
set -eu
cd "$(dirname "$0")/../.."

BUN=1.4.5
WEBSOCKETS='websockets==17.4 uvloop==0.23.0'
PICOWS='picows==2.3.1 aiofastnet==1.2.0 uvloop==0.23.0'
STARLETTE='starlette==1.10.0 uvicorn==0.54.0 websockets==17.4 httptools==0.9.0 uvloop==0.23.0'
NCHAN_MODULE=/usr/lib/nginx/modules/ngx_nchan_module.so # its version, and nginx's, are the distribution's

python=${PYTHON:-python3}
build=build/rivals
log=$build/log

pass_over() { # pass_over RIVAL WHY
    echo "$1: passed over: $2"
}

said() {
    grep . "$log" | tail -n 1
}

install_packages() { # install_packages RIVAL PACKAGE...
    rival=$1
    shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        pass_over "$rival" "first, as root: apt-get install $*"
        return 1
    fi
    echo "$rival: apt-get install $*"
    if ! { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >>"$log" 2>&1; then
        pass_over "$rival" "apt-get install $*: $(said)"
        return 1
    fi
}

make_environment() {
    [ ! -x "$build/venv/bin/pip" ] || return 0
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        install_packages 'websockets, picows, starlette' python3 python3-venv || return 1
    rm -rf "$build/venv"
    "$python" -m venv "$build/venv"
}

install_from_pypi() { # install_from_pypi RIVAL REQUIREMENT...
    rival=$1
    shift
    "$build/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$log" 2>&1 ||
        pass_over "$rival" "pip install $*: $(said)"
}

install_python_rivals() {
    make_environment || return 0
    # shellcheck disable=SC2086 # lists
    {
        install_from_pypi websockets $WEBSOCKETS
        install_from_pypi picows $PICOWS
        install_from_pypi starlette $STARLETTE
    }
}

install_bun() {
    [ "$("$build/node/node_modules/.bin/bun" --version 2>/dev/null)" != "$BUN" ] || return 0
    command -v npm >/dev/null || install_packages bun npm || return 0
    mkdir -p "$build/node"
    npm install --prefix "$build/node" --no-save --no-audit --no-fund "bun@$BUN" >>"$log" 2>&1 ||
        pass_over bun "npm install bun@$BUN: $(said)"
}

install_nchan() {
    [ ! -e "$NCHAN_MODULE" ] || return 0
    install_packages nchan nginx libnginx-mod-nchan || return 0
    # Debian makes a service of it, on port 80, which nobody here asked for.
    [ ! -d /run/systemd/system ] || systemctl disable --quiet --now nginx
}

mkdir -p "$build"
: >"$log"
install_python_rivals
install_bun
install_nchan
"$python" -c 'from benchmarks.rivals import RIVALS
for rival in RIVALS.values():
    print(f"{rival.name}: {rival.version()}")'

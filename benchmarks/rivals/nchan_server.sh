#!/bin/sh
# Runs nginx with nchan on 127.0.0.1:PORT, one at a time, because all it writes is in build/rivals/nchan.
#   nchan_server.sh PORT
#   nchan_server.sh --version
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin
if [ "$1" = --version ]; then
    nchan=$(dpkg-query --show --showformat='${Version}' libnginx-mod-nchan)
    nginx=$(nginx -v 2>&1)
    echo "nchan ${nchan#*:} in nginx ${nginx##*/}"
    exit
fi
folder=$here/../../build/rivals/nchan
rm -rf "$folder"
mkdir -p "$folder"
sed -e "s/@port@/$1/" -e "s/@user@/$(id -un) $(id -gn)/" "$here/nchan.conf" >"$folder/nginx.conf"
exec nginx -p "$folder" -c nginx.conf -e error.log

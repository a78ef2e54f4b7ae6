#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Builds the stand-in's container images without a registry: static Go binaries and Debian's static busybox in a tar,
# imported into the Docker engine when one answers.
#
#   build.sh [TAG…]        the images named, all of them without arguments
#   OUT=dir build.sh       where the tars go (default: build/ beside this file); they are root file systems, for
#                          `docker import`; the -image.tar beside each is for `docker load`, `ctr images import` and
#                          `kind load image-archive`
#   NO_DOCKER=1 build.sh   tars only
#
# An image whose sources did not change is not built again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
module=$(dirname "$here")
out=${OUT:-$here/build}
mkdir -p "$out"
out=$(cd "$out" && pwd)

all='kwdb-standin:3.2.1 kwdb-standin:3.2.2 kwdb-standin:3.2.3-crash kwdb-standin:3.3.0 bini-standin:release2.0'

stamp=$(cd "$module" && find . -path ./image/build -prune -o -type f ! -name '*_test.go' \( -name '*.go' -o -name 'go.*' -o -name build.sh \) -print |
    LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-40)

busybox() {
    [ -x "$out/busybox" ] && return
    if [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1; then
        cp /bin/busybox "$out/busybox"
        return
    fi
    work=$(mktemp -d)
    # apt's sandbox user must be able to write where it downloads.
    chmod 755 "$work"
    (cd "$work" && { apt-get download -q busybox-static || { apt-get update -q && apt-get download -q busybox-static; }; } &&
        dpkg-deb -x busybox-static_*.deb unpacked)
    found=$work/unpacked/bin/busybox
    [ -f "$found" ] || found=$work/unpacked/usr/bin/busybox # where /bin is merged into /usr
    cp "$found" "$out/busybox"
    rm -rf "$work"
}

# One image: name, product, build tag, directory of the binary, crash text, cluster version if not the usual one.
image() {
    name=$1 product=$2 tag=$3 dir=$4 crash=$5 version=${6:-}
    file=$(printf '%s' "$name" | tr ':/' '__')
    if [ -f "$out/$file.tar" ] && [ "$(cat "$out/$file.stamp" 2>/dev/null)" = "$stamp" ]; then
        echo "$name: unchanged"
    else
        root=$(mktemp -d)
        mkdir -p "$root/bin" "$root$dir" "$root/tmp" "$root/etc" "$root/kaiwudb/lab" "$root/kaiwudb/lib" "$root/root" "$root/usr/bin"
        chmod 1777 "$root/tmp"
        cp "$out/busybox" "$root/bin/busybox"
        for applet in $("$out/busybox" --list); do
            [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
        done
        ln -s ../../bin/busybox "$root/usr/bin/env"
        echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
        echo 'root:x:0:' > "$root/etc/group"
        echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
        b=kwdbstandin/internal/build
        (cd "$module" && CGO_ENABLED=0 go build -trimpath -o "$root$dir/$product" -ldflags \
            "-s -w -X $b.Product=$product -X $b.Tag=$tag -X '$b.Time=2026/06/30 08:00:00' -X $b.SHA=$stamp -X '$b.Crash=$crash'${version:+ -X $b.ServerVersion=$version}" .)
        tar -C "$root" --owner=0 --group=0 --numeric-owner --mtime='2026-01-01 00:00:00 UTC' --sort=name -cf "$out/$file.tar" .
        rm -rf "$root"
        archive "$name" "$file" "$dir" "$product"
        echo "$stamp" > "$out/$file.stamp"
        echo "$name: built, $(du -m "$out/$file.tar" | cut -f1) MB"
    fi
    [ -n "${NO_DOCKER:-}" ] && return
    docker info >/dev/null 2>&1 || { echo "$name: no Docker engine answers; only the tars were made" >&2; return; }
    if [ "$(docker image inspect -f '{{index .Config.Labels "standin.stamp"}}' "$name" 2>/dev/null)" != "$stamp" ]; then
        old=$(docker image inspect -f '{{.Id}}' "$name" 2>/dev/null || true)
        docker load -q -i "$out/$file-image.tar"
        [ -z "$old" ] || docker rmi "$old" >/dev/null 2>&1 || true # a running container may still need it
    fi
}

# The same root file system as an image archive that docker, containerd and kind load.
archive() {
    name=$1 file=$2 dir=$3 product=$4
    work=$(mktemp -d)
    diff=$(sha256sum "$out/$file.tar" | cut -d' ' -f1)
    mkdir "$work/$diff"
    ln "$out/$file.tar" "$work/$diff/layer.tar" 2>/dev/null || cp "$out/$file.tar" "$work/$diff/layer.tar"
    entry=
    [ "$product" = bini ] && entry="\"Entrypoint\":[\"$dir/$product\"],"
    cat > "$work/config.json" <<JSON
{"architecture":"$(cd "$module" && go env GOARCH)","os":"linux","created":"2026-01-01T00:00:00Z","config":{$entry"WorkingDir":"$dir",
"Env":["PATH=$dir:/bin:/usr/bin","LD_LIBRARY_PATH=/kaiwudb/lib"],"Labels":{"standin.stamp":"$stamp"}},
"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},"history":[{"created":"2026-01-01T00:00:00Z"}]}
JSON
    config=$(sha256sum "$work/config.json" | cut -d' ' -f1)
    mv "$work/config.json" "$work/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]\n' "$config" "$name" "$diff" > "$work/manifest.json"
    tar -C "$work" --owner=0 --group=0 --mtime='2026-01-01 00:00:00 UTC' --sort=name -cf "$out/$file-image.tar" .
    rm -rf "$work"
}

busybox
[ $# -gt 0 ] || set -- $all
for name in "$@"; do
    case $name in
        kwdb-standin:3.2.3-crash) image "$name" kwbase V3.2.3 /kaiwudb/bin 'could not open tsengine instance: broken release of the lab' ;;
        kwdb-standin:3.3.*) image "$name" kwbase "V${name#*:}" /kaiwudb/bin '' 20.1-4 ;;
        kwdb-standin:*) image "$name" kwbase "V${name#*:}" /kaiwudb/bin '' ;;
        bini-standin:*) image "$name" bini ff04cdd /bini '' ;;
        *) echo "unknown image $name; known: $all" >&2; exit 2 ;;
    esac
done

#!/bin/sh
# fetch.sh - brings what is not part of the repository, and checks it.
#
#   fetch.sh data [DIR]      every data set whose manifest has a `url`, into DIR, else $UCBENCH_DATA, else the cache
#   fetch.sh model NAME      a model of `ucbench list models`, or any ORG/MODEL of the hub, into the cache
#            [--from URL]    the hub: else $UCBENCH_HUB, else $HF_ENDPOINT, else the public one; URL/ORG/MODEL/resolve/...
#            [--cache DIR]   else $UCBENCH_CACHE, else $XDG_CACHE_HOME/ucbench, else ~/.cache/ucbench
#
# $UCBENCH_TOKEN or $HF_TOKEN: an access token for models whose licence must be accepted; it is never printed.
# A good file is left alone and a broken one replaced; a file appears under its name only after every digest that is known of it
# was checked. An interrupted download is resumed, also by a later run. Exit codes: 0 all is there and good; 2 usage; 3 what came
# is wrong, or there is no such file; 4 network, permission, disk or a missing program.
set -eu
cache=${UCBENCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ucbench}
start=$PWD
cd "$(dirname "$0")/.."

say() { echo "fetch: $*" >&2; }
fail() {
    say "$2"
    exit "$1"
}
need() { command -v "$1" >/dev/null || fail 4 "needs $1, which is not installed; try: apt-get install $2"; }
digest() { sha256sum <"$1" | cut -c1-64; }
# is_done FILE SHA256: true when there is nothing to do; says what it found.
is_done() {
    [ -e "$1" ] || return 1
    found=$(digest "$1")
    if [ "$found" = "$2" ]; then
        say "$1 is there and good, nothing to do"
        return 0
    fi
    say "$1 is broken: SHA-256 $found, expected $2; fetching it again"
    return 1
}

# ---- data ----

# key MANIFEST NAME: the value of the first `NAME = value`.
key() { sed -n "s/^$2 *= *//p" "$1" | head -n 1; }

# download URL FILE: to FILE, from where an earlier try ended.
download() {
    curl --fail --location --silent --show-error --retry 3 --retry-connrefused --connect-timeout 20 -C - -o "$2" "$1" &&
        return 0
    case $? in 22 | 33 | 36) rm -f "$2" ;; esac # this server cannot go on from there: the next run starts over
    return 1
}

# fetch_from URL MEMBER SHA256 TARGET: false, with nothing changed, where that origin does not give the file.
fetch_from() {
    part=$4.part-$(echo "$1" | cksum | cut -d' ' -f1) # another origin's bytes are not continued
    say "$1"
    download "$1" "$part" || return 1
    if [ -n "$2" ]; then
        unzip -p "$part" "$2" >"$4.new" || { rm -f "$part" "$4.new"; return 1; }
    else
        cp "$part" "$4.new"
    fi
    rm -f "$part"
    if [ "$(digest "$4.new")" != "$3" ]; then
        say "what came has SHA-256 $(digest "$4.new"), expected $3"
        rm -f "$4.new"
        return 1
    fi
    mv "$4.new" "$4"
}

# fetch_set MANIFEST DIR
fetch_set() {
    path=$(key "$1" path) sha256=$(key "$1" sha256) member=$(key "$1" member)
    target=$2/$path
    if is_done "$target" "$sha256"; then return 0; fi
    [ -z "$member" ] || need unzip unzip
    for url in $(key "$1" url) $(key "$1" mirror); do
        if fetch_from "$url" "$member" "$sha256" "$target"; then
            say "$target is there and good ($(key "$1" licence))"
            return 0
        fi
    done
    say "no origin gave $path; put the file ($(key "$1" bytes) bytes, SHA-256 $sha256) at $target by hand"
    return 1
}

fetch_data() {
    case $1 in /*) dir=$1 ;; *) dir=$start/$1 ;; esac
    status=0
    need curl curl
    mkdir -p "$dir" || fail 4 "$dir: cannot make the folder"
    for manifest in datasets/*/manifest.ini; do
        [ -z "$(key "$manifest" url)" ] || fetch_set "$manifest" "$dir" || status=4
    done
    [ $status != 0 ] || say "use it: ucbench sweep --data $dir"
    return $status
}

case ${1:-} in
data) fetch_data "${2:-${UCBENCH_DATA:-$cache/data}}" ;;
model)
    shift
    . scripts/fetch_model.sh
    fetch_model "$@"
    ;;
*) fail 2 "usage: fetch.sh data [DIR] | fetch.sh model NAME [--from BASEURL] [--cache DIR]" ;;
esac

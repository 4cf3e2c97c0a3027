#!/bin/bash
# usage: libraries.sh folder example:library...
# Builds (make folder/examples/libraries/example) and runs the examples whose library pkg-config
# finds, each with the real server that it needs: on loopback or a unix socket, with all its data in
# a temporary folder; and compares their output as expect.sh does. What is not there is skipped, or
# with STRICT=1 a failure. Ends with `N passed, M failed`.

folder=$1
shift
work=$(mktemp -d) || exit 2
servers=()
missing=0

# Servers have SIGINT, on which PostgreSQL ends at once (on SIGTERM it waits for its clients), then
# SIGTERM, and after 5 s SIGKILL.
stop_all() {
    local pid sig tries=0
    trap '' INT TERM # a second one must not end the cleaning up
    for sig in INT TERM; do
        [ ${#servers[@]} = 0 ] || kill -$sig "${servers[@]}" 2>/dev/null
    done
    for pid in "${servers[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ $((tries += 1)) -lt 100 ]; do sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap stop_all EXIT
trap 'trap "" INT TERM; exit 1' INT TERM

say_skipped() {
    echo "skipped: no $1"
    missing=$((missing + 1))
    return 1
}

need() {
    command -v "$1" > /dev/null || say_skipped "$1"
}

# Starts a server whose output goes to a log.
start() {
    "$@" > "$work/$1.log" 2>&1 < /dev/null &
    servers+=($!)
}

# Waits until a command succeeds; the server is $1.
ready() {
    local name=$1 tries=0
    shift
    until "$@" > /dev/null 2>&1; do
        if [ $((tries += 1)) -gt 200 ]; then
            echo "FAIL: $name does not start:"
            cat "$work"/*.log
            exit 1
        fi
        sleep 0.05
    done
}

is_open() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

# A port that nobody listens on.
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && is_open $port; do :; done
    echo $port
}

# PostgreSQL does not run as root. Debian keeps it off the PATH.
start_postgres() {
    local as=() PATH=$PATH
    PATH=$(printf '%s:' /usr/lib/postgresql/*/bin)$PATH
    need initdb || return
    mkdir "$work/postgres"
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$work"
        chown postgres "$work/postgres"
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    export PGHOST=$work/postgres PGUSER=coro PGDATABASE=postgres PGPORT=5432 # of a unix socket
    "${as[@]}" initdb -D "$work/postgres/data" -A trust -U coro -N > "$work/initdb.log" 2>&1
    start "${as[@]}" postgres -D "$work/postgres/data" -k "$work/postgres" \
        -c listen_addresses= -c fsync=off
    ready postgres pg_isready -q
}

start_redis() {
    need redis-server || return
    export REDIS_SOCKET=$work/redis
    start redis-server --port 0 --unixsocket "$REDIS_SOCKET" --save '' --appendonly no \
        --dir "$work"
    ready redis-server test -S "$REDIS_SOCKET"
}

# Gives numbers, and something that takes too long.
start_nginx() {
    need nginx || return
    local port
    port=$(free_port)
    export HTTP_SERVER=http://127.0.0.1:$port
    mkdir "$work/nginx"
    head -c 100000 /dev/zero > "$work/nginx/slow"
    cat > "$work/nginx.conf" <<END
daemon off;
master_process off;
pid $work/nginx/pid;
error_log $work/nginx.error.log;
events { }
http {
    access_log off;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$port;
        root $work/nginx;
        location = /slow { limit_rate 100; }
        location ~ ^/number/([0-9][0-9])$ { return 200 "this is number \$1\n"; }
        location / { return 404; }
    }
}
END
    start nginx -c "$work/nginx.conf" -e "$work/nginx.error.log"
    ready nginx is_open "$port"
}

start_dnsmasq() {
    need dnsmasq || return
    local port
    port=$(free_port)
    export DNS_SERVER=127.0.0.1:$port
    start dnsmasq --keep-in-foreground --conf-file=/dev/null --port="$port" --no-resolv \
        --listen-address=127.0.0.1 --bind-interfaces --user="$(id -un)" --pid-file= --no-hosts \
        --log-facility=- --host-record=one.test,192.0.2.1,2001:db8::1 \
        --host-record=two.test,192.0.2.2 --address=/none.test/
    ready dnsmasq is_open "$port"
}

make_certificate() {
    need openssl || return
    export TLS_FOLDER=$work
    openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" \
        > "$work/openssl.log" 2>&1
}

start_for() {
    case $1 in
    curl) start_nginx ;;
    dns) start_dnsmasq ;;
    postgres) start_postgres ;;
    redis) start_redis ;;
    tls) make_certificate ;;
    esac
}

found=()
for pair in "$@"; do
    name=${pair%%:*}
    pkg-config --exists "${pair#*:}" || say_skipped "${pair#*:}" || continue
    ${MAKE:-make} -s --no-print-directory "$folder/examples/libraries/$name" || exit 1
    if start_for "$name"; then found+=("examples/libraries/$name.c"); fi
done
[ -z "$STRICT" ] || [ $missing = 0 ] || exit 1
TMPDIR=$work tools/expect.sh "$folder" "${found[@]}" & # signals are heard while it runs
servers+=($!)
wait $!

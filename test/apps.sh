#!/bin/bash
# usage: apps.sh folder
# Tries the whole programs of examples/ that are in this folder as their users would: chat, proxy,
# together and download, with python3 at the other end. All on loopback, all files in a temporary
# folder; what it has started it stops, whatever happens. Ends with `N passed, M failed`.

folder=$(cd "$1" && pwd) || exit 2
work=$(mktemp -d) || exit 2
cd "$work" || exit 2
started=()
passed=0 failed=0

stop_all() {
    local pid
    [ ${#started[@]} = 0 ] || kill -KILL "${started[@]}" 2> /dev/null
    for pid in "${started[@]}"; do wait "$pid" 2> /dev/null; done
    rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 1' INT TERM

# Starts something that may be interrupted, whatever is ignored here (by nohup, say): $pid.
start() {
    set -m
    env --default-signal=INT,TERM,HUP "$@" \
        < "${in:-/dev/null}" > "${out:-/dev/null}" 2> err &
    pid=$!
    set +m
    started+=("$pid")
}

# Waits for the end of $1: its status is in $rc.
ended() {
    local tries=0
    while kill -0 "$1" 2> /dev/null && [ $((tries += 1)) -lt 200 ]; do sleep 0.05; done
    kill -KILL "$1" 2> /dev/null && echo "    $1 did not end"
    wait "$1" 2> /dev/null
    rc=$?
}

# check "what" command...: it has to succeed.
check() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $what: $*"
        sed 's/^/    stderr: /' err 2> /dev/null
    fi
}

is() { [ "$1" = "$2" ] || { echo "    wanted $1"; echo "    got    $2"; return 1; }; }

is_open() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

free_port() {
    while port=$((20000 + RANDOM % 10000)) && is_open $port; do :; done
}

# Waits until a command succeeds, for 10 s at most.
until_ok() {
    local tries=0
    until "$@"; do
        [ $((tries += 1)) -lt 200 ] || return 1
        sleep 0.05
    done
}

three_sleep() { [ "$(pgrep -fc '^sleep 777[3]')" = 3 ]; }

no_process() { ! pgrep -f "$1" > /dev/null; }

# The servers and clients that are not ours.
cat > peer.py << 'END'
import socket, sys, threading

def listen():
    s = socket.create_server(("127.0.0.1", 0))
    print(s.getsockname()[1], flush=True)
    return s

def each(s, serve):
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()

def everything(c):
    with c.makefile("rb") as f:
        return f.read()

def mirror(c):          # answers only when it has met the end
    data = everything(c)
    c.sendall(data[::-1])
    c.close()

def through(port, size):                # 10 MB there and back, both ends half-closed
    c = socket.create_connection(("127.0.0.1", port))
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    c.sendall(data)
    c.shutdown(socket.SHUT_WR)
    return everything(c) == data[::-1]

class Chat:
    def __init__(self, port, name):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.f = self.s.makefile("rw", newline="\n")
        assert self.f.readline() == "* your name?\n"
        self.say(name)
        self.welcome = self.f.readline()
    def say(self, text):
        self.f.write(text + "\n")
        self.f.flush()
    def heard(self):
        return self.f.readline().rstrip("\n")

def chat(port):
    ann = Chat(port, "ann")
    assert ann.welcome == "* welcome, ann\n", ann.welcome
    second = Chat(port, "ann")
    assert second.welcome == "* not that one; your name?\n", second.welcome
    second.say("bob \x1b")
    assert second.heard() == "* not that one; your name?"
    second.say("bob")
    assert second.heard() == "* welcome, bob"
    assert ann.heard() == "* bob has joined"
    second.say("hello \x1b[2J")
    assert ann.heard() == "bob: hello ?[2J"
    ann.say("x" * 1000)
    parts = [second.heard() for _ in range(3)]
    assert [p[:5] for p in parts] == ["ann: "] * 3
    assert "".join(p[5:] for p in parts) == "x" * 1000, parts
    second.s.shutdown(socket.SHUT_RDWR)
    assert ann.heard() == "* bob has left"
    slow = Chat(port, "slow")           # reads nothing until all has been said
    fast = Chat(port, "fast")
    assert ann.heard() == "* slow has joined" and ann.heard() == "* fast has joined"
    total = 8000
    def flood():
        for i in range(total):
            ann.say("%06d " % i + "y" * 200)
    threading.Thread(target=flood, daemon=True).start()
    def count(who, first):
        seen, last, at_once = 0, -1, True
        while seen < total + first:
            line = who.heard()
            if line.startswith("* you have missed "):
                seen += int(line.split()[4])
                at_once = False
                continue
            seen += 1
            if line.startswith("ann: "):
                n = int(line[5:11])
                assert n > last
                last = n
        assert last == total - 1, last
        return at_once
    count(fast, 0)
    assert not count(slow, 1)           # "fast has joined" comes first
    print("ready", flush=True)
    for who in ann, slow, fast:
        assert who.heard() == "* the room is closed"
        assert who.heard() == ""

def cutting(c):                         # the first answer is cut in the middle
    global requests
    requests += 1
    head = b""
    while b"\r\n\r\n" not in head:
        head += c.recv(65536)
    with open("requests", "ab") as f:
        f.write(head)
    data = open("data", "rb").read()
    if b"Range: bytes=" in head:
        begin = int(head.split(b"Range: bytes=")[1].split(b"-")[0])
        if begin >= len(data):
            c.sendall(b"HTTP/1.1 416 No\r\nContent-Range: bytes */%d\r\n\r\n" % len(data))
        else:
            c.sendall(b"HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d"
                      b"\r\n\r\n" % (begin, len(data) - 1, len(data), len(data) - begin)
                      + data[begin:])
    else:
        c.sendall(b"HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: %d\r\n\r\n" % len(data)
                  + data[:len(data) // 2])
    c.close()

requests = 0
what = sys.argv[1]
if what == "mirror":
    each(listen(), mirror)
elif what == "cutting":
    each(listen(), cutting)
elif what == "through":
    sys.exit(0 if through(int(sys.argv[2]), int(sys.argv[3])) else 1)
elif what == "chat":
    chat(int(sys.argv[2]))
elif what == "hold":                    # a connection that is closed when a file is there
    import os, time
    c = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    c.sendall(b"ab")
    print("held", flush=True)
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    c.sendall(b"c")
    c.shutdown(socket.SHUT_WR)
    sys.exit(0 if everything(c) == b"cba" else 1)
elif what == "idle":
    c = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    sys.exit(0 if everything(c) == b"" else 1)
END

# Starts a python server and waits for its port.
serve() {
    out=port start python3 peer.py "$@"
    until_ok test -s port
    port=$(cat port)
    rm port
}

# ---- chat ----------------------------------------------------------------------------------------

free_port
start "$folder/chat" "127.0.0.1:$port"
chat=$pid
until_ok is_open "$port"
out=said start python3 peer.py chat "$port"
talk=$pid
check "chat: two talk, one is slow" until_ok test -s said
kill -TERM "$chat"
ended "$talk"
check "chat: everyone is told that the room is closed" is 0 $rc
ended "$chat"
check "chat: SIGTERM ends it" is 0 $rc

# ---- proxy ---------------------------------------------------------------------------------------

serve mirror
mirror=$port
free_port
out=statistics start "$folder/proxy" -i 1.5 "127.0.0.1:$port" "localhost:$mirror"
proxy=$pid
until_ok is_open "$port"
check "proxy: 10 MB, byte for byte, and both half-closes" \
    timeout 10 python3 peer.py through "$port" 10000000
check "proxy: who is idle is put out" timeout 5 python3 peer.py idle "$port"
kill -USR1 "$proxy"
check "proxy: SIGUSR1 prints statistics" \
    until_ok grep -q '10000000 bytes to the target, 10000000 from it' statistics
out=held start python3 peer.py hold "$port" go
hold=$pid
until_ok test -s held
sleep 0.1
kill -TERM "$proxy"
until_ok eval "! is_open $port"
touch go
ended "$hold"
check "proxy: a connection that is open at SIGTERM is finished" is 0 $rc
ended "$proxy"
check "proxy: and then it ends" is 0 $rc
check "proxy: with statistics" is 2 "$(tail -n 2 statistics | grep -c '10000003\|, 1 idle')"

free_port
start "$folder/proxy" -c 1 -b 1000000 "127.0.0.1:$port" "127.0.0.1:$mirror"
until_ok is_open "$port"
begun=$(date +%s%N)
check "proxy: 300 KB through a limit" timeout 10 python3 peer.py through "$port" 300000
took=$((($(date +%s%N) - begun) / 1000000))
check "proxy: take their time, there and back: $took ms" test $took -gt 380
proxy=$pid
rm -f go held
out=held start python3 peer.py hold "$port" go
hold=$pid
until_ok test -s held
start python3 peer.py through "$port" 10
second=$pid
sleep 0.3
check "proxy: with a limit of one the second connection waits" kill -0 "$second"
touch go
ended "$hold"
check "proxy: while the first goes on" is 0 $rc
ended "$second"
check "proxy: and then has its turn" is 0 $rc
kill -TERM "$proxy"
ended "$proxy"

# ---- together ------------------------------------------------------------------------------------

seq 1000 > numbers
"$folder/together" -j 8 sh -c 'echo {}' < numbers 2> err | sort -n > got
check "together: 1,000 commands, none lost, none twice" cmp numbers got
yes true | head -n 1000 | "$folder/together" -j 8 - 2> err
check "together: 1,000 lines for the shell" is 0 $?
printf 'true\nexit 3\nkill -9 $$\ntrue\n' | "$folder/together" -k - 2> err
check "together: a failure shows in the exit status" is 1 $?
check "together: both are told" is 2 "$(grep -c 'exit code 3\|signal 9' err)"
printf 'sleep 7771\nfalse\nsleep 7771\nsleep 7771\n' > lines
in=lines start "$folder/together" -j 3
ended "$pid"
check "together: the first failure stops the rest" is 1 $rc
check "together: which leave nothing behind" no_process 'sleep 777[1]'
echo 'sleep 7772 & sleep 7772' > lines
in=lines start "$folder/together" -t 0.2
ended "$pid"
check "together: a time-out" is 1 $rc
check "together: ends all that was started" no_process 'sleep 777[2]'
mkdir logs
printf 'echo one; echo two >&2\nmkdir d 2> /dev/null && exit 1; echo again\n' |
    "$folder/together" -r 3 -l logs 2> err
check "together: a retry" is 0 $?
check "together: a log for each" is "one two again" "$(cat logs/1.log logs/2.log | paste -sd ' ')"
for signal in INT TERM HUP; do
    printf 'sleep 7773\nsleep 7773 & wait\ntrap "" TERM; sleep 7773\n' > lines
    in=lines start "$folder/together" -
    until_ok three_sleep
    kill -$signal "$pid"
    ended "$pid"
    check "together: SIG$signal ends it" is 130 $rc
    check "together: SIG$signal leaves no child" no_process 'sleep 777[3]'
done
python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)' \
    sh -c "printf 'sleep .3\\nsleep .3\\n' | $folder/together -j 1 -" > screen < /dev/null
check "together: on a terminal" is 0 $?
check "together: it shows how far it is" grep -q '\] 1/2+, 1 running, 0 failed' screen
"$folder/together" -j 0 2> err < /dev/null
check "together: wrong usage" is 2 $?
echo true | "$folder/together" -j 1 no-such-program 2> err
check "together: a program that does not exist" is 1 $?

# ---- download ------------------------------------------------------------------------------------

head -c 3000000 /dev/urandom > data
serve cutting
"$folder/download" -d . "http://127.0.0.1:$port/cut" 2> err
check "download: a file that was cut" is 0 $?
check "download: is resumed, byte for byte" cmp data cut
check "download: if it is the same file still" grep -q 'If-Range: "one"' requests
head -c 1000000 data > later.part
"$folder/download" "http://localhost:$port/later" 2> err
check "download: one that a former run has begun" cmp data later
check "download: is resumed, too" grep -q 'Range: bytes=1000000-' requests
cp data all.part
"$folder/download" "http://127.0.0.1:$port/all" 2> err
check "download: one of which all was here" cmp data all
mkdir served got.d
for i in 1 2 3 4 5 6 7 8; do head -c $((i * 100000)) /dev/urandom > served/$i; done
free_port
(cd served && exec python3 -m http.server --bind 127.0.0.1 "$port") > /dev/null 2>&1 &
started+=($!)
until_ok is_open "$port"
"$folder/download" -j 3 -d got.d "http://127.0.0.1:$port/"{1,2,3,4,5,6,7,8} 2> err
check "download: eight files, three at a time" diff -r served got.d
"$folder/download" -d got.d "http://127.0.0.1:$port/9" "http://127.0.0.1:$port/1" 2> err
check "download: one that is not there" is 1 $?
check "download: is told" grep -q '/9: .*(404)' err
check "download: and the other comes all the same" cmp served/1 got.d/1
free_port
begun=$SECONDS
"$folder/download" "http://127.0.0.1:$port/x" 2> err
check "download: nobody is there" is 1 $?
check "download: it gives up in a few seconds" test $((SECONDS - begun)) -lt 5

echo "$passed passed, $failed failed"
[ $failed = 0 ]

# shellcheck shell=sh
# What the fake agents inside share: running a script of a pack as a job, and saying what came of it.
export PATH="/test/bin:$PATH" FORMWORK_MACHINE=node-1 FORMWORK_FILES=http://10.77.0.1:8080/files
export FORMWORK_PARAM_INSTALL_DISK=/dev/vda

# job SCRIPT: runs it in a folder of its own; what it says is in /tmp/log.
job() {
    rm -rf /tmp/work
    mkdir /tmp/work
    (cd /tmp/work && exec sh "/test/$1" </dev/null) >/tmp/log 2>&1
}
# succeeds WHAT SCRIPT, fails WHAT SCRIPT WORDS: the words must be in what it says.
succeeds() {
    if job "$2"; then echo "ok: $1"; else
        echo "FAILED: $1"
        cat /tmp/log
    fi
}
fails() {
    if job "$2"; then
        echo "FAILED: $1: it succeeded"
        cat /tmp/log
    elif grep -q "$3" /tmp/log; then echo "ok: $1"; else
        echo "FAILED: $1: it does not say '$3'"
        cat /tmp/log
    fi
}
end() {
    echo "inside: end"
    sync
    poweroff -f
}

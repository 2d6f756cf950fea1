# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common.sh - what every test of real programs needs; sourced, not run.
#
# Owns:   a private world per test (segments, state, scratch files), results,
#         the life of everything started.  Nothing is killed by name.
#
# One line for each check: "ok NAME" or "FAIL NAME: why".  Status 1 if one
# failed, 77 if a program is missing (the line says which), 99 if no check ran.
set -u
export LC_ALL=C.UTF-8
unset LD_PRELOAD BUDDYSCOPE BUDDYSCOPE_DIR DISPLAY WAYLAND_DISPLAY

lib=${BUDDYSCOPE_LIB:?}
daemon=${BUDDYSCOPED:?}
tool=${BUDDYSCOPE_TOOL:?}
real=${top_srcdir:?}/tests/real
cc=${CC:-cc} cxx=${CXX:-c++}
# A shim of a version manager is a script of its own; take the real one.
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3 || echo python3)

nr_ok=0 nr_bad=0
pids=()

ok() # NAME [FIGURES]
{
	nr_ok=$((nr_ok + 1))
	echo "ok $1${2:+ ($2)}"
}

bad() # NAME WHY
{
	nr_bad=$((nr_bad + 1))
	echo "FAIL $1: $2"
}

# check NAME WHY COMMAND...: the command's status is the verdict.
check()
{
	local name=$1 why=$2
	shift 2

	if "$@"; then ok "$name"; else bad "$name" "$why"; fi
}

# equal NAME GOT WANTED
equal()
{
	if [ "$2" = "$3" ]; then ok "$1" "$2"; else
		bad "$1" "got '$2', expected '$3'"
	fi
}

# has NAME FILE PATTERN: an extended regular expression.
has()
{
	if grep -Eq -- "$3" "$2"; then ok "$1"; else
		bad "$1" "no '$3' in:"
		tail -n 10 "$2" | cut -c1-300 | sed 's/^/     | /'
	fi
}

# need PROGRAM:PACKAGE...: all of them, or status 77 and what is missing.
need()
{
	local entry missing=

	for entry in "$@"; do
		command -v "${entry%%:*}" >/dev/null ||
			missing+=" ${entry%%:*} (package ${entry##*:})"
	done
	[ -z "$missing" ] && return
	echo "SKIP: not installed:$missing"
	exit 77
}

cleanup()
{
	local pid

	for pid in ${pids[@]+"${pids[@]}"}; do
		kill -CONT "$pid" 2>/dev/null
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf -- "$work" "$BUDDYSCOPE_DIR"
}

work=$(mktemp -d) || exit 99
shm=/dev/shm
[ -d $shm ] && [ -w $shm ] || shm=${TMPDIR:-/tmp}
BUDDYSCOPE_DIR=$(mktemp -d $shm/buddyscope-test.XXXXXX) || exit 99
export BUDDYSCOPE_DIR XDG_STATE_HOME=$work/state
mkdir "$work/state"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

finish()
{
	echo "$nr_ok passed, $nr_bad failed"
	[ $((nr_ok + nr_bad)) -gt 0 ] || exit 99
	[ $nr_bad -eq 0 ]
	exit
}

# forget PID: it has ended, its number may be somebody else's soon.
forget()
{
	local pid kept=()

	for pid in ${pids[@]+"${pids[@]}"}; do
		[ "$pid" = "$1" ] || kept+=("$pid")
	done
	pids=(${kept[@]+"${kept[@]}"})
}

# await SECONDS COMMAND...: until it is true.
await()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift

	while ! "$@" >/dev/null 2>&1; do
		[ ${EPOCHREALTIME/./} -lt $end ] || return 1
		sleep 0.05
	done
}

gone() # PID
{
	! kill -0 "$1" 2>/dev/null
}

segment_of() # PID: the newest segment's path
{
	local file

	# shellcheck disable=SC2012  # names are of digits and dashes
	file=$(ls -t "$BUDDYSCOPE_DIR/$1"-*.seg 2>/dev/null | head -n 1)
	[ -n "$file" ] && echo "$file"
}

socket=$BUDDYSCOPE_DIR/buddyscoped.sock
daemon_pid=

# The daemon answers, not only: its socket is there.
daemon_answers()
{
	[ -S "$socket" ] && "$python" - "$socket" <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.settimeout(2)
		s.connect(sys.argv[1])
		s.sendall(b"ps --json\n")
		sys.exit(not s.recv(1))
	END
}

start_daemon() # [OPTION]...
{
	"$daemon" --foreground --log "$work/daemon.log" "$@" \
		</dev/null >>"$work/daemon.err" 2>&1 &
	daemon_pid=$!
	pids+=("$daemon_pid")
	await 10 daemon_answers && return
	bad "daemon starts" "it does not answer: $(tail -n 3 "$work/daemon.err")"
	finish
}

# under OPTIONS COMMAND...: in the place of this shell (use ( ) or &).
under()
{
	local options=$1
	shift

	export LD_PRELOAD=$lib BUDDYSCOPE=$options
	exec "$@"
}

make_clip() # FILE SECONDS
{
	"$top_srcdir/tests/clip" "$1" "$2" 320x180 2>"$work/clip.err" && return
	bad "make a clip" "$(tail -n 2 "$work/clip.err")"
	finish
}

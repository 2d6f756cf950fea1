# SPDX-License-Identifier: MIT
#
# Real programs under the preloaded library.  The longest come first, so that
# the harness has something to run beside them.

EXTRA_DIST += \
	tests/real/adds-up \
	tests/real/common.sh \
	tests/real/count-libc.py \
	tests/real/kill-9 \
	tests/real/leak-plugin \
	tests/real/like-proc \
	tests/real/like_proc.py \
	tests/real/mpv-plays \
	tests/real/parsers \
	tests/real/programs-identical \
	tests/real/route-mpv \
	tests/real/segment.py \
	tests/real/shapes.c \
	tests/real/shim.c \
	tests/real/startup \
	tests/real/threads \
	tests/real/throw.cc \
	tests/real/verdict.py

# These two need the plugin.
if HAVE_MPV
RUN_TESTS += \
	tests/real/leak-plugin \
	tests/real/kill-9
endif
RUN_TESTS += \
	tests/real/programs-identical \
	tests/real/mpv-plays \
	tests/real/route-mpv \
	tests/real/adds-up \
	tests/real/threads \
	tests/real/startup \
	tests/real/like-proc \
	tests/real/parsers

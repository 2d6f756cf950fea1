/* SPDX-License-Identifier: MIT */
/*
 * options.h - buddyscoped's command line.
 *
 * Owns:   the options, their defaults and the help text.
 * Layer:  daemon.
 * Locks:  none.
 */
#ifndef BS_DAEMON_OPTIONS_H
#define BS_DAEMON_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/log.h"

#define BS_INTERVAL_NS_DEFAULT UINT64_C(10000000000)

struct bs_options {
	bool foreground;
	enum bs_log_format log_format;
	uint64_t interval_ns;  /* between two lines of a zone */
	uint64_t idle_exit_ns; /* 0: never */
	char dir[PATH_MAX];    /* of segments and socket */
	char state[PATH_MAX];  /* $XDG_STATE_HOME/buddyscope */
	char log[PATH_MAX];    /* "" : stderr */
};

/*
 * Returns -1 to go on, else the exit status (--help, --version, errors; the
 * message was printed).
 */
int bs_options_parse(struct bs_options *opt, int argc, char **argv);

/* "10s", "500ms", "2m", "1h", "10"; false if it is none or 0. */
bool bs_parse_time(const char *text, uint64_t *ns);

/* Makes each missing folder of path, mode 0700.  0 or -errno. */
int bs_make_path(const char *path);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * query.h - what a connection asks, and the answer.
 *
 * Owns:   the table of commands of the daemon's socket.
 * Layer:  daemon; between server.c, which knows connections, and the worker.
 * Locks:  none; a query belongs to the loop, but for the time that it is a job.
 */
#ifndef BS_DAEMON_QUERY_H
#define BS_DAEMON_QUERY_H

#include <stdbool.h>

#include "daemon/daemon.h"
#include "shared/wire.h"

struct bs_query {
	struct bs_job job; /* first: the worker hands it back */
	struct bs_daemon *daemon;
	void (*answered)(struct bs_query *q, bool cancelled);
	void *connection;
	struct bs_wire_request req;
	struct bs_buf reply; /* as it goes to the client */
	/* log --follow: lines go on after the reply. */
	bool follow;
	int follow_pid;		    /* -1: all */
	struct bs_query_work *work; /* what the job needs; query.c's */
};

/*
 * Answers a line: at once, or through the worker.  answered() is called once in
 * either case, maybe before this returns; then the caller frees it.
 */
void bs_query_start(struct bs_query *q, const char *line);
void bs_query_free(struct bs_query *q);

#endif

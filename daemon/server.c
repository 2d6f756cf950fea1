/* SPDX-License-Identifier: MIT */
/*
 * server.c - the socket.
 *
 * Owns:   DIR/buddyscoped.sock, its connections and their limits.
 * Layer:  daemon.
 * Locks:  none.
 *
 * A connection has one query under way; what it sends meanwhile waits in its
 * input, which is bounded.  A client that does not read is cut off by a
 * timeout, and a follower that does not read loses lines, not we memory.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/query.h"
#include "shared/wire.h"

#define CLIENTS_MAX	   64U
#define BACKLOG		   511
#define WRITE_SECONDS	   30 /* without a byte taken: cut off */
#define FOLLOW_BYTES_MAX   (1U << 20)
#define OUTPUT_BYTES_PAUSE (1U << 20) /* answer no more before it is read */

struct client {
	struct client *next;
	struct bs_server *server;
	struct bufferevent *bev; /* NULL: gone, its query is still at work */
	bool busy;		 /* a query is at work */
	bool follow;
	int follow_pid;
	bool close_after; /* the reply */
	bool eof;	  /* it will send nothing more */
};

struct bs_server {
	struct bs_daemon *daemon;
	struct evconnlistener *listener;
	struct client *clients;
	unsigned int nr_clients;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static void client_free(struct client *c)
{
	struct client **at = &c->server->clients;

	if (c->bev)
		bufferevent_free(c->bev);
	c->bev = NULL;
	if (c->busy)
		return; /* answered() comes back for it */
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->server->nr_clients--;
	free(c);
}

/* ---- queries -------------------------------------------------------------------- */

static void next_query(struct client *c);

static void free_sent(const void *data, size_t len, void *arg)
{
	(void)len;
	(void)arg;
	free((void *)(uintptr_t)data);
}

/* Hands the reply over without a copy: it may have many megabytes. */
static void send_reply(struct client *c, struct bs_buf *reply)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	if (reply->len && !evbuffer_add_reference(out, reply->data, reply->len,
						  free_sent, NULL))
		*reply = (struct bs_buf)BS_BUF_INIT;
}

static void answered(struct bs_query *q, bool cancelled)
{
	struct client *c = q->connection;

	c->busy = false;
	if (!c->bev) {
		client_free(c);
		goto out;
	}
	if (!cancelled)
		send_reply(c, &q->reply);
	c->follow = q->follow;
	c->follow_pid = q->follow_pid;
	if (c->eof)
		bufferevent_trigger(c->bev, EV_WRITE, BEV_OPT_DEFER_CALLBACKS);
out:
	bs_query_free(q);
}

static void fail(struct client *c, const char *message)
{
	struct bs_buf reply = BS_BUF_INIT;

	bs_wire_put_end(&reply, BS_EXIT_USAGE, message);
	bufferevent_write(c->bev, reply.data, reply.len);
	bs_buf_free(&reply);
	c->close_after = true;
	bufferevent_disable(c->bev, EV_READ);
}

/* Starts what the input holds, one query after the other. */
static void next_query(struct client *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	struct bs_query *q;
	char *line;

	while (c->bev && !c->busy && !c->close_after && !c->follow &&
	       evbuffer_get_length(bufferevent_get_output(c->bev)) <
		       OUTPUT_BYTES_PAUSE) {
		line = evbuffer_readln(in, NULL, EVBUFFER_EOL_LF);
		if (!line) {
			if (evbuffer_get_length(in) >= BS_WIRE_LINE_MAX)
				fail(c, "the request is too long");
			return;
		}
		q = calloc(1, sizeof(*q));
		if (!q) {
			free(line);
			fail(c, "out of memory");
			return;
		}
		q->daemon = c->server->daemon;
		q->connection = c;
		q->answered = answered;
		c->busy = true;
		bs_query_start(q, line);
		free(line);
	}
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;

	if (c->follow) /* nothing more is asked on this connection */
		evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	else
		next_query(c);
}

static size_t unsent(const struct client *c)
{
	return evbuffer_get_length(bufferevent_get_output(c->bev));
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;

	(void)bev;
	if (!c->close_after)
		next_query(c);
	if ((c->close_after || c->eof) && !c->busy && !c->follow && !unsent(c))
		client_free(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct client *c = arg;

	if (what & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) {
		client_free(c);
		return;
	}
	if (!(what & BEV_EVENT_EOF))
		return;
	/* It may have closed its sending half only: answer what it asked. */
	c->eof = true;
	on_written(bev, c);
}

/* ---- log --follow ----------------------------------------------------------------- */

static void on_log_line(void *arg, int pid, const char *line, size_t len)
{
	struct bs_server *server = arg;

	for (struct client *c = server->clients; c; c = c->next) {
		if (!c->bev || !c->follow ||
		    (c->follow_pid >= 0 && c->follow_pid != pid) ||
		    evbuffer_get_length(bufferevent_get_output(c->bev)) >
			    FOLLOW_BYTES_MAX)
			continue;
		bufferevent_write(c->bev, line, len);
	}
}

/* ---- connections ------------------------------------------------------------------- */

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
		      struct sockaddr *addr, int len, void *arg)
{
	struct timeval patience = { WRITE_SECONDS, 0 };
	struct bs_server *server = arg;
	struct client *c;

	(void)listener;
	(void)addr;
	(void)len;
	if (server->nr_clients >= CLIENTS_MAX || !may_ask(fd))
		goto out_close;
	c = calloc(1, sizeof(*c));
	if (!c)
		goto out_close;
	c->bev = bufferevent_socket_new(server->daemon->base, fd,
					BEV_OPT_CLOSE_ON_FREE |
						BEV_OPT_DEFER_CALLBACKS);
	if (!c->bev) {
		free(c);
		goto out_close;
	}
	c->server = server;
	c->next = server->clients;
	server->clients = c;
	server->nr_clients++;
	server->daemon->busy_ns = bs_now_ns();
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, 4 * BS_WIRE_LINE_MAX);
	bufferevent_set_timeouts(c->bev, NULL, &patience);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	return;

out_close:
	close(fd);
}

struct bs_server *bs_server_new(struct bs_daemon *d, char *err, size_t errlen)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct bs_server *server = calloc(1, sizeof(*server));

	if (!server) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	server->daemon = d;
	if ((size_t)snprintf(server->path, sizeof(server->path), "%s/%s",
			     d->options.dir,
			     BS_SOCKET_NAME) >= sizeof(server->path)) {
		snprintf(err, errlen, "the path of the socket is too long: %s",
			 d->options.dir);
		goto out_free;
	}
	memcpy(addr.sun_path, server->path, sizeof(addr.sun_path));
	/* The directory is ours alone (locked): what is there is stale. */
	unlink(server->path);
	server->listener = evconnlistener_new_bind(
		d->base, on_accept, server,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG,
		(struct sockaddr *)&addr, sizeof(addr));
	if (!server->listener) {
		snprintf(err, errlen, "cannot listen on %s: %s", server->path,
			 strerror(errno));
		goto out_free;
	}
	chmod(server->path, 0600);
	bs_log_listen(d->log, on_log_line, server);
	return server;

out_free:
	free(server);
	return NULL;
}

/*
 * Frees what can be freed; a client whose query is at work is freed when the
 * worker is drained, so the server itself must outlive that: see end().
 */
void bs_server_close(struct bs_server *server)
{
	struct client *c, *next;

	if (!server)
		return;
	bs_log_listen(server->daemon->log, NULL, NULL);
	if (server->listener) {
		evconnlistener_free(server->listener);
		unlink(server->path);
	}
	server->listener = NULL;
	for (c = server->clients; c; c = next) {
		next = c->next;
		client_free(c);
	}
}

void bs_server_free(struct bs_server *server)
{
	free(server);
}

unsigned int bs_server_nr_clients(const struct bs_server *server)
{
	return server->nr_clients;
}

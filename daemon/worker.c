/* SPDX-License-Identifier: MIT */
/*
 * worker.c - see worker.h.
 *
 * Owns:   the thread, its two queues, the eventfd that wakes the loop, and the
 *         symbolizer, which lives in the thread alone.
 * Layer:  daemon.
 * Locks:  bs_worker.lock.
 */
#include "daemon/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shared/symbols.h"

struct queue {
	struct bs_job *first;
	struct bs_job **last;
};

struct bs_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct queue urgent;  /* in order of arrival */
	struct queue waiting; /* after all urgent ones */
	struct queue finished;
	size_t pending;
	bool stop;
	int wake_loop; /* eventfd */
	struct event *event;
	struct bs_symbolizer *sym;
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_add(struct queue *q, struct bs_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct bs_job *queue_take(struct queue *q)
{
	struct bs_job *job = q->first;

	if (!job)
		return NULL;
	q->first = job->next;
	if (!q->first)
		q->last = &q->first;
	return job;
}

static struct bs_job *next_job(struct bs_worker *w)
{
	struct bs_job *job = queue_take(&w->urgent);

	return job ? job : queue_take(&w->waiting);
}

static void *work(void *arg)
{
	struct bs_worker *w = arg;
	struct bs_job *job;
	uint64_t one = 1;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->stop && !w->urgent.first && !w->waiting.first)
			pthread_cond_wait(&w->wake, &w->lock);
		if (w->stop)
			break;
		job = next_job(w);
		pthread_mutex_unlock(&w->lock);
		job->run(job, w->sym);
		bs_symbolizer_trim(w->sym);
		pthread_mutex_lock(&w->lock);
		queue_add(&w->finished, job);
		if (write(w->wake_loop, &one, sizeof(one)) < 0) {
			/* The counter is full: the loop is awake already. */
		}
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void collect(evutil_socket_t fd, short what, void *arg)
{
	struct bs_worker *w = arg;
	struct bs_job *job;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	for (;;) {
		pthread_mutex_lock(&w->lock);
		job = queue_take(&w->finished);
		if (job)
			w->pending--;
		pthread_mutex_unlock(&w->lock);
		if (!job)
			return;
		job->done(job, false);
	}
}

/* Signals are the loop's; the thread takes none. */
static int start_thread(struct bs_worker *w)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

struct bs_worker *bs_worker_new(struct event_base *base)
{
	struct bs_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	queue_init(&w->urgent);
	queue_init(&w->waiting);
	queue_init(&w->finished);
	w->wake_loop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_loop < 0)
		goto out_free;
	w->event =
		event_new(base, w->wake_loop, EV_READ | EV_PERSIST, collect, w);
	if (!w->event || event_add(w->event, NULL))
		goto out_event;
	w->sym = bs_symbolizer_new(NULL, NULL);
	if (!w->sym)
		goto out_event;
	errno = start_thread(w);
	if (errno)
		goto out_symbolizer;
	return w;

out_symbolizer:
	bs_symbolizer_free(w->sym);
out_event:
	if (w->event)
		event_free(w->event);
	close(w->wake_loop);
out_free:
	free(w);
	return NULL;
}

static void drain(struct bs_worker *w, struct queue *q, bool cancelled)
{
	struct bs_job *job;

	while ((job = queue_take(q))) {
		w->pending--;
		job->done(job, cancelled);
	}
}

void bs_worker_free(struct bs_worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	drain(w, &w->finished, false);
	drain(w, &w->urgent, true);
	drain(w, &w->waiting, true);
	bs_symbolizer_free(w->sym);
	event_free(w->event);
	close(w->wake_loop);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void bs_worker_add(struct bs_worker *w, struct bs_job *job, bool urgent)
{
	pthread_mutex_lock(&w->lock);
	queue_add(urgent ? &w->urgent : &w->waiting, job);
	w->pending++;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

size_t bs_worker_pending(struct bs_worker *w)
{
	size_t pending;

	pthread_mutex_lock(&w->lock);
	pending = w->pending;
	pthread_mutex_unlock(&w->lock);
	return pending;
}

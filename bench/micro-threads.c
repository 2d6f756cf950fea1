/* SPDX-License-Identifier: MIT */
/*
 * micro-threads.c - the patterns with threads.
 *
 * Batches go through a queue under a mutex, 256 objects at a time: the queue is
 * not what is measured.
 */
#include <pthread.h>

#include "bench/micro.h"

#define BATCH_OBJECTS 256
#define QUEUE_BATCHES 8
#define NR_PAIRS      2
#define CHURN_OBJECTS 200
#define CHURN_AT_ONCE 4

struct batch {
	void *object[BATCH_OBJECTS];
};

/* One queue for each pair; full and empty by @nr alone. */
struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch batch[QUEUE_BATCHES]; /* ring, oldest at @first */
	unsigned int first, nr;
	uint64_t nr_batches; /* that go through in all */
};

static void put(struct queue *q, const struct batch *b)
{
	pthread_mutex_lock(&q->lock);
	while (q->nr == QUEUE_BATCHES)
		pthread_cond_wait(&q->changed, &q->lock);
	q->batch[(q->first + q->nr++) % QUEUE_BATCHES] = *b;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

static void get(struct queue *q, struct batch *b)
{
	pthread_mutex_lock(&q->lock);
	while (!q->nr)
		pthread_cond_wait(&q->changed, &q->lock);
	*b = q->batch[q->first];
	q->first = (q->first + 1) % QUEUE_BATCHES;
	q->nr--;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

static void *produce(void *arg)
{
	struct queue *q = arg;
	uint64_t state = 6, n;
	struct batch b;
	unsigned int i;

	for (n = 0; n < q->nr_batches; n++) {
		for (i = 0; i < BATCH_OBJECTS; i++)
			b.object[i] = take(next_random(&state) % 480 + 32);
		put(q, &b);
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct queue *q = arg;
	struct batch b;
	unsigned int i;
	uint64_t n;

	for (n = 0; n < q->nr_batches; n++) {
		get(q, &b);
		for (i = 0; i < BATCH_OBJECTS; i++)
			free(b.object[i]);
	}
	return NULL;
}

static void start(pthread_t *thread, void *(*body)(void *), void *arg)
{
	if (pthread_create(thread, NULL, body, arg)) {
		fprintf(stderr, "no thread\n");
		exit(1);
	}
}

/* Two producers, two consumers: all that one thread makes another frees. */
void pattern_producer(uint64_t ops)
{
	static struct queue queue[NR_PAIRS];
	pthread_t thread[2 * NR_PAIRS];
	unsigned int i;

	for (i = 0; i < NR_PAIRS; i++) {
		pthread_mutex_init(&queue[i].lock, NULL);
		pthread_cond_init(&queue[i].changed, NULL);
		queue[i].nr_batches = ops / NR_PAIRS / BATCH_OBJECTS;
		start(&thread[2 * i], produce, &queue[i]);
		start(&thread[2 * i + 1], consume, &queue[i]);
	}
	for (i = 0; i < 2 * NR_PAIRS; i++)
		pthread_join(thread[i], NULL);
}

static void *live_shortly(void *arg)
{
	uint64_t state = (uintptr_t)arg + 7;
	void *object[CHURN_OBJECTS];
	unsigned int i;

	for (i = 0; i < CHURN_OBJECTS; i++)
		object[i] = take(random_size(&state, 4, 12));
	for (i = 0; i < CHURN_OBJECTS; i++)
		free(object[i]);
	return NULL;
}

/* Threads that come, allocate a little and go, four at a time. */
void pattern_churn(uint64_t ops)
{
	uint64_t nr = ops / CHURN_OBJECTS / CHURN_AT_ONCE;
	pthread_t thread[CHURN_AT_ONCE];
	uintptr_t i;

	while (nr--) {
		for (i = 0; i < CHURN_AT_ONCE; i++)
			start(&thread[i], live_shortly, (void *)i);
		for (i = 0; i < CHURN_AT_ONCE; i++)
			pthread_join(thread[i], NULL);
	}
}

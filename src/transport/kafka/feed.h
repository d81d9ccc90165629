/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One partition as an applier reads it: where it stands in the group's rebalances, which of its messages count, and the
 * batch that is being filled from it. Pure: no client, clock or log inside.
 */

#include <sluice/codec.h>
#include <sluice/message.h>
#include <sluice/sink.h>

/* NEW → TOLD → READY → RUNNING → LOST → LEAVING → GONE; a rebalance may take it from anywhere to LOST or GONE */
enum feed_state {
	FEED_GONE,    /* not ours */
	FEED_NEW,     /* ours, nobody was told */
	FEED_TOLD,    /* the applier claims its progress */
	FEED_READY,   /* it knows where to begin */
	FEED_RUNNING, /* messages come */
	FEED_LOST,    /* taken away, nobody was told */
	FEED_LEAVING, /* the applier lets go of it */
};

/* a message that waits for the one behind it; a copy, all in one allocation */
struct feed_held {
	struct message msg; /* without headers */
	uint8_t bytes[];
};

struct feed {
	struct partition partition; /* never moves */
	enum feed_state state;
	bool again;	      /* LOST, LEAVING: assigned to us once more; it is NEW when it was let go */
	struct reign reign;   /* that holds it; its messages count */
	struct position last; /* of the last accepted record that has one */
	char identity[96];    /* of the source; "" = not known yet */
	int64_t next;	      /* offset of the next message wanted */
	int64_t stored;	      /* this message has to be the one that progress names; < 0 = that was seen */
	struct batch *batch;  /* being filled; NULL = none */
	struct {
		uint64_t n_records;
		struct position pos; /* of its last row */
		int64_t offset;	     /* of its last message */
		int64_t at_ms;	     /* when that was produced */
		bool open;	     /* more of its transaction comes, and an END behind it */
		bool carried;	     /* its BEGIN stands in a batch before this one */
	} frame;		     /* n_records > 0: a BEGIN of our own stands without its END */
	struct {
		int64_t offset; /* < 0 = none */
		struct reign reign;
	} taken;		/* the last message that counted */
	int64_t handed;		/* offset behind what the applier has got */
	int64_t acked;		/* offset behind what is durable at the target; < 0 = nothing yet */
	bool committed;		/* the group was told about acked */
	int64_t high;		/* end of the partition when it was last heard of; < 0 = unknown */
	struct feed_held *held; /* of another program's topic; NULL = none */
	/* layout tables: a heartbeat, due once the end that the partition had when it was read is reached */
	struct {
		int64_t due; /* < 0 = none */
		uint64_t no; /* its number, or that of the last one */
		struct record_heartbeat what;
		struct resume_box resume;
	} beat;
	bool paused;   /* the client does not fetch it */
	uint64_t rule; /* grows with every feed_reset() */
	struct feed *next_feed;
};

/* what is to be done with a message */
enum feed_verdict {
	FEED_TAKE,	/* a record for the applier */
	FEED_IGNORE,	/* of a dead reign, or nobody's business but ours */
	FEED_DUPLICATE, /* written twice, was taken before */
	FEED_REIGN,	/* a FENCE: what comes next is another reign's */
};

struct feed *feed_new(const char *topic, int32_t id);
/** feed_free() - NULL is allowed; returns NULL. */
struct feed *feed_free(struct feed *feed);
/** feed_hold() - keeps a copy of the message in feed->held; NULL: lets go of what is held. */
void feed_hold(struct feed *feed, const struct message *msg);
/** feed_reset() - forgets all but the partition, and whether the client has paused it; the batch too. */
void feed_reset(struct feed *feed);

/**
 * feed_begin() - decides where to read from, from what the target says and what the log holds, [low, high).
 * Return: 0 with feed->next set; negative: RESYNC 80, the log does not hold what follows.
 */
int feed_begin(
	struct feed *feed, const struct progress *progress, int64_t low, int64_t high, struct error *err);

/**
 * feed_judge() - decides about the message at offset, whose stamp was read, and moves the feed behind it.
 * Return: 0 with *ret set; negative: RESYNC 80: it does not follow from what was accepted before.
 */
int feed_judge(struct feed *feed, const struct stamp *stamp, int64_t offset, enum feed_verdict *ret,
	struct error *err);

/** feed_where() - puts the partition before err's text; returns -1. */
int feed_where(const struct feed *feed, struct error *err);
/** feed_resync() - fills err with "what the log lost", the partition and the one remedy; returns -1. */
int feed_resync(const struct feed *feed, struct error *err, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

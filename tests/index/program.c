// SPDX-License-Identifier: GPL-2.0
/*
 * Run an index in user space: program NAME. The program reads one command per
 * line from standard input, and writes one line per command to standard output.
 *
 * Pages are small here, and identified by numbers. Each page is a separate
 * allocation, which is freed as soon as the index drops the page, so that a
 * sanitizer reports any later access.
 *
 *	create			create(); "none" if an allocation failed, else "ok"
 *	weak BITS		use hashes of BITS bits; must precede "create"
 *	fail N			let the Nth allocation from now on fail (0: none)
 *	find HEX		find_stable()
 *	stable ID HEX		insert_stable() of a new page; "again" if it returned -EAGAIN
 *	unstable ID HEX		find_or_insert_unstable() of a new page
 *	write ID HEX		change the content of the page
 *	wild ID			change the content each time that the index reads it
 *	gone ID			the page does not exist for the time being
 *	back ID			the page exists again, with its old content
 *	forget ID		forget()
 *	retry HEX		retry()
 *	flush			flush()
 *	walk KIND		all entries of a kind, by next()
 *	sweep KIND		the same; each is forgotten after next() has passed it
 *	begin			walk(): begin a walk
 *	next KIND		the next entry of this walk, by next()
 *	end			walk(): end the walk
 *	bytes			bytes()
 *	destroy			destroy()
 *
 * An answer has the page that was found ("none" if there is none), or the pages of
 * a walk; then the word "asked", the number of comparisons, and the number of
 * those before the last page was dropped; then the word "dropped", and the pages
 * that the index has dropped.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/errno.h>
#include <linux/slab.h>

#include "index.h"

#define MAX_PAGES	4096
#define CONTENT_BYTES	16

struct page {
	u64 hash;
	struct ksm_entry entry;
	enum ksm_kind kind;
	bool wild, gone;
	unsigned int id;
	unsigned char content[CONTENT_BYTES];
};

/* To test another implementation, add it here and in index_program.py. */
static const struct ksm_index_ops *const implementations[] = {
	&ksm_index_tree, &ksm_index_hash,
};

static const struct ksm_index_ops *ops;
static struct ksm_index *index_;
static struct page *pages[MAX_PAGES];
static unsigned int refuse_in, asked, asked_at_drop;
static u64 hash_mask = (1ull << KSM_HASH_BITS) - 1;
static char dropped[MAX_PAGES * 6];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	abort();
}

void *kcalloc(size_t count, size_t size, unsigned int flags)
{
	(void)flags;
	if (refuse_in && !--refuse_in)
		return NULL;
	return calloc(count, size);
}

void *kzalloc(size_t size, unsigned int flags)
{
	return kcalloc(1, size, flags);
}

void kfree(const void *memory)
{
	free((void *)memory);
}

/* FNV-1a. An index must not rely on the hash function of the driver. */
static u64 hash_of(const unsigned char *content)
{
	u64 hash = 0xcbf29ce484222325ull;
	unsigned int i;

	for (i = 0; i < CONTENT_BYTES; i++)
		hash = (hash ^ content[i]) * 0x100000001b3ull;
	return hash & hash_mask;
}

static void page_free(struct page *page)
{
	pages[page->id] = NULL;
	free(page);
}

static struct page *to_page(struct ksm_entry *entry)
{
	struct page *page = container_of(entry, struct page, entry);

	if (page->id >= MAX_PAGES || pages[page->id] != page)
		die("the index returned an entry that is not a page");
	return page;
}

static bool order(const void *content, struct ksm_entry *entry, enum ksm_kind kind, int *result)
{
	struct page *page = to_page(entry);
	unsigned int i;

	asked++;
	if (page->kind != kind)
		die("page %u is compared as the wrong kind", page->id);
	if (page->gone)
		return false;
	for (i = 0; page->wild && i < CONTENT_BYTES; i++)
		page->content[i] = (unsigned char)(rand() % 2);
	*result = memcmp(content, page->content, CONTENT_BYTES);
	return true;
}

static void note_dropped(struct ksm_entry *entry, enum ksm_kind kind)
{
	struct page *page = to_page(entry);

	if (page->kind != kind)
		die("page %u was dropped as the wrong kind", page->id);
	if (kind == KSM_STABLE && !page->gone)
		die("stable page %u was dropped", page->id);
	asked_at_drop = asked;
	snprintf(dropped + strlen(dropped), sizeof(dropped) - strlen(dropped), " %u", page->id);
	page_free(page);
}

static const struct ksm_index_callbacks callbacks = {
	.order = order,
	.dropped = note_dropped,
	.hash_at = {
		(int)offsetof(struct page, hash) - (int)offsetof(struct page, entry),
		(int)offsetof(struct page, hash) - (int)offsetof(struct page, entry),
	},
};

static void parse_content(const char *hex, unsigned char *content)
{
	unsigned int i, byte;

	if (!hex || strlen(hex) != 2 * CONTENT_BYTES)
		die("a content must have %u bytes in hex", CONTENT_BYTES);
	for (i = 0; i < CONTENT_BYTES; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			die("not hex: %s", hex);
		content[i] = (unsigned char)byte;
	}
}

static struct page *page_of(const char *id)
{
	unsigned long number = id ? strtoul(id, NULL, 10) : MAX_PAGES;

	if (number >= MAX_PAGES || !pages[number])
		die("there is no page %s", id ? id : "");
	return pages[number];
}

static struct page *page_new(const char *id, const char *hex, enum ksm_kind kind)
{
	unsigned long number = id ? strtoul(id, NULL, 10) : MAX_PAGES;
	struct page *page = calloc(1, sizeof(*page));

	if (!page || number >= MAX_PAGES || pages[number])
		die("page %s cannot be created", id ? id : "");
	/* Fill the entry with garbage, so that the index has to initialise it. */
	memset(&page->entry, 0xa5, sizeof(page->entry));
	page->id = (unsigned int)number;
	page->kind = kind;
	parse_content(hex, page->content);
	pages[number] = page;
	return page;
}

static void say(struct ksm_entry *entry)
{
	if (entry)
		printf("%u", to_page(entry)->id);
	else
		printf("none");
}

/* Returns the error of insert_stable(). Sets @found to the entry that matches, if there is one. */
static int insert_stable(const struct ksm_key *key, struct page *new, struct ksm_entry **found)
{
	int err = ops->insert_stable(index_, key, &new->entry);
	unsigned int before = asked;

	if (err && err != -EAGAIN && err != -EEXIST)
		die("insert_stable() returned %d", err);
	if (err == -EEXIST) {
		*found = ops->find_stable(index_, key);
		asked = before;
		if (!*found)
			die("insert_stable() returned -EEXIST, but find_stable() returned NULL");
	}
	return err;
}

/* Allocate the key with its exact size, so that a sanitizer detects a read beyond its end. */
static void look_up(const char *hex, struct page *new, bool retry)
{
	unsigned char *content = malloc(CONTENT_BYTES);
	struct ksm_entry *found = NULL;
	struct ksm_key key = { .content = content };
	int err = 0;

	if (!content)
		die("no memory");
	if (new)
		memcpy(content, new->content, CONTENT_BYTES);
	else
		parse_content(hex, content);
	if (ops->hashes)
		key.hash = hash_of(content);
	/* The caller may use the highest bits, so set them. */
	if (new)
		new->hash = key.hash | ~KSM_HASH_MASK;
	if (retry)
		ops->retry(index_, &key);
	else if (!new)
		found = ops->find_stable(index_, &key);
	else if (new->kind == KSM_STABLE)
		err = insert_stable(&key, new, &found);
	else
		found = ops->find_or_insert_unstable(index_, &key, &new->entry);
	free(content);
	if (err == -EAGAIN)
		printf("again");
	else
		say(found);
	if (new && (found || err))
		page_free(new);
}

/* The entry that the walk after "begin" has reached. */
static struct ksm_entry *reached;

static void walk_begin(void)
{
	reached = NULL;
	if (ops->walk && ops->walk(index_, true))
		die("walk(true) returned true, which only walk(false) may do");
}

/* The driver drops its lock between two calls. */
static void walk_end(void)
{
	while (ops->walk && ops->walk(index_, false))
		;
}

static void walk(enum ksm_kind kind, bool sweep)
{
	struct ksm_entry *entry = ops->next(index_, NULL, kind), *next;
	unsigned int steps = 0;

	if (sweep)
		walk_begin();
	for (; entry; entry = next) {
		struct page *page = to_page(entry);

		if (page->kind != kind || ++steps > MAX_PAGES)
			die("the walk returned page %u of another kind, or does not end", page->id);
		next = ops->next(index_, entry, kind);
		printf("%u ", page->id);
		if (sweep) {
			ops->forget(index_, entry, kind);
			page_free(page);
		}
	}
	if (sweep)
		walk_end();
}

static void run(const char *command, const char *first, const char *second)
{
	struct page *page;

	if (!strcmp(command, "create")) {
		index_ = ops->create(&callbacks);
		printf(index_ ? "ok" : "none");
	} else if (!strcmp(command, "weak")) {
		hash_mask = (1ull << strtoul(first, NULL, 10)) - 1;
	} else if (!strcmp(command, "fail")) {
		refuse_in = (unsigned int)strtoul(first, NULL, 10);
	} else if (!strcmp(command, "find")) {
		look_up(first, NULL, false);
	} else if (!strcmp(command, "retry")) {
		look_up(first, NULL, true);
	} else if (!strcmp(command, "stable")) {
		look_up(NULL, page_new(first, second, KSM_STABLE), false);
	} else if (!strcmp(command, "unstable")) {
		look_up(NULL, page_new(first, second, KSM_UNSTABLE), false);
	} else if (!strcmp(command, "write")) {
		parse_content(second, page_of(first)->content);
	} else if (!strcmp(command, "wild")) {
		page_of(first)->wild = true;
	} else if (!strcmp(command, "gone")) {
		page_of(first)->gone = true;
	} else if (!strcmp(command, "back")) {
		page_of(first)->gone = false;
	} else if (!strcmp(command, "forget")) {
		page = page_of(first);
		ops->forget(index_, &page->entry, page->kind);
		page_free(page);
	} else if (!strcmp(command, "flush")) {
		/* The driver drops its lock between two calls. */
		while (ops->flush(index_, 3))
			;
	} else if (!strcmp(command, "walk") || !strcmp(command, "sweep")) {
		walk(!strcmp(first, "stable") ? KSM_STABLE : KSM_UNSTABLE, command[0] == 's');
	} else if (!strcmp(command, "begin")) {
		walk_begin();
	} else if (!strcmp(command, "next")) {
		reached = ops->next(index_, reached,
				    !strcmp(first, "stable") ? KSM_STABLE : KSM_UNSTABLE);
		say(reached);
	} else if (!strcmp(command, "end")) {
		walk_end();
	} else if (!strcmp(command, "bytes")) {
		printf("%zu", ops->bytes(index_));
	} else if (!strcmp(command, "destroy")) {
		ops->destroy(index_);
		index_ = NULL;
	} else {
		die("unknown command %s", command);
	}
}

int main(int argc, char **argv)
{
	char line[256];
	size_t i;

	for (i = 0; argc == 2 && i < sizeof(implementations) / sizeof(*implementations); i++)
		if (!strcmp(implementations[i]->name, argv[1]))
			ops = implementations[i];
	if (!ops)
		die("usage: program NAME, where NAME is the name of an index");
	while (fgets(line, sizeof(line), stdin)) {
		char *command = strtok(line, " \n"), *first = strtok(NULL, " \n");

		if (!command)
			die("a line is empty");
		dropped[0] = '\0';
		asked = asked_at_drop = 0;
		run(command, first, strtok(NULL, " \n"));
		printf(" asked %u %u dropped%s\n", asked, asked_at_drop, dropped);
		fflush(stdout);
	}
	return 0;
}

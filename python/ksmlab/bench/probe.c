// SPDX-License-Identifier: GPL-2.0
/*
 * Write to memory, and call the driver, without the time that an interpreter
 * takes. Compiled on the host, called by probe.py in the guest.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Write one byte at each of @count addresses, and note how many nanoseconds each write took. */
void probe_write_each(volatile unsigned char *const *where, size_t count, uint64_t *ns)
{
	size_t i;

	for (i = 0; i < count; i++) {
		uint64_t start = now();

		*where[i] ^= 1;
		ns[i] = now() - start;
	}
}

/* Write to random words of random pages until *@stop: @busy nanoseconds, then a sleep of @idle. */
void probe_write_on(volatile uint64_t *first, size_t npages, uint64_t seed, uint64_t busy,
		    uint64_t idle, const volatile int *stop)
{
	const struct timespec pause = { 0, (long)idle };
	size_t words = 4096 / sizeof(*first);
	uint64_t state = seed | 1;

	while (!*stop) {
		uint64_t end = now() + busy;

		while (!*stop && now() < end) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			first[state % npages * words + (state >> 32) % words] = state;
		}
		nanosleep(&pause, NULL);
	}
}

/*
 * Register @count regions of one page, with an unregistered page between any
 * two of them. Area descriptor @areas[i / @per_area] gets region i. Returns how
 * many were registered.
 */
size_t probe_register_many(const int *areas, size_t per_area, unsigned long request,
			   uint64_t addr, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		struct {
			uint32_t npages, pad;
			uint64_t addr, reserved_bits;
		} region = { .npages = 1, .addr = addr + 2 * 4096 * i };

		if (ioctl(areas[i / per_area], request, &region))
			break;
	}
	return i;
}

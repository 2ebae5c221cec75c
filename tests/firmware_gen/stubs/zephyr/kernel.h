/* What the sample uses of Zephyr's kernel: a timer that is always due, once more for each sample that the record on stdin calls missed. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define K_USEC(us) (us)

struct k_timer {
	int32_t period;
};
#define K_TIMER_DEFINE(name, expiry, stop) static struct k_timer name

static uint32_t missed;

static inline void k_timer_start(struct k_timer *timer, int32_t first, int32_t period)
{
	timer->period = first == period ? period : 0;
	missed = 0;
}

static inline void k_timer_stop(struct k_timer *timer)
{
	timer->period = 0;
}

static inline uint32_t k_timer_status_sync(struct k_timer *timer)
{
	const uint32_t passed = timer->period > 0 ? 1 + missed : 0;

	missed = 0;
	return passed;
}

static inline int32_t k_msleep(int32_t ms)
{
	return ms - ms;
}

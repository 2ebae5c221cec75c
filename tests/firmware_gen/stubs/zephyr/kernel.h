#pragma once
#include <stdint.h>

static inline int32_t k_usleep(int32_t us)
{
	return us - us;
}

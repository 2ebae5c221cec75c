#pragma once
#include <stdint.h>

static inline uint16_t sys_get_be16(const uint8_t src[2])
{
	return (uint16_t)(src[0] << 8 | src[1]);
}

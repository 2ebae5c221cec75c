/* What the sample uses of Zephyr's I2C driver: an MPU-6050 whose samples come from stdin, 14 bytes each; the program ends with them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct i2c_dt_spec {
	uint16_t addr;
};
#define DT_ALIAS(name) name
#define I2C_DT_SPEC_GET(node) { 0x68 }

static inline bool i2c_is_ready_dt(const struct i2c_dt_spec *spec)
{
	return spec->addr == 0x68;
}

static inline int i2c_reg_write_byte_dt(const struct i2c_dt_spec *spec, uint8_t number, uint8_t value)
{
	return spec->addr == 0x68 && number == 0x6B && value == 0 ? 0 : -1;
}

static inline int i2c_burst_read_dt(const struct i2c_dt_spec *spec, uint8_t start, uint8_t *buf, uint32_t count)
{
	if (spec->addr != 0x68 || start != 0x3B || fread(buf, 1, count, stdin) != count) {
		exit(start != 0x3B);
	}
	return 0;
}

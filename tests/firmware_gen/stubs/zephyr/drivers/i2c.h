/* What the sample uses of Zephyr's I2C driver: an MPU-6050 whose samples come from stdin as in board.cpp; the program ends with them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <zephyr/kernel.h>

struct i2c_dt_spec {
	uint16_t addr;
};
#define DT_ALIAS(name) name
#define I2C_DT_SPEC_GET(node) { 0x68 }

static uint8_t registers[128];

static inline bool i2c_is_ready_dt(const struct i2c_dt_spec *spec)
{
	return spec->addr == 0x68;
}

static inline int i2c_reg_write_byte_dt(const struct i2c_dt_spec *spec, uint8_t number, uint8_t value)
{
	registers[number] = value;
	return spec->addr == 0x68 ? 0 : -1;
}

static inline int i2c_burst_read_dt(const struct i2c_dt_spec *spec, uint8_t start, uint8_t *buf, uint32_t count)
{
	uint8_t befalls;

	if (spec->addr != 0x68 || start != 0x3B || registers[0x6B] != 0x01 || registers[0x1A] == 0) {
		abort();
	}
	if (fread(&befalls, 1, 1, stdin) != 1 || fread(buf, 1, count, stdin) != count) {
		exit(0);
	}
	missed = befalls & 0x7F;
	return (befalls & 0x80) != 0 ? -5 : 0;
}

// The I2C bus with an MPU-6050 whose samples come from stdin (see board.cpp); the program ends with them.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct Bus {
  void begin();
  void setClock(uint32_t frequency);
  void beginTransmission(uint8_t address);
  size_t write(uint8_t value);
  uint8_t endTransmission(bool stop = true);
  uint8_t requestFrom(uint8_t address, uint8_t count);
  int read();
};
extern Bus Wire;

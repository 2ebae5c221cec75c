#include <stdio.h>
#include <stdlib.h>

#include "Arduino.h"
#include "Wire.h"

Console Serial;
Bus Wire;

static uint8_t bytes[14];
static uint8_t next, first_register, written;

unsigned long micros() {
  static unsigned long now = 0;
  return now += 700;
}

void Console::begin(unsigned long) {}
void Console::println(const char *text) { puts(text); }
void Console::println(int number) { printf("%d\n", number); }

void Bus::begin() {}
void Bus::setClock(uint32_t) {}
void Bus::beginTransmission(uint8_t address) {
  if (address != 0x68) {
    abort();
  }
  written = 0;
}
size_t Bus::write(uint8_t value) {
  if (written == 0) {
    first_register = value;
  }
  written++;
  return 1;
}
uint8_t Bus::endTransmission(bool) { return 0; }
uint8_t Bus::requestFrom(uint8_t, uint8_t count) {
  if (first_register != 0x3B || fread(bytes, 1, count, stdin) != count) {
    exit(first_register != 0x3B);
  }
  next = 0;
  return count;
}
int Bus::read() { return bytes[next++]; }

int main() {
  setup();
  for (;;) {
    loop();
  }
}

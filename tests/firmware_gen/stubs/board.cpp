#include <stdio.h>
#include <stdlib.h>

#include "Arduino.h"
#include "Wire.h"

Console Serial;
Bus Wire;

// A record of stdin is a byte of what befalls, then the 14 bytes of a sample: its highest bit says that the sensor does not answer, the
// rest how many samples fall due while the program is busy after this one.
static uint8_t bytes[14], befalls;
static uint8_t next, first_register, written, registers[128];

// Starts shortly before its 32 bits wrap around; every look at the clock takes a while.
static uint32_t now = 0xFFFE0000u;

unsigned long micros() { return now += 100; }
void delay(unsigned long milliseconds) { now += 1000 * static_cast<uint32_t>(milliseconds); }

void Console::begin(unsigned long) {}
void Console::print(const char *text) { fputs(text, stdout); }
void Console::print(int32_t number) { printf("%ld", static_cast<long>(number)); }
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
  } else {
    registers[first_register] = value;
  }
  written++;
  return 1;
}
uint8_t Bus::endTransmission(bool stop) {
  if (stop) {
    return 0;
  }
  if (first_register != 0x3B || registers[0x6B] != 0x01 || registers[0x1A] == 0) {
    abort();
  }
  if (fread(&befalls, 1, 1, stdin) != 1 || fread(bytes, 1, sizeof bytes, stdin) != sizeof bytes) {
    exit(0);
  }
  return befalls & 0x80 ? 2 : 0;
}
uint8_t Bus::requestFrom(uint8_t, uint8_t count) {
  if ((befalls & 0x7F) != 0) {
    now += 10000u * ((befalls & 0x7F) + 1u);
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

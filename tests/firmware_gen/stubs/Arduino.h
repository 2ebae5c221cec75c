// What the example sketch uses of Arduino, on this machine: the console is stdout, time passes by itself.
#pragma once
#include <stdint.h>

unsigned long micros();

struct Console {
  void begin(unsigned long baud);
  void println(const char *text);
  void println(int number);
};
extern Console Serial;

void setup();
void loop();

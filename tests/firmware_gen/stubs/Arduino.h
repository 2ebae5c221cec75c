// What the example sketch uses of Arduino, on this machine: the console is stdout, time passes by itself.
#pragma once
#include <stdint.h>

#define F(text) text

unsigned long micros();
void delay(unsigned long milliseconds);

struct Console {
  void begin(unsigned long baud);
  void print(const char *text);
  void print(int32_t number);
  void println(const char *text);
  void println(int number);
};
extern Console Serial;

void setup();
void loop();

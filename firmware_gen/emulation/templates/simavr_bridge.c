/* An AVR of simavr behind a pipe: memory is written and read, functions are called one by one, every cycle and instruction is counted.
 *
 * Arguments: the core, such as atmega328p. On stdin, in little-endian words of 32 bits, an operation, an address, a length, then content:
 *   'F' writes flash, 'W' writes data memory, 'R' reads data memory: answered by its bytes.
 *   'B' runs from the reset to the address, 'C' calls the function there; both end when the stack pointer falls below the length. They
 *   are answered by six words: the reason why it ended (0: returned, else the program counter), cycles, instructions, lowest stack
 *   pointer, stack pointer before, result.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>

enum { SPL = 0x5D, RESULT = 22, MOST_CYCLES = 1 << 30, SLEEP_LOW = 0x88, SLEEP_HIGH = 0x95 };

static uint32_t word(void)
{
    uint8_t bytes[4];
    if (fread(bytes, 1, 4, stdin) != 4) {
        exit(0);
    }
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void say(uint32_t value)
{
    const uint8_t bytes[4] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24) };
    fwrite(bytes, 1, 4, stdout);
}

static uint32_t stack_pointer(const avr_t *avr)
{
    return (uint32_t)(avr->data[SPL] | avr->data[SPL + 1] << 8);
}

/* One instruction at a time until the program counter is there; what it took, as the answer. */
static void run(avr_t *avr, uint32_t until, uint32_t limit)
{
    const avr_cycle_count_t start = avr->cycle;
    uint32_t instructions = 0;
    uint32_t lowest = stack_pointer(avr);
    const uint32_t before = lowest;
    int state = cpu_Running;
    while (avr->pc != until && state == cpu_Running && lowest >= limit && avr->cycle - start < MOST_CYCLES) {
        avr->run_cycle_limit = 1;
        avr->run_cycle_count = 1;
        state = avr_run(avr);
        instructions++;
        if (stack_pointer(avr) < lowest) {
            lowest = stack_pointer(avr);
        }
    }
    say(avr->pc == until ? 0 : avr->pc);
    say((uint32_t)(avr->cycle - start));
    say(instructions);
    say(lowest);
    say(before);
    say((uint32_t)avr->data[RESULT] | (uint32_t)avr->data[RESULT + 1] << 8 | (uint32_t)avr->data[RESULT + 2] << 16
        | (uint32_t)avr->data[RESULT + 3] << 24);
}

static void call(avr_t *avr, uint32_t function, uint32_t limit)
{
    const uint32_t back = avr->flashend - 1; /* flash that no program reaches */
    uint32_t stack = avr->ramend;
    avr->data[stack--] = (uint8_t)(back >> 1);
    avr->data[stack--] = (uint8_t)(back >> 9);
    avr->data[SPL] = (uint8_t)stack;
    avr->data[SPL + 1] = (uint8_t)(stack >> 8);
    avr->pc = function;
    run(avr, back, limit);
}

int main(int argc, char **argv)
{
    avr_t *const avr = argc > 1 ? avr_make_mcu_by_name(argv[1]) : NULL;
    if (!avr || avr_init(avr)) {
        fprintf(stderr, "simavr has no such core\n");
        return 1;
    }
    avr->frequency = 16000000;
    avr->codeend = avr->flashend;
    for (uint32_t k = 0; k < avr->flashend; k += 2) { /* what runs astray sleeps for ever, which ends it */
        avr->flash[k] = SLEEP_LOW;
        avr->flash[k + 1] = SLEEP_HIGH;
    }
    for (;;) {
        const uint32_t operation = word();
        const uint32_t address = word();
        const uint32_t length = word();
        const int moves = operation == 'F' || operation == 'W' || operation == 'R';
        const uint32_t size = operation == 'W' || operation == 'R' ? avr->ramend + 1U : avr->flashend + 1;
        if (address > size || (moves && length > size - address)) {
            fprintf(stderr, "the program does not fit: address %u, %u bytes\n", (unsigned)address, (unsigned)length);
            return 1;
        }
        uint8_t *const memory = &(operation == 'F' ? avr->flash : avr->data)[address];
        if (operation == 'F' || operation == 'W') {
            if (fread(memory, 1, length, stdin) != length) {
                return 0;
            }
        } else if (operation == 'R') {
            fwrite(memory, 1, length, stdout);
        } else if (operation == 'B') {
            run(avr, address, length);
        } else {
            call(avr, address, length);
        }
        fflush(stdout);
    }
}

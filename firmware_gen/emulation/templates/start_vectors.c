/* What firmware does at its start on a core with vectors and hardware loops, before it uses them. */
#include <stdint.h>

int32_t entry_start(void);

__attribute__((used, noinline, section(".text.entry.start"))) int32_t entry_start(void)
{
    *(volatile uint32_t *)0xE000ED88U |= UINT32_C(0xF) << 20; /* CPACR: coprocessors 10 and 11, which are the vector unit */
    *(volatile uint32_t *)0xE000ED14U |= UINT32_C(1) << 19;   /* CCR.LOB: loops without a branch */
    __asm volatile("dsb\n isb" ::: "memory");
    return 0;
}

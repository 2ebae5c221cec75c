/* What a compiler may call even in freestanding code (C99 leaves it open, gcc documents these). Firmware has them from its C library. */
#include <stddef.h>

void *memset(void *target, int value, size_t count);
void *memcpy(void *restrict target, const void *restrict source, size_t count);
void *memmove(void *target, const void *source, size_t count);

void *memset(void *target, int value, size_t count)
{
    for (volatile unsigned char *byte = target; count > 0; count--) {
        *byte++ = (unsigned char)value;
    }
    return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t count)
{
    return memmove(target, source, count);
}

void *memmove(void *target, const void *source, size_t count)
{
    volatile unsigned char *to = target;
    const volatile unsigned char *from = source;
    if (to < from) {
        for (size_t k = 0; k < count; k++) {
            to[k] = from[k];
        }
    } else {
        for (size_t k = count; k > 0; k--) {
            to[k - 1] = from[k - 1];
        }
    }
    return target;
}

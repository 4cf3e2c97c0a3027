/* Start-up of a Cortex-M0 without any library, and the ARM semihosting calls by which it prints and
 * ends under QEMU. */
#include <stddef.h>
#include <stdint.h>

extern uint32_t _sidata[], _sdata[], _edata[], _sbss[], _ebss[], _estack[];

int main(void);
void Reset_Handler(void);
void SysTick_Handler(void);
void Alarm_Handler(void);
void semihosting_put(const char *text);
void semihosting_exit(int code);
void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);

static void semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void semihosting_put(const char *text)
{
    semihosting(0x04, text); /* SYS_WRITE0 */
}

void semihosting_exit(int code)
{
    uint32_t block[2];
    block[0] = 0x20026u; /* ADP_Stopped_ApplicationExit */
    block[1] = (uint32_t)code;
    semihosting(0x20, block); /* SYS_EXIT_EXTENDED */
    for (;;)
        continue;
}

static void Fault_Handler(void)
{
    semihosting_put("FAIL a fault, or an interrupt that nobody expects\n");
    semihosting_exit(99);
}

void Reset_Handler(void)
{
    const uint32_t *from = _sidata;
    uint32_t *to;
    for (to = _sdata; to < _edata;)
        *to++ = *from++;
    for (to = _sbss; to < _ebss;)
        *to++ = 0;
    semihosting_exit(main());
}

/* The compiler calls these even where there is no library. */
void *memset(void *to, int c, size_t n)
{
    char *t = to;
    while (n--)
        *t++ = (char)c;
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    char *t = to;
    const char *f = from;
    while (n--)
        *t++ = *f++;
    return to;
}

typedef void (*vector)(void);

struct vectors {
    uint32_t *stack;
    vector exceptions[15];
    vector interrupts[32];
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    _estack,
    {Reset_Handler, Fault_Handler, Fault_Handler, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     Fault_Handler, NULL, NULL, Fault_Handler, SysTick_Handler},
    {Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
     Fault_Handler, Fault_Handler, Alarm_Handler}, /* 8: TIMER0 of the nRF51 */
};

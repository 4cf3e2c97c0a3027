/* board.c -- QEMU's microbit, a Cortex-M0: SysTick is the tick, TIMER0 of the nRF51 the alarm. */
#include "../board.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define NVIC_ISER REGISTER(0xE000E100u)

#define TIMER0_START REGISTER(0x40008000u)
#define TIMER0_STOP REGISTER(0x40008004u)
#define TIMER0_CLEAR REGISTER(0x4000800Cu)
#define TIMER0_COMPARE0 REGISTER(0x40008140u)
#define TIMER0_INTENSET REGISTER(0x40008304u)
#define TIMER0_BITMODE REGISTER(0x40008508u)
#define TIMER0_PRESCALER REGISTER(0x40008510u)
#define TIMER0_CC0 REGISTER(0x40008540u)
#define TIMER0_IRQ 8

#define CLOCK_HZ 16000000u

void SysTick_Handler(void);
void Alarm_Handler(void);
void semihosting_put(const char *text);
void semihosting_exit(int code);

volatile uint16_t board_sleeps;

static volatile uint32_t ticks;
static void (*volatile handler)(void);

void SysTick_Handler(void)
{
    ticks++;
}

void Alarm_Handler(void)
{
    void (*h)(void) = handler;
    TIMER0_STOP = 1;
    TIMER0_COMPARE0 = 0;
    handler = NULL;
    if (h)
        h();
}

void board_init(void)
{
    SYST_RVR = CLOCK_HZ / 1000 - 1;
    SYST_CVR = 0;
    board_ticks(true);
    TIMER0_BITMODE = 0; /* 16 bits */
    TIMER0_PRESCALER = 0;
    TIMER0_INTENSET = 1u << 16; /* COMPARE0 */
    NVIC_ISER = 1u << TIMER0_IRQ;
    __asm__ volatile("cpsie i" : : : "memory");
}

void board_put(const char *text)
{
    semihosting_put(text);
}

void board_put_char(char c)
{
    char text[2];
    text[0] = c;
    text[1] = 0;
    semihosting_put(text);
}

void board_exit(int code)
{
    semihosting_exit(code);
}

void board_ticks(bool on)
{
    SYST_CSR = on ? 7 : 0; /* the processor's clock, interrupt, enable */
}

void board_clock(int32_t at)
{
    ticks = (uint32_t)at;
}

void board_alarm(uint16_t counts, void (*h)(void))
{
    handler = h;
    TIMER0_STOP = 1;
    TIMER0_CLEAR = 1;
    TIMER0_CC0 = counts;
    TIMER0_START = 1;
}

bool board_alarmed(void)
{
    return !handler;
}

static coro_time board_now(void *arg)
{
    (void)arg;
#if CORO_TIME_BITS == 64
    return (coro_time)ticks * CORO_MS(1);
#else
    return (coro_time)ticks;
#endif /* CORO_TIME_BITS == 64 */
}

/* Sleep unless something has happened. The look and the sleep must be one: with interrupts masked,
 * one that comes in between stays pending, and WFI does not sleep when one is pending. */
static void board_park(void *arg, coro_loop *loop, coro_time until)
{
    (void)arg;
#if !BOARD_NAIVE
    __asm__ volatile("cpsid i" : : : "memory");
#endif /* !BOARD_NAIVE */
    if (!coro_loop_rung(loop) &&
        (until == CORO_FOREVER || board_minus(board_now(NULL), until) < 0)) {
        board_sleeps++;
        __asm__ volatile("wfi" : : : "memory");
    }
    __asm__ volatile("cpsie i" : : : "memory");
}

const coro_driver board_driver = {board_now, board_park, NULL, NULL, NULL};

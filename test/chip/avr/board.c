/* board.c -- an ATmega328P at 16 MHz: timer 0 is the tick, timer 1 the alarm, UART 0 prints. */
#include "../board.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

volatile uint16_t board_sleeps;

static volatile uint32_t ticks;
static void (*volatile handler)(void);

ISR(TIMER0_COMPA_vect)
{
    ticks++;
}

ISR(TIMER1_COMPA_vect)
{
    void (*h)(void) = handler;
    TCCR1B = 0;
    handler = NULL;
    if (h)
        h();
}

void board_init(void)
{
    UCSR0B = 1 << TXEN0;
    OCR0A = 249; /* 16 MHz / 64 / 250: a millisecond */
    TCCR0A = 1 << WGM01;
    TCCR0B = 1 << CS01 | 1 << CS00;
    TIMSK1 = 1 << OCIE1A;
    SMCR = 0; /* SLEEP is idle: the timers go on */
    board_ticks(true);
    sei();
}

static void board_wait_for_uart(void)
{
    while (!(UCSR0A & (1 << UDRE0)))
        continue;
}

void board_put_char(char c)
{
    board_wait_for_uart();
    UDR0 = (uint8_t)c;
}

void board_put(const char *text)
{
    char c;
    while ((c = TEXT_AT(text++)) != 0)
        board_put_char(c);
}

/* The harness reads the code from GPIOR0, if it finds the mark in GPIOR1. */
void board_exit(int code)
{
    board_wait_for_uart();
    GPIOR0 = (uint8_t)code;
    GPIOR1 = 0xA5;
    cli();
    sleep_enable();
    sleep_cpu();
    for (;;)
        continue;
}

void board_ticks(bool on)
{
    TIMSK0 = on ? 1 << OCIE0A : 0;
}

static uint32_t board_read_ticks(void)
{
    uint8_t sreg = SREG;
    uint32_t t;
    cli(); /* four bytes are not read at once */
    t = ticks;
    SREG = sreg;
    return t;
}

void board_clock(int32_t at)
{
    uint8_t sreg = SREG;
    cli();
    ticks = (uint32_t)at;
    SREG = sreg;
}

void board_alarm(uint16_t counts, void (*h)(void))
{
    uint8_t sreg = SREG;
    cli();
    handler = h;
    TCNT1 = 0;
    OCR1A = counts;
    TIFR1 = 1 << OCF1A;
    TCCR1B = 1 << CS10;
    SREG = sreg;
}

bool board_alarmed(void)
{
    uint8_t sreg = SREG;
    bool done;
    cli();
    done = !handler;
    SREG = sreg;
    return done;
}

static coro_time board_now(void *arg)
{
    (void)arg;
    return (coro_time)board_read_ticks();
}

/* Sleep unless something has happened. The look and the sleep must be one: the instruction after
 * SEI is still executed before an interrupt, so that none comes in between. */
static void board_park(void *arg, coro_loop *loop, coro_time until)
{
    (void)arg;
#if !BOARD_NAIVE
    cli();
#endif /* !BOARD_NAIVE */
    if (!coro_loop_rung(loop) &&
        (until == CORO_FOREVER || board_minus(board_now(NULL), until) < 0)) {
        board_sleeps++;
        sleep_enable();
        sei();
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

const coro_driver board_driver = {board_now, board_park, NULL, NULL, NULL};

/* board.h -- what the tests want of a chip: a tick, an alarm, sleep, and a place to print to. */
#ifndef BOARD_H
#define BOARD_H

/* Say so when coro.h traps: of a coroutine's line, or where it was defined. */
#define CORO_TRAP(file, line, name, text) board_trap(line)
void board_trap(unsigned line);

#include "coro.h"

/* 1: a wrong way to sleep, so that run.sh can see that the tests notice. */
#ifndef BOARD_NAIVE
#define BOARD_NAIVE 0
#endif /* !BOARD_NAIVE */

/* The ticks from b to a, of clocks that may have wrapped: only unsigned numbers may overflow. */
static inline coro_time board_minus(coro_time a, coro_time b)
{
    return (coro_time)((uint64_t)a - (uint64_t)b);
}

/* Texts that are only printed or compared live in flash. On AVR that takes some spelling. */
#if defined __AVR__
#include <avr/pgmspace.h>
#define TEXT(s) PSTR(s)
#define TEXT_AT(p) ((char)pgm_read_byte(p))
#else
#define TEXT(s) (s)
#define TEXT_AT(p) (*(p))
#endif /* defined __AVR__ */

/* The loop's driver: the clock counts ticks of a millisecond, made by a timer's interrupts; parking
 * is WFI or SLEEP. */
extern const coro_driver board_driver;

/* Start the tick and the printer. Interrupts are on afterwards. */
void board_init(void);

/* Print a TEXT(). */
void board_put(const char *text);
void board_put_char(char c);

/* End the emulation; 0: all is well. */
void board_exit(int code);

/* The tick's interrupt, on or off. While it is off, time stands still. */
void board_ticks(bool on);

/* Set the clock, in ticks; with 32-bit times these wrap. */
void board_clock(int32_t ticks);

/* Have handler called once, in an interrupt, in so many counts of a fast timer (16 MHz). */
void board_alarm(uint16_t counts, void (*handler)(void));

/* The alarm's handler has been called since board_alarm. */
bool board_alarmed(void);

/* How often the processor was put to sleep. */
extern volatile uint16_t board_sleeps;

/* From so early to so late must an alarm be set, in counts, to meet every place of the way from
 * coro_irq_wait to the sleep. */
#define BOARD_SWEEP_FROM 2
#define BOARD_SWEEP_TO 6000

#endif /* BOARD_H */

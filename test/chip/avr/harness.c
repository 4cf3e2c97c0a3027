/* harness.c -- runs an ATmega328P program under libsimavr.
 *
 * usage: harness program.elf [seconds of the chip's time]
 *
 * What the UART sends is printed, then one line: how much of the RAM the stack took. The exit code
 * is what the program left in GPIOR0; 122: it did not end by itself; 123: the stack ran into the
 * data.
 */
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREQUENCY 16000000u
#define RAM_START 0x100
#define SPL 0x5D
#define SPH 0x5E
#define GPIOR0 0x3E
#define GPIOR1 0x4A

static void on_uart(struct avr_irq_t *irq, uint32_t value, void *arg)
{
    (void)irq;
    (void)arg;
    putchar((int)value);
}

static void on_log(avr_t *avr, const int level, const char *format, va_list args)
{
    (void)avr;
    if (level <= LOG_ERROR)
        vfprintf(stderr, format, args);
}

/* The chip's sleep takes none of our time. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr;
    (void)cycles;
}

static avr_t *make_chip(elf_firmware_t *firmware)
{
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    uint32_t flags = 0;
    if (!avr)
        return NULL;
    avr_init(avr);
    avr->frequency = FREQUENCY;
    avr->sleep = no_sleep;
    avr->run_cycle_limit = 1; /* an instruction at a time, to see how deep the stack gets */
    avr_load_firmware(avr, firmware);
    avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= ~(uint32_t)AVR_UART_FLAG_STDIO;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT),
                            on_uart, NULL);
    return avr;
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware;
    unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 60;
    int state = cpu_Running, lowest, data_end;
    avr_t *avr;
    memset(&firmware, 0, sizeof firmware);
    if (argc < 2 || elf_read_firmware(argv[1], &firmware))
        return 120;
    avr_global_logger_set(on_log);
    avr = make_chip(&firmware);
    if (!avr)
        return 121;
    lowest = avr->ramend;
    data_end = RAM_START + (int)firmware.datasize + (int)firmware.bsssize;
    while (state != cpu_Done && state != cpu_Crashed &&
           avr->cycle < (uint64_t)seconds * FREQUENCY) {
        int sp;
        state = avr_run(avr);
        sp = avr->data[SPL] | avr->data[SPH] << 8;
        if (sp >= RAM_START && sp < lowest) /* 0 until start-up has set it */
            lowest = sp;
    }
    printf("stack %d of %d bytes, %llu us\n", avr->ramend - lowest, avr->ramend + 1 - data_end,
           (unsigned long long)(avr->cycle / (FREQUENCY / 1000000)));
    if (lowest < data_end) {
        printf("FAIL the stack ran into the data\n");
        return 123;
    }
    return avr->data[GPIOR1] == 0xA5 ? avr->data[GPIOR0] : 122;
}

/*
 * Setters of the option table: each checks its value and stores it. The sentence in `e` says what
 * is wrong with the value; opts.c puts the option's name before it. Only opts.c calls them.
 */
#ifndef TUI_OPTS_VALUES_H
#define TUI_OPTS_VALUES_H

struct opts;
struct err;

typedef int opt_setter(struct opts *o, const char *value, struct err *e);

opt_setter opt_memory, opt_cpus, opt_cpu, opt_boot, opt_load_addr, opt_mode, opt_append, opt_initrd,
    opt_module, opt_serial, opt_debugcon, opt_irqchip, opt_slow_clock, opt_command_file,
    opt_command_text, opt_timeout, opt_triple, opt_symbols, opt_assist, opt_script, opt_sandbox,
    opt_autoload, opt_expect, opt_fail, opt_max_exits, opt_junit, opt_json, opt_check, opt_send,
    opt_keep, opt_control, opt_trace, opt_visible, opt_report_by, opt_report_sort,
    opt_report_filter, opt_report_diff, opt_report_fail_if, opt_report_export, opt_report_output,
    opt_report_top, opt_report_storms, opt_report_counters, opt_report_list, opt_report_from,
    opt_report_explain, opt_report_hist, opt_gdb;

#endif

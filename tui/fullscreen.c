/*
 * See fullscreen.h.
 */
#include "tui/fullscreen.h"

#include <errno.h>
#include <string.h>

#include "tui/screen.h"
#include "tui/signals.h"

int fullscreen_open(const struct prompt_calls *calls, struct err *e)
{
    int rc = signals_open(e);

    if (rc < 0)
        return rc;
    rc = screen_open(e);
    if (rc < 0) {
        signals_close();
        return rc;
    }
    prompt_init(calls);
    return 0;
}

int fullscreen_close(int died_of, struct err *e)
{
    prompt_fini();
    screen_close();
    signals_close();
    return died_of ? err_set(e, EINTR, "ended by signal %d (%s)", died_of, strsignal(died_of)) : 0;
}

// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright (c) 2026, kaiwudb.kubernetes contributors

/* The pod sandbox's first process: waits, and reaps what its pod leaves behind. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
static void stop(int s) { _exit(0); }
int main(void) { signal(SIGCHLD, reap); signal(SIGINT, stop); signal(SIGTERM, stop); for (;;) pause(); }

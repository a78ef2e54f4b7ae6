// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// backgroundChild marks the process that --background left running.
const backgroundChild = "KWDB_BACKGROUND_CHILD"

// runInBackground starts the same command line again, detached, and returns once it is ready or gone.
func runInBackground() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	child := exec.Command(os.Args[0], os.Args[1:]...)
	child.Env = append(os.Environ(), backgroundChild+"=1")
	child.ExtraFiles = []*os.File{w}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return err
	}
	w.Close()
	if b, _ := io.ReadAll(r); len(b) == 0 { // it ended without a word: it has printed why
		err := child.Wait()
		if exit, ok := err.(*exec.ExitError); ok {
			return exitCode(exit.ExitCode())
		}
		return err
	}
	return child.Process.Release()
}

// readyPipe returns what tells the waiting parent, if there is one.
func readyPipe() func() {
	if os.Getenv(backgroundChild) == "" {
		return func() {}
	}
	w := os.NewFile(3, "ready")
	syscall.CloseOnExec(3)
	var once sync.Once
	return func() {
		once.Do(func() {
			_, _ = w.WriteString("ready")
			w.Close()
		})
	}
}

// reapOrphans takes the exit codes of what others left to the first process of a container: the image's `timeout` leaves a child behind
// on every call, and a pod that lives long would run out of process ids. The server itself starts no process whose code it wants.
func reapOrphans() {
	if os.Getpid() != 1 {
		return
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
					break
				}
			}
		}
	}()
}

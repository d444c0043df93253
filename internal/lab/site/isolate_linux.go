package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// isolated marks, in the environment, the process that Isolate started.
const isolated = "PEERLOAD_LAB_ISOLATED"

// Isolated reports whether this process runs in namespaces made by Isolate.
func Isolated() bool { return os.Getenv(isolated) == "1" }

// Isolate runs this program again with the given arguments in a new network
// namespace, with mounts of its own and, without root, in a new user namespace in which it is root.
// It passes standard input, output and error through, waits, and returns the
// exit status. When ctx ends the process gets SIGTERM and, if it stays, is
// killed after ten seconds; when this process dies it is killed at once, and
// with it, by the same means, all that it started.
func Isolate(ctx context.Context, args ...string) (status int, err error) {
	err = onThread(func() error {
		// The thread must live until the process that it started has ended: to
		// the kernel, the end of the thread is the death of the parent.
		cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), isolated+"=1")
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 10 * time.Second
		cmd.SysProcAttr = isolation()
		if err := cmd.Start(); err != nil {
			return isolationError(err)
		}
		err := cmd.Wait()
		status = cmd.ProcessState.ExitCode()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
			return nil
		}
		return err
	})
	return status, err
}

func isolation() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET,
		// Mounts of its own: small disks for devices disappear with it.
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

func isolationError(err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf(
			"this system allows no network namespace (%w): run as root, allow user namespaces, or take a loopback site", err)
	}
	return err
}

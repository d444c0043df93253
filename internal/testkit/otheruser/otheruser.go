// Package otheruser runs a test as a user who is not root, whom files can be
// kept from: root reads and writes everything, so that a test of rights proves
// nothing when root runs it.
//
// What must not be here: what a test expects.
package otheruser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is the user that the test is run as: on all systems one without rights.
const nobody = 65534

// child is the variable by which the process of a test knows what it is.
const child = "PEERLOAD_TEST_AS_OTHER_USER"

// limit bounds the process of a test; only a hang reaches it.
const limit = 10 * time.Minute

// Runs reports whether the test is to go on: it is run by a user who is not
// root. As root it runs the test once more in a process of its own, as user
// 65534, takes over how that ends, and returns false. Where the system does not
// let it, the test is skipped with the reason.
func Runs(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	if os.Getenv(child) != "" {
		t.Fatal("this process was to be another user's, and is root's")
	}
	out, err := again(t)
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EACCES):
		t.Skipf("root reads everything, and no other user can run the test here: %v", err)
	case err != nil:
		t.Fatalf("as user %d: %v\n%s", nobody, err, out)
	case strings.Contains(out, "--- SKIP: "+t.Name()):
		t.Skipf("skipped as user %d, too:\n%s", nobody, out)
	case !strings.Contains(out, "--- PASS: "+t.Name()):
		t.Fatalf("user %d did not run the test:\n%s", nobody, out)
	}
	return false
}

// again runs the test in a process of the other user's.
func again(t *testing.T) (out string, err error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "peerload-as-nobody-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	// The go command keeps test programs where only their maker can come.
	program := filepath.Join(dir, "program.test")
	if err := copyProgram(program); err != nil {
		return "", err
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-test.short=%v",
		testing.Short()))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

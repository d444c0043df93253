package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Module is the path under which the go tool finds the product.
const Module = "github.com/peerload/peerload"

// FindProgram returns the path of a program of the product, such as
// "peerload": explicit, if that is not empty; else the one beside the running
// program; else the one that the go tool builds into dir.
func FindProgram(ctx context.Context, name, explicit, dir string) (string, error) {
	if explicit != "" {
		path, err := filepath.Abs(explicit)
		if err != nil {
			return "", err
		}
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
			return "", fmt.Errorf("--%s: %s is no program: name the file of %s", name, explicit, name)
		}
		return path, nil
	}
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, Module+"/cmd/"+name)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not beside this program and there is no go tool to build it: name it with --%s", name,
			name)
	}
	if err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

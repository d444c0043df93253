package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The boot firmware of the Raspberry Pi, a Go module of files. It has 22 MB, so
// go.mod does not require it, and it is fetched when a demo needs it. These are
// the values that its lines in a go.sum would have. For another version, `go
// mod download -json MODULE@VERSION` prints Sum and GoModSum.
const (
	firmwareModule  = "github.com/gokrazy/firmware"
	firmwareVersion = "v0.0.0-20260522070551-527ce0ed43cf"
	firmwareSum     = "h1:WRmvIwhtcWJfHnrfpfXWPh3Xq6Lztn0y5l3li+NjaYw="
	firmwareModSum  = "h1:x8Lwd/ZFqJTBWUGW7yt/qwgxO8/AHh5KGFYJ4yfH+FE="
)

// bootLoad is one load of the demo: real boot firmware of one model.
type bootLoad struct {
	Name  string
	Model string
	Files []string // in the order in which devices fetch them
}

// loads are the loads of the two supported models: 4.0 and 3.2 MB.
var loads = [2]bootLoad{
	{Name: "pi3-boot", Model: "raspi3",
		Files: []string{"bootcode.bin", "fixup.dat", "fixup_cd.dat", "start_cd.elf", "start.elf"}},
	{Name: "pi4-boot", Model: "raspi4", Files: []string{"fixup4.dat", "fixup4cd.dat", "start4cd.elf", "start4.elf"}},
}

// classicModel is a model that takes the first load and does not share.
const classicModel = "raspi0"

// FirmwareDir returns the directory of the demo's firmware: explicit, if that
// is not empty, else where the go tool keeps the module, which it fetches if it
// is not there. The content is checked each time against the sum in this
// program.
func FirmwareDir(ctx context.Context, explicit string) (string, error) {
	if explicit != "" {
		return filepath.Abs(explicit)
	}
	dir, err := fetchFirmware(ctx, firmwareSum)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("there is no go tool to find the firmware with: give its directory with --firmware")
	}
	if err != nil {
		return "", fmt.Errorf("fetch the firmware, Go module %s@%s: %w, or give a directory with --firmware",
			firmwareModule, firmwareVersion, err)
	}
	return dir, nil
}

// fetchFirmware fetches the module with the given sum. It does so in a
// temporary module of its own: no go.mod of the user changes, and the go tool
// checks the content against that module's go.sum.
func fetchFirmware(ctx context.Context, sum string) (dir string, err error) {
	own, err := os.MkdirTemp("", "peerload-firmware-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(own)) }()
	mod := fmt.Sprintf("module firmware\n\ngo 1.21\n\nrequire %s %s\n", firmwareModule, firmwareVersion)
	sums := fmt.Sprintf("%[1]s %[2]s %[3]s\n%[1]s %[2]s/go.mod %[4]s\n",
		firmwareModule, firmwareVersion, sum, firmwareModSum)
	for name, text := range map[string]string{"go.mod": mod, "go.sum": sums} {
		if err := os.WriteFile(filepath.Join(own, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	out, err := goMod(ctx, own, "download", "-json")
	if err != nil {
		return "", fmt.Errorf("%w\nit comes through the module proxy, once: check the network and GOPROXY", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("go mod download: %w", err)
	}
	// What was fetched earlier may have been changed since.
	if _, err := goMod(ctx, own, "verify"); err != nil {
		return "", fmt.Errorf("%w\nremove it from the module cache, so that it is fetched anew", err)
	}
	return module.Dir, nil
}

// goMod runs `go mod` with the given arguments in dir and returns its output.
func goMod(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"mod"}, args...)...)
	cmd.Dir = dir
	// The user's flags and workspace are meant for another module.
	cmd.Env = append(cmd.Environ(), "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod %s: %w\n%s", args[0], err, bytes.TrimSpace(append(stderr.Bytes(), out...)))
	}
	return out, nil
}

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"

	// The boot firmware of the Raspberry Pi, for the demo: a package without
	// code beside the files. Importing it pins its version in go.mod and has
	// the go tool fetch it with the other modules.
	_ "github.com/gokrazy/firmware"
)

const firmwareModule = "github.com/gokrazy/firmware"

// bootLoad is one load of the demo: real boot firmware of one model.
type bootLoad struct {
	Name  string
	Model string
	Files []string // in the order in which devices fetch them
}

// loads are the loads of the two supported models: 4.0 and 3.2 MB.
var loads = [2]bootLoad{
	{Name: "pi3-boot", Model: "raspi3", Files: []string{"bootcode.bin", "fixup.dat", "fixup_cd.dat", "start_cd.elf", "start.elf"}},
	{Name: "pi4-boot", Model: "raspi4", Files: []string{"fixup4.dat", "fixup4cd.dat", "start4cd.elf", "start4.elf"}},
}

// classicModel is a model that takes the first load and does not share.
const classicModel = "raspi0"

// FirmwareDir returns the directory of the demo's firmware: explicit, if that
// is not empty, else where the go tool keeps the module that this program was
// built with, which it fetches if it is not there.
func FirmwareDir(ctx context.Context, explicit string) (string, error) {
	if explicit != "" {
		return filepath.Abs(explicit)
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-json", firmwareModule)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == firmwareModule {
				cmd = exec.CommandContext(ctx, "go", "mod", "download", "-json", dep.Path+"@"+dep.Version)
			}
		}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var found struct{ Dir, Error string }
	if err == nil {
		err = json.Unmarshal(out, &found)
	} else if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("there is no go tool to find the firmware with: give its directory with --firmware")
	}
	if err != nil || found.Dir == "" {
		return "", fmt.Errorf("find the firmware module: %w; %s%s", err, bytes.TrimSpace(stderr.Bytes()), found.Error)
	}
	return found.Dir, nil
}

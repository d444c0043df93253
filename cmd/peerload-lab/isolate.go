package main

import (
	"context"
	"os"
	"slices"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
)

// program is one that the devices or the controller run: the name of its flag,
// and where it is.
type program struct {
	name string
	path string // given by the flag; "": beside this one, else built
}

// isolate runs this command again, in network namespaces of its own. The
// programs are found, or built, out here: in there is no network to get modules
// by.
func isolate(ctx context.Context, programs ...program) error {
	tmp, err := process.NewRunDir(os.TempDir(), 0)
	if err != nil {
		return err
	}
	defer tmp.Close()
	args := slices.Clone(os.Args[1:])
	for _, p := range programs {
		path, err := process.FindProgram(ctx, p.name, p.path, tmp.Path)
		if err != nil {
			return err
		}
		args = append(args, "--"+p.name, path)
	}
	status, err := site.Isolate(ctx, args...)
	if err == nil && status != 0 {
		err = &statusError{status: status}
	}
	return err
}

// withProduct runs do with the path of the program peerload, which is found or built if none
// is given.
func withProduct(ctx context.Context, path *string, do func() error) error {
	tmp, err := process.NewRunDir(os.TempDir(), 0)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if *path, err = process.FindProgram(ctx, "peerload", *path, tmp.Path); err != nil {
		return err
	}
	return do()
}

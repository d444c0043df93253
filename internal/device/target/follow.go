package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links one after the other are followed, as by
// the system.
const maxLinks = 40

// descriptors reports whether a directory, /proc/PID/fd or /proc/PID/task/TID/fd, has
// the links to what a process has open: their texts are no paths.
func descriptors(dir string) bool {
	within, ok := strings.CutPrefix(dir, "/proc/")
	words := strings.Split(within, "/")
	n := len(words)
	return ok && !slices.Contains(words, "") && words[n-1] == "fd" && (n == 2 || n == 4 && words[1] == "task")
}

// Follow returns the path that a file gets which is to be written to path: where
// it is a symbolic link, that is what it points to, be it there or not. The link
// stays. It reports whether the path is that of something open, such as
// /dev/stdout, which has no other name.
func Follow(path string) (_ string, open bool, err error) {
	for range maxLinks {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return path, false, nil //nolint:nilerr // whoever opens it says what is wrong
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", false, err
		}
		if descriptors(dir) {
			return path, true, nil
		}
		if err := mayFollow(dir, info); err != nil {
			return "", false, fmt.Errorf("%s: %w", path, err)
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", false, err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path = to
	}
	return "", false, fmt.Errorf("%s: more than %d symbolic links, one after the other", path, maxLinks)
}

// mayFollow refuses what the system refuses where its links are protected: in a
// directory such as /tmp, where anybody may make a link, one of another user
// could lead to any file of this one.
func mayFollow(dir string, link fs.FileInfo) error {
	d, err := os.Stat(dir)
	if err != nil {
		return err
	}
	const everybody = 0o002
	of, ok1 := link.Sys().(*syscall.Stat_t)
	in, ok2 := d.Sys().(*syscall.Stat_t)
	if d.Mode()&fs.ModeSticky == 0 || d.Mode()&everybody == 0 || !ok1 || !ok2 ||
		of.Uid == uint32(os.Geteuid()) || of.Uid == in.Uid {
		return nil
	}
	return errors.New("a symbolic link of another user, in a directory that everybody may write, is not followed")
}

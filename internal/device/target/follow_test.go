package target

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFollow: a link leads to what it points to, be that there or not; a loop
// ends, and what a process has open has no other name.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	link := func(to, name string) {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link("file", "relative")
	link(at("relative"), "twice")
	link("missing", "dangling")
	link("dangling", "chain") // openai/openai-cli pull 108
	link("loop", "loop")
	link("/proc/self/fd/1", "descriptor")
	link("../"+filepath.Base(dir)+"/file", "up")
	for name, want := range map[string]string{"file": "file", "none": "none", "relative": "file", "twice": "file",
		"dangling": "missing", "chain": "missing", "up": "file", "loop": "", "descriptor": "/proc/self/fd/1"} {
		got, open, err := Follow(at(name))
		if want != "" && !filepath.IsAbs(want) {
			want = at(want)
		}
		if got != want || open != (name == "descriptor") || (err == nil) != (want != "") {
			t.Errorf("%s leads to %q (open %v): %v", name, got, open, err)
		}
	}
}

// TestFollowOfAnotherUser: in a directory like /tmp a link of somebody else is
// not followed.
func TestFollowOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a link of another user")
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o755: true, 0o777: true, 0o777 | os.ModeSticky: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Follow(link); (err == nil) != want {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

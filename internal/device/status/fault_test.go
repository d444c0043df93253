package status

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/report"
)

// newDisk is a disk with a durable state directory /d, and with the file of the
// id if it has a content.
func newDisk(t *testing.T, id string) *faultdisk.Disk {
	t.Helper()
	disk := faultdisk.New(1)
	d := Dir{disk, "/d"}
	err := errors.Join(disk.Mkdir("/d", 0o755), disk.Mkdir("/d/status", 0o755), disk.SyncDir("/"), disk.SyncDir("/d"))
	if id != "" {
		err = errors.Join(err, d.write("/d/id", []byte(id), true), disk.SyncDir("/d"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk.Reboot(0)
}

// TestPowerCutOfID cuts the power at each operation that makes the directory and
// draws an id: one that was returned is the device's for good, and another one
// comes of nothing but not having returned.
func TestPowerCutOfID(t *testing.T) {
	for _, before := range []string{"none", "", "torn"} {
		disk := faultdisk.New(1)
		if before != "none" {
			disk = newDisk(t, before)
		}
		id := uint64(0)
		story := func() error {
			d, err := OpenOn(disk, "/var/lib/d")
			if before != "none" {
				d, err = OpenOn(disk, "/d")
			}
			if err == nil {
				id, err = d.ID()
			}
			return err
		}
		said := func() string { return fmt.Sprint(id) }
		faultdisk.Every(t, disk, story, said, func(t *testing.T, disk *faultdisk.Disk) {
			dir := "/d"
			if before == "none" {
				dir = "/var/lib/d"
			}
			after, err := OpenOn(disk, dir)
			if err != nil {
				t.Fatal(err)
			}
			found, foundErr := after.ID()
			again, againErr := after.ID()
			if foundErr != nil || againErr != nil || found == 0 || found != again {
				t.Fatalf("%q: ids %x and %x, %v, %v", before, found, again, foundErr, againErr)
			}
			if id != 0 && found != id {
				t.Fatalf("%q: the device was %x and is %x", before, id, found)
			}
		})
	}
}

// TestFailuresOfID lets each operation that draws an id fail: that is an error,
// and the next try works.
func TestFailuresOfID(t *testing.T) {
	for _, before := range []string{"", "torn"} {
		start := newDisk(t, before)
		whole := start.Reboot(0)
		if _, err := (&Dir{whole, "/d"}).ID(); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= whole.Ops(); n++ {
			disk := start.Reboot(0)
			disk.FailAt(n, syscall.EIO)
			d := Dir{disk, "/d"}
			if id, err := d.ID(); !errors.Is(err, syscall.EIO) {
				t.Errorf("%q: %s fails: id %x, %v", before, disk.Log()[n-1], id, err)
			}
			if id, err := d.ID(); err != nil || id == 0 {
				t.Errorf("%q: after %s failed: id %x, %v", before, disk.Log()[n-1], id, err)
			}
		}
	}
}

// quicker is a file system on which another process draws an id just before
// this one's appears.
type quicker struct{ *faultdisk.Disk }

func (q quicker) Link(from, to string) error {
	other := Dir{q.Disk, "/d"}
	if err := other.write("/d/id", []byte("00000000000000aa\n"), true); err != nil {
		return err
	}
	return q.Disk.Link(from, to)
}

// TestTwoDrawOneID: of two processes that start at once the quicker one's id is
// that of both.
func TestTwoDrawOneID(t *testing.T) {
	disk := newDisk(t, "")
	d := Dir{quicker{disk}, "/d"}
	if id, err := d.ID(); err != nil || id != 0xaa {
		t.Errorf("id %x, %v; the other process drew aa", id, err)
	}
	if left, err := disk.ReadDir("/d"); err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v; want id and status", left, err)
	}
}

// TestIDFile: a file that is too long is a damaged one; what is no file is not
// read, but put aside.
func TestIDFile(t *testing.T) {
	d := Dir{newDisk(t, strings.Repeat("1", maxID+1)), "/d"}
	if id, err := d.ID(); err != nil || id == 0x1111111111111111 {
		t.Errorf("of a long file: id %x, %v", id, err)
	}
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "a\x00b")); err == nil {
		t.Error("opened what cannot be made")
	}
	real, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "id")
	err = errors.Join(os.WriteFile(elsewhere, []byte("00000000000000bb\n"), 0o600),
		os.Symlink(elsewhere, filepath.Join(dir, "id")))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := real.ID(); err != nil || id == 0xbb {
		t.Errorf("read id %x through a symbolic link, %v", id, err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "id.damaged")); err != nil || to != elsewhere {
		t.Errorf("the link is gone: %q, %v", to, err)
	}
	id, err := real.ID()
	if err := errors.Join(err, os.Rename(filepath.Join(dir, "id"), filepath.Join(dir, "old")),
		os.Mkdir(filepath.Join(dir, "id"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if again, err := real.ID(); err != nil || again == id {
		t.Errorf("of a directory: id %x, %v", again, err)
	}
}

// TestManyDrawOneID: goroutines of one process that start at once have one id.
func TestManyDrawOneID(t *testing.T) {
	for _, before := range []string{"", "torn"} {
		d, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if before != "" {
			if err := os.WriteFile(filepath.Join(d.Path(), "id"), []byte(before), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				if id, err := d.ID(); err != nil || id == 0 {
					t.Errorf("%q: id %x, %v", before, id, err)
				}
			})
		}
		all.Wait()
		if left, err := os.ReadDir(d.Path()); err != nil || len(left) != 2 {
			t.Errorf("%q: left are %v, %v; want id and status", before, left, err)
		}
	}
}

// TestStrangeStatusFiles: what is no status file of a process is skipped.
func TestStrangeStatusFiles(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(d.Path(), "status", name) }
	elsewhere := filepath.Join(t.TempDir(), "2.json")
	long := `{"command":"long"` + strings.Repeat(" ", maxStatusFile) + "}"
	err = errors.Join(
		os.WriteFile(at("1.json"), []byte(`{"command":"one"}`), 0o600),
		os.WriteFile(at("1.json.new"), []byte(`{"command":"half"}`), 0o600),
		os.WriteFile(elsewhere, []byte(`{"command":"elsewhere"}`), 0o600), os.Symlink(elsewhere, at("2.json")),
		os.WriteFile(at("3.json"), []byte(long), 0o600),
		os.WriteFile(at("4.json"), []byte(`{"command":`), 0o600),
		os.Mkdir(at("5.json"), 0o700), syscall.Mkfifo(at("6.json"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	ps, err := d.Processes()
	if err != nil || len(ps) != 1 || ps[0].Command != "one" || ps[0].Running {
		t.Errorf("read %+v, %v", ps, err)
	}
	if err := os.RemoveAll(at("")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Processes(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the directory: %v", err)
	}
}

// TestSweep: of the processes that ended the latest few are kept, and a running
// one always.
func TestSweep(t *testing.T) {
	disk := newDisk(t, "")
	d := Dir{disk, "/d"}
	running := fmt.Sprintf(`{"pid":%d,"born":%q,"updated":"0"}`, os.Getpid(), born(os.Getpid()))
	err := d.write(fmt.Sprintf("/d/status/%d.json", os.Getpid()), []byte(running), false)
	for n := range keepStatus + 2 {
		p := fmt.Sprintf(`{"pid":%d,"ended":true,"updated":"1%02d"}`, 9000+n, n)
		err = errors.Join(err, d.write(fmt.Sprintf("/d/status/%d.json", 9000+n), []byte(p), false))
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Record("new")
	ps, err := d.Processes()
	if err != nil || len(ps) != keepStatus+1 || !ps[keepStatus].Running || ps[0].PID != 9000+keepStatus+1 ||
		ps[keepStatus-1].PID != 9002 {
		t.Errorf("kept %+v, %v", ps, err)
	}
	gone := Dir{disk, "/missing"}
	gone.Record("new") // it says nothing, and the status is for people
}

// TestFullDisk: a disk that does not take the status stops nobody, and a status
// that could not be written whole replaces none.
func TestFullDisk(t *testing.T) {
	disk := newDisk(t, "")
	d := Dir{disk, "/d"}
	r := d.Record("get")
	r.Take(report.Event{Event: report.KindDone, File: "before"})
	disk.SetCapacity(disk.Used())
	r.Take(report.Event{Event: report.KindFailed, File: "after", Message: strings.Repeat("x", 5000)})
	r.Close()
	ps, err := d.Processes()
	if err != nil || len(ps) != 1 || len(ps[0].Files) != 1 || ps[0].Files[0].File != "before" || ps[0].Ended {
		t.Errorf("read %+v, %v", ps, err)
	}
	if st := r.Status(); len(st.Files) != 2 || !st.Ended || st.Running {
		t.Errorf("in memory %+v", st)
	}
}

var _ slot.FS = quicker{}

package slot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/load"
)

// Entry names one component of a set and says how to check it.
type Entry struct {
	// Name is a file name as load.CheckName allows, or that of a manifest.
	Name string `json:"name"`
	// Size in bytes.
	Size int64 `json:"size"`
	// Digest is the SHA-256 of the whole file, not zero.
	Digest load.Digest `json:"sha256"`
}

func (e Entry) validate() error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.Size < 0 || e.Size > load.MaxFileSize {
		return fmt.Errorf("component %s of %d bytes is outside 0 to %d", e.Name, e.Size, int64(load.MaxFileSize))
	}
	if e.Digest.IsZero() {
		return fmt.Errorf("component %s has no digest", e.Name)
	}
	return nil
}

// maxEntries bounds a set: the components of a load and its manifest.
const maxEntries = load.MaxComponents + 1

func validateEntries(es []Entry) error {
	if len(es) == 0 || len(es) > maxEntries {
		return fmt.Errorf("a set has 1 to %d components, this has %d", maxEntries, len(es))
	}
	seen := make(map[string]bool, len(es))
	for _, e := range es {
		if err := e.validate(); err != nil {
			return err
		}
		if seen[e.Name] {
			return fmt.Errorf("component %s is named twice", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

// The journal of a set commit is text: a first line, one line per component
// (digest, size, name), and a last line with the digest of all before it. It
// gets its name by rename, so only a fault of the medium can tear it.
const (
	journalName  = ".peerload-commit"
	journalFirst = "peerload commit 1"
	journalSum   = "sum "
	// maxJournal bounds a journal: per line a digest, a size and a name.
	maxJournal = 4096 + maxEntries*(64+1+20+1+load.MaxNameLen+len(load.ManifestSuffix)+1)
)

func marshalJournal(es []Entry) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, journalFirst)
	for _, e := range es {
		fmt.Fprintf(&b, "%s %d %s\n", e.Digest, e.Size, e.Name)
	}
	fmt.Fprintf(&b, "%s%s\n", journalSum, load.DigestOf(b.Bytes()))
	return b.Bytes()
}

// parseJournal reads a whole journal; a torn or altered one is an error.
func parseJournal(b []byte) ([]Entry, error) {
	const tail = len(journalSum) + 2*digestSize + 1
	if len(b) < tail {
		return nil, errors.New("torn commit journal")
	}
	body, last := b[:len(b)-tail], string(b[len(b)-tail:])
	if last != fmt.Sprintf("%s%s\n", journalSum, load.DigestOf(body)) {
		return nil, errors.New("torn commit journal")
	}
	lines := bufio.NewScanner(bytes.NewReader(body))
	if !lines.Scan() || lines.Text() != journalFirst {
		return nil, errors.New("commit journal of an unknown version")
	}
	var es []Entry
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), " ", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("commit journal: bad line %q", lines.Text())
		}
		d, err := load.ParseDigest(f[0])
		if err != nil {
			return nil, fmt.Errorf("commit journal: %w", err)
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("commit journal: %w", err)
		}
		es = append(es, Entry{Name: f[2], Size: n, Digest: d})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("commit journal: %w", err)
	}
	return es, validateEntries(es)
}

// CommitSet puts the files of one load into their common directory dir, all of
// them or none: each partial must have passed Finish. Writing the journal is
// the point of no return: after a power cut before that, no name has changed;
// after that, Recover finishes the work. After an error that is not
// ErrIncomplete, call Recover before the directory is used. With Config.NoSync
// nothing is synced and a power cut may leave a mixture.
func CommitSet(fs FS, dir string, parts []*Partial) (err error) {
	lock, err := fs.Lock(filepath.Join(dir, journalName+".lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for n, p := range parts {
		if slices.Contains(parts[:n], p) {
			return fmt.Errorf("%s is in the set twice", p.target)
		}
		p.settling.Lock()
		defer p.settling.Unlock()
		p.writing.Lock()
		defer p.writing.Unlock()
	}
	es, noSync, err := entriesOf(dir, parts)
	if err != nil {
		return err
	}
	if !noSync {
		// The names in it have been durable since Finish.
		if err := WriteAtomic(fs, filepath.Join(dir, journalName), marshalJournal(es)); err != nil {
			return fmt.Errorf("commit to %s: %w", dir, err)
		}
	}
	for _, p := range parts {
		if err := p.rename(); err != nil {
			return err
		}
	}
	if !noSync {
		if err := endJournal(fs, dir); err != nil {
			return err
		}
	}
	for _, p := range parts {
		err = errors.Join(err, p.committed())
	}
	return err
}

// entriesOf describes finished partials of dir. The caller holds their locks.
func entriesOf(dir string, parts []*Partial) (es []Entry, noSync bool, err error) {
	for _, p := range parts {
		if err := p.ready(); err != nil {
			return nil, false, err
		}
		if filepath.Clean(p.dir) != filepath.Clean(dir) {
			return nil, false, fmt.Errorf("%s is not in %s", p.target, dir)
		}
		es = append(es, Entry{
			Name: filepath.Base(p.target), Size: p.x.g.Size, Digest: p.digest(),
		})
		noSync = noSync || p.cfg.NoSync
	}
	return es, noSync, validateEntries(es)
}

// endJournal makes the renames durable, then the end of the journal: a journal
// that reappeared after a later commit would make that commit look damaged.
func endJournal(fs FS, dir string) error {
	err := fs.SyncDir(dir)
	if err == nil {
		err = removeAny(fs, filepath.Join(dir, journalName))
	}
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("commit to %s: %w", dir, err)
	}
	return nil
}

// Recover finishes a commit to dir that a crash interrupted, and reports
// whether there was one; call it before anything else in dir. A torn journal
// is removed, and so is one that another user can write. If a component of the journal is neither in place nor in its
// partial file, the error is ErrDamaged and nothing is touched: the directory
// may hold a mixture until the whole load has been fetched and committed again.
func Recover(fs FS, dir string) (did bool, err error) {
	if _, err := fs.Lstat(dir); errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	lock, err := fs.Lock(filepath.Join(dir, journalName+".lock"))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	journal := filepath.Join(dir, journalName)
	if err := makeRoom(fs, journal+".new"); err != nil {
		return false, err
	}
	b, err := ReadBounded(fs, journal, int64(maxJournal))
	var es []Entry
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return false, nil
	case err == nil:
		es, err = parseJournal(b)
	case !errors.Is(err, ErrDamaged) && !NoFile(err):
		return false, fmt.Errorf("recover %s: %w", dir, err)
	}
	if err != nil {
		return false, makeRoom(fs, journal)
	}
	return rollForward(fs, dir, es)
}

// rollForward renames the files of a journal that are not in place yet. It
// checks all before it renames one, and renames the very files that it checked.
func rollForward(fs FS, dir string, es []Entry) (did bool, err error) {
	type move struct {
		target string
		f      File
	}
	var moves []move
	defer func() {
		for _, m := range moves {
			err = errors.Join(err, m.f.Close())
		}
	}()
	for _, e := range es {
		target := filepath.Join(dir, e.Name)
		f, perr := OpenVerified(fs, partName(target), e.Size, e.Digest)
		if perr == nil {
			moves = append(moves, move{target, f})
			continue
		}
		f, err := OpenVerified(fs, target, e.Size, e.Digest)
		if err != nil {
			return false, fmt.Errorf("recover %s: %w: %s: %w", dir, ErrDamaged, e.Name, errors.Join(perr, err))
		}
		if err := f.Close(); err != nil {
			return false, err
		}
	}
	for _, m := range moves {
		if err := StillOpen(fs, partName(m.target), m.f); err != nil {
			return false, err
		}
		if err := fs.Rename(partName(m.target), m.target); err != nil {
			return false, fmt.Errorf("recover %s: %w", dir, err)
		}
		if err := StillOpen(fs, m.target, m.f); err != nil {
			return false, fmt.Errorf("recover %s: %w", dir, err)
		}
	}
	if err := endJournal(fs, dir); err != nil {
		return false, err
	}
	for _, e := range es {
		target := filepath.Join(dir, e.Name)
		// A partial file that still exists is of a later content.
		if _, err := fs.Lstat(partName(target)); !errors.Is(err, iofs.ErrNotExist) {
			continue
		}
		if err := removeAny(fs, indexName(target)); err != nil {
			return false, err
		}
	}
	return true, nil
}

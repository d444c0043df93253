// Package keyring keeps a person's sign-ins at controllers in one file, which
// nobody else may read. It is in their configuration directory and has for each
// controller a token, whose it is, and which certificate the controller has.
//
// What must not live here: how somebody signs in, and passwords, which are kept
// nowhere. Read first: Ring, then Read and Change.
package keyring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/durable"
)

const (
	// schema is the version of the file.
	schema = 1
	// maxSize bounds the file, in bytes: a thousand sign-ins, each with the chain
	// of a certificate.
	maxSize = 8 << 20
)

// Errors of the file, for errors.Is.
var (
	// ErrDamaged says that the file is not what this package writes.
	ErrDamaged = errors.New("the file of sign-ins cannot be used")
	// ErrExposed says that others may read the file, or that it is theirs.
	ErrExposed = errors.New("the file of sign-ins is not this user's alone")
)

// Entry is a sign-in at one controller.
type Entry struct {
	// Server is the URL of the controller, as Server writes it.
	Server string `json:"server"`
	// User is who has signed in.
	User string `json:"user"`
	// Token is the secret of the sign-in, Expires when it ends.
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	// CA are the certificates by which the controller is known, in PEM; "" means
	// those of the host.
	CA string `json:"ca,omitempty"`
}

// Ring is what the file holds.
type Ring struct {
	Schema int `json:"schema"`
	// Default is the controller that is meant if none is named, "" for none.
	Default string `json:"default,omitempty"`
	// Entries are in the order of their URLs.
	Entries []Entry `json:"entries"`
}

// Path is where the file is: peerload/logins.json in $XDG_CONFIG_HOME, or else
// in ~/.config.
func Path() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where to keep sign-ins is unknown: set HOME, or XDG_CONFIG_HOME to a whole path: %w", err)
	}
	return filepath.Join(dir, "peerload", "logins.json"), nil
}

// Server is a controller's URL in one way of writing it: host in lower case, port
// only if it is another than the scheme's, no slash at the end.
func Server(text string) (string, error) {
	u, err := url.Parse(text)
	if err == nil && u.User != nil {
		return "", errors.New("the URL of the controller holds a user: leave it out")
	}
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		// Not the value: it may hold a password.
		return "", errors.New("it is no http or https URL: write it such as https://controller:8443")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// Read reads the file; a missing one is an empty ring. Errors match ErrDamaged or
// ErrExposed, or are of the file system.
func Read(path string) (Ring, error) {
	r := Ring{Schema: schema}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer f.Close()
	if err := own(f); err != nil {
		return r, err
	}
	b, err := durable.ReadAll(f, path, maxSize)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil {
		err = r.validate()
	}
	if err != nil {
		return Ring{Schema: schema}, fmt.Errorf("%w: %s: %w; remove it, and log in again", ErrDamaged, path, err)
	}
	return r, nil
}

// own refuses a file that others can read, or have written.
func own(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to uid %d: set HOME or XDG_CONFIG_HOME to a directory of yours", ErrExposed,
			f.Name(), s.Uid)
	}
	if m := info.Mode(); !m.IsRegular() || m.Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %v: others may have read the tokens: end them with \"peerload-server user "+
			"sign-out\", then chmod 600 the file", ErrExposed, f.Name(), m)
	}
	return nil
}

func (r Ring) validate() error {
	if r.Schema != schema {
		return fmt.Errorf("it is of version %d, and this program knows %d", r.Schema, schema)
	}
	for _, e := range r.Entries {
		if s, err := Server(e.Server); err != nil || s != e.Server || e.Token == "" {
			return errors.New("an entry has no controller, or no token")
		}
	}
	if _, ok := r.Find(r.Default); r.Default != "" && !ok {
		return errors.New("the default is no entry")
	}
	return nil
}

// Change reads the file, lets change change it, and writes it, while no other
// process does. If change fails nothing is written.
func Change(path string, change func(*Ring) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := durable.Lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := Read(path)
	if err != nil {
		return err
	}
	if err := change(&r); err != nil {
		return err
	}
	if err := r.validate(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if len(b) >= maxSize {
		return fmt.Errorf("%w: more than %d bytes of sign-ins: log out where you need none", ErrDamaged, maxSize)
	}
	return durable.Write(path, append(b, '\n'), 0o600)
}

// Find returns the entry of a controller.
func (r Ring) Find(server string) (Entry, bool) {
	i := slices.IndexFunc(r.Entries, func(e Entry) bool { return e.Server == server })
	if i < 0 {
		return Entry{}, false
	}
	return r.Entries[i], true
}

// Put adds an entry, in place of the controller's last one, and makes it the
// default.
func (r *Ring) Put(e Entry) {
	r.drop(e.Server)
	r.Entries = append(r.Entries, e)
	slices.SortFunc(r.Entries, func(a, b Entry) int { return strings.Compare(a.Server, b.Server) })
	r.Default = e.Server
}

// Drop removes the entry with that token. One that was made meanwhile stays.
func (r *Ring) Drop(server, token string) {
	if e, ok := r.Find(server); !ok || e.Token != token {
		return
	}
	if r.drop(server); r.Default == server {
		r.Default = "" // another one must not be meant by surprise
	}
}

func (r *Ring) drop(server string) {
	r.Entries = slices.DeleteFunc(r.Entries, func(e Entry) bool { return e.Server == server })
}

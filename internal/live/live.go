// Package live holds the nouns of the live view of a site: what devices tell of an
// upgrade while it goes on, in few bytes, and the picture that follows from it.
//
// What lives here: the form as bytes and its limits, and how a picture changes by what
// a device tells. What must not: connections, the clock, and who may see a picture.
//
// Read State first, then Pack, then Picture.
package live

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"
)

// Limits of what one device tells, and of what is told at once.
const (
	// MaxFiles bounds the files of one device.
	MaxFiles = 32
	// MaxParents bounds the parents of one file: it has one in each tree.
	MaxParents = 4
	// MaxName bounds a name or a word, in bytes.
	MaxName = 255
	// MaxStates bounds the states in a batch, MaxPacked its bytes and MaxPlain those
	// that it takes when it is unpacked.
	MaxStates = 2048
	MaxPacked = 64 << 10
	MaxPlain  = 1 << 20
)

// ErrMalformed is of what breaks the form or its limits.
var ErrMalformed = errors.New("live: malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// State is how a device stands in its upgrade. What is not told has not changed, but
// for the words Load, Phase, Reason and Address, which are told each time.
type State struct {
	// Device is its name, as the controller knows it.
	Device string `json:"d"`
	// Address by which its peers know it, "" while it does not share.
	Address string `json:"a,omitempty"`
	// Load that it fetches or runs. With another one the files from before are gone.
	Load string `json:"l,omitempty"`
	// Phase is a state of report.Device, Reason why it is that.
	Phase  string `json:"s,omitempty"`
	Reason string `json:"r,omitempty"`
	// Files that have changed. Fresh: those that are not told of are gone, as they are
	// with another load.
	Files []File `json:"f,omitempty"`
	Fresh bool   `json:"x,omitempty"`
}

// File is how a device stands with one file.
type File struct {
	Name string `json:"n"`
	// Size, Have and WAN are bytes: of the file, 0 while unknown; that it has; and that
	// have come over the WAN.
	Size int64 `json:"z,omitempty"`
	Have int64 `json:"h,omitempty"`
	WAN  int64 `json:"w,omitempty"`
	// Role, Source and Reason are words of package report.
	Role   string `json:"o,omitempty"`
	Source string `json:"c,omitempty"`
	Reason string `json:"r,omitempty"`
	// Root and Parents are addresses.
	Root    string   `json:"t,omitempty"`
	Parents []string `json:"p,omitempty"`
	// End is EndDone or EndFailed, "" while it goes on.
	End string `json:"e,omitempty"`
}

// How a file ended.
const (
	EndDone   = "done"
	EndFailed = "failed"
)

func word(s string) bool { return len(s) <= MaxName && utf8.ValidString(s) }

// Validate says what is wrong with a state. Errors match ErrMalformed.
func (s State) Validate() error {
	if s.Device == "" || !word(s.Device) || !word(s.Address) || !word(s.Load) || !word(s.Phase) || !word(s.Reason) {
		return malformed("a device with a name, and words of at most %d bytes", MaxName)
	}
	if len(s.Files) > MaxFiles {
		return malformed("%d files: at most %d", len(s.Files), MaxFiles)
	}
	for _, f := range s.Files {
		if err := f.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (f File) validate() error {
	if f.Name == "" || len(f.Parents) > MaxParents || f.Size < 0 || f.Have < 0 || f.WAN < 0 {
		return malformed("a file with a name, at most %d parents, and no negative number", MaxParents)
	}
	for _, w := range append([]string{f.Name, f.Role, f.Source, f.Reason, f.Root, f.End}, f.Parents...) {
		if !word(w) {
			return malformed("a word of %d bytes", len(w))
		}
	}
	return nil
}

// Equal reports whether two files are told of alike.
func (f File) Equal(g File) bool {
	parents := slices.Equal(f.Parents, g.Parents)
	f.Parents, g.Parents = nil, nil
	return parents && reflect.DeepEqual(f, g)
}

// Pack writes states in few bytes. It fails if they are not valid, or too many.
func Pack(states []State) ([]byte, error) {
	if len(states) > MaxStates {
		return nil, malformed("%d states: at most %d", len(states), MaxStates)
	}
	for _, s := range states {
		if err := s.Validate(); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(states)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, flate.BestSpeed, dictionary)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	if len(text) > MaxPlain || b.Len() > MaxPacked {
		return nil, malformed("%d bytes, packed %d", len(text), b.Len())
	}
	return b.Bytes(), nil
}

// dictionary has what states have in common. It is part of the form: another one needs
// another form.
var dictionary = []byte(`[{"d":"SEP001122334455","a":"192.168.10.","l":"","s":"downloading","r":"not-confirmed",` +
	`"f":[{"n":".load","z":,"h":,"w":,"o":"detached","c":"cache","r":"peers-failed","t":"10.0.0.","e":"failed"},` +
	`{"n":".bin","z":1048576,"h":1048576,"o":"root","c":"origin","r":"strongest","t":"10.0.0.1","e":"done"},` +
	`{"n":".sbn","z":,"h":,"o":"leaf","c":"peer","r":"root-placed","t":"10.0.0.1","p":["10.0.0.2","10.0.0.3"],` +
	`"e":"done"}]},{"d":"SEP001122334455","a":"10.0.0.1","l":"`)

// Unpack reads states. Errors match ErrMalformed.
func Unpack(b []byte) (states []State, err error) {
	if len(b) > MaxPacked {
		return nil, malformed("%d bytes: at most %d", len(b), MaxPacked)
	}
	r := flate.NewReaderDict(bytes.NewReader(b), dictionary)
	text, err := io.ReadAll(io.LimitReader(r, MaxPlain+1))
	if err != nil {
		return nil, malformed("%v", err)
	}
	if len(text) > MaxPlain {
		return nil, malformed("more than %d bytes", MaxPlain)
	}
	if err := json.Unmarshal(text, &states); err != nil {
		return nil, malformed("%v", err)
	}
	if len(states) > MaxStates {
		return nil, malformed("%d states: at most %d", len(states), MaxStates)
	}
	for _, s := range states {
		if err := s.Validate(); err != nil {
			return nil, err
		}
	}
	return states, nil
}

package provision

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
)

// Limits of a provisioning file.
const (
	// MaxSize bounds the text, in bytes.
	MaxSize = 512 << 10
	// MaxElements bounds the elements of a file; real ones have a few hundred.
	MaxElements = 8192
	// MaxDepth bounds how deep elements are nested.
	MaxDepth = 32
	// MaxLoads bounds the loads that a file names, one for each model.
	MaxLoads = 1024
	// MaxFileSets bounds the file sets of a device.
	MaxFileSets = 32
)

// ErrFile says that a text is no provisioning file. The error is an *Error.
var ErrFile = errors.New("bad provisioning file")

// ErrModel says that a file has a load for another model only.
var ErrModel = errors.New("the load is for another model")

// Error says what is wrong with a file, and where.
type Error struct {
	// Line, from 1; 0 if it is not known.
	Line int
	// Err is what is wrong there.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return e.Err.Error()
}

// Unwrap makes it an ErrFile.
func (e *Error) Unwrap() []error { return []error{ErrFile, e.Err} }

func badLine(line int, format string, args ...any) *Error {
	return &Error{Line: line, Err: fmt.Errorf(format, args...)}
}

// File is what a provisioning file says.
type File struct {
	// Default says that it is for all devices (XMLDefault.cnf.xml), not for one.
	Default bool
	// Loads that the file names, at most MaxLoads, in the order of the text.
	Loads []Assignment
	// FileSets that the device is to have in place.
	FileSets FileSets
	// Levels are the settings: enterpriseConfig, commonConfig (the profile) and
	// vendorConfig (the device); the weakest is modelConfig, the model's
	// defaults if the device's own table does not have them.
	Levels policy.Levels
	// Group of the models that share with the device's model, "" for what the
	// device's own table says.
	Group string
	// Grant is what the device may do for a rollout, and takes the place of the load
	// that is assigned; nil where no rollout tells it anything.
	Grant *Grant
	// Others are all other elements, as they were read, for display. They have
	// no effect.
	Others []Element
}

// FileSets are the file sets of a device. The zero value says nothing of them: the
// device keeps those that it has.
type FileSets struct {
	told bool
	by   map[string]string
}

// TellFileSets says that a device is to have these sets, by their directories, and no
// others.
func TellFileSets(by map[string]string) FileSets {
	if by == nil {
		by = map[string]string{}
	}
	return FileSets{told: true, by: by}
}

// Told returns the names of the sets by their directories; ok is false if the file
// says nothing of them. The map is not to be changed.
func (s FileSets) Told() (by map[string]string, ok bool) { return s.by, s.told }

func (s FileSets) validate() error {
	if len(s.by) > MaxFileSets {
		return fmt.Errorf("%d file sets are more than %d", len(s.by), MaxFileSets)
	}
	for directory, name := range s.by {
		if err := load.CheckDirectory(directory); err != nil {
			return err
		}
		if err := load.CheckName(name); err != nil {
			return fmt.Errorf("the file set's name: %w", err)
		}
	}
	return nil
}

// Assignment names a load, for one model or for the device of the file.
type Assignment struct {
	// Load is its name, without .loads or .load. "": none is assigned, the
	// device keeps what it has.
	Load string
	// Model as the text writes it, "" for the device of the file.
	Model string
	// Type is the number in the element's name, such as "115", "" if there is
	// none.
	Type string
	// Line of the element, 0 in a file that was not read from XML.
	Line int
}

// Element is one element of the text that has no others in it.
type Element struct {
	// Path is the names from the root on, with slashes between.
	Path string
	// Value is its text without spaces around it.
	Value string
	// Line where it begins.
	Line int
}

// Assigned returns the load for a device of that model, "" if the file assigns
// none. In the file of one device, a load for another model only is ErrModel;
// the file for all devices has loads for other models too.
func (f *File) Assigned(t *policy.Table, model string) (string, error) {
	number := t.Lookup(model).TypeNumber
	for _, a := range f.Loads {
		n, err := strconv.Atoi(a.Type)
		if a.Model != "" && t.Fits([]string{a.Model}, model) || a.Model == "" && err == nil && n == number && n > 0 {
			return a.Load, nil
		}
	}
	var other string
	for _, a := range f.Loads {
		switch {
		case a.Model == "" && (a.Type == "" || !f.Default):
			return a.Load, nil
		case a.Load != "":
			other = a.Load + " is for " + a.Model
		}
	}
	if !f.Default && other != "" {
		return "", fmt.Errorf("%w: %s, this device is a %s", ErrModel, other, model)
	}
	return "", nil
}

// Validate refuses what could not be written and read back: errors match
// ErrFile.
func (f *File) Validate() error {
	if len(f.Loads) > MaxLoads {
		return badLine(0, "%d loads are more than %d", len(f.Loads), MaxLoads)
	}
	for _, a := range f.Loads {
		if err := a.validate(); err != nil {
			return &Error{Line: a.Line, Err: err}
		}
	}
	if err := errors.Join(checkGroup(f.Group), f.FileSets.validate()); err != nil {
		return &Error{Err: err}
	}
	if err := f.Grant.validate(); err != nil {
		return badLine(0, "%s: %w", grantElement, err)
	}
	for _, s := range sections {
		if err := s.of(&f.Levels).Validate(); err != nil {
			return badLine(0, "%s: %w", s.element, err)
		}
	}
	return nil
}

func checkGroup(s string) error {
	if len(s) > policy.MaxModelText {
		return fmt.Errorf("a group's name of %d bytes, more than %d", len(s), policy.MaxModelText)
	}
	return checkText(s)
}

// maxType bounds the number of a model.
const maxType = 8

func (a Assignment) validate() error {
	if a.Load != "" {
		if err := load.CheckName(a.Load); err != nil {
			return fmt.Errorf("the load's name: %w", err)
		}
	}
	if len(a.Type) > maxType || strings.Trim(a.Type, "0123456789") != "" {
		return fmt.Errorf("%q is not the number of a model", a.Type)
	}
	if len(a.Model) > load.MaxTextLen {
		return fmt.Errorf("a model's name of %d bytes, more than %d", len(a.Model), load.MaxTextLen)
	}
	return checkText(a.Model)
}

// checkText refuses text that XML or TOML cannot hold on one line.
func checkText(s string) error {
	if s != strings.TrimSpace(s) || strings.ToValidUTF8(s, "") != s ||
		strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff }) {
		return fmt.Errorf("%q holds spaces around it or characters that cannot be printed", s)
	}
	return nil
}

// loadName takes a load's name as people write it.
func loadName(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSuffix(strings.TrimSuffix(s, ".loads"), load.ManifestSuffix)
}

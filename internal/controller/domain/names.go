package domain

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
)

// Limits of texts, in bytes.
const (
	MaxNameLen        = 64
	MaxDescriptionLen = 500
)

// DeviceName returns a device's name, SEP001122334455, from any spelling of it
// or of its MAC address. Errors match ErrInvalid.
func DeviceName(s string) (string, error) {
	bad := invalid("%.40q is not a device: write SEP and 12 hexadecimal digits, or the MAC address", s)
	if len(s) > 40 {
		return "", bad
	}
	digits := strings.ToUpper(strings.TrimSpace(s))
	mac, err := parse.MAC(strings.TrimPrefix(digits, "SEP"))
	switch {
	case errors.Is(err, parse.ErrNoDevice):
		return "", invalid("%.40q is an address of a group, or of nobody: no device has it", s)
	case err != nil:
		return "", bad
	}
	return "SEP" + mac, nil
}

// checkName refuses names that are empty, too long, or harmful in a path or a
// terminal.
func checkName(what, name string) error {
	if name == "" || len(name) > MaxNameLen || strings.TrimSpace(name) != name || name == "." || name == ".." {
		return invalid("a %s's name has 1 to %d bytes and no space at its ends", what, MaxNameLen)
	}
	if strings.ContainsAny(name, `/\?#%*"<>|`) {
		return invalid(`a %s's name has none of / \ ? # %% * " < > |`, what)
	}
	return checkText("name", name, MaxNameLen)
}

// checkText refuses text that is too long or not plain.
func checkText(what, text string, most int) error {
	if len(text) > most {
		return invalid("the %s has %d bytes, at most %d", what, len(text), most)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return invalid("the %s is not plain text", what)
	}
	return nil
}

// cleanText turns what a device says into bounded plain text.
func cleanText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") // the cut may split a letter
	}
	return text
}

// Target is where settings and loads are assigned.
type Target struct {
	// Level is LevelEnterprise, LevelModel (loads only), LevelProfile or
	// LevelDevice.
	Level policy.Level `json:"level"`
	// Name of the model, profile or device; "" for the enterprise.
	Name string `json:"name"`
}

// EnterpriseTarget is the enterprise.
func EnterpriseTarget() Target { return Target{Level: policy.LevelEnterprise} }

// ModelTarget is a model.
func ModelTarget(name string) Target { return Target{policy.LevelModel, name} }

// ProfileTarget is a profile.
func ProfileTarget(name string) Target { return Target{policy.LevelProfile, name} }

// DeviceTarget is a device, in any spelling of its name.
func DeviceTarget(name string) Target { return Target{policy.LevelDevice, name} }

// String writes the target as the audit log does.
func (t Target) String() string {
	if t.Name == "" {
		return t.Level.String()
	}
	return t.Level.String() + " " + t.Name
}

// permission is what changing something there needs.
func (t Target) permission() permission {
	if t.Level == policy.LevelDevice || t.Level == policy.LevelProfile {
		return mayDevices
	}
	return mayEnterprise
}

// Why a use case did not do what it was asked, for errors.Is.
var (
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrExists says that there is one of that name already.
	ErrExists = errors.New("exists already")
	// ErrConflict says that somebody else has changed it since it was read:
	// read it again.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrInvalid says that a value is not valid.
	ErrInvalid = errors.New("invalid")
	// ErrRefused says that the change would break a rule.
	ErrRefused = errors.New("refused")
	// ErrUnfit says that a load is not for the model. It matches ErrRefused too.
	ErrUnfit = fmt.Errorf("%w: the load does not fit the model", ErrRefused)
	// ErrUnauthenticated says that credentials are missing, wrong or expired.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden says that the actor may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrThrottled says that there were too many attempts: see ThrottledError.
	ErrThrottled = errors.New("too many attempts")
	// ErrUnavailable says that the controller runs without what this needs.
	ErrUnavailable = errors.New("not available")
	// ErrAway says that the database does not answer now: it is locked, restarts,
	// or cannot be reached. Try again. It matches ErrUnavailable too.
	ErrAway = fmt.Errorf("%w: the database does not answer", ErrUnavailable)
	// ErrKeys says that a key to sign with is not there, or not kept secret: the
	// error says which, and what to do.
	ErrKeys = repository.ErrKeys
)

// ThrottledError says how long to wait. It matches ErrThrottled.
type ThrottledError struct {
	// RetryAfter is the time until an attempt counts again.
	RetryAfter time.Duration
}

// Error implements error.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v: try again in %s", ErrThrottled, e.RetryAfter.Round(time.Second))
}

// Is implements the interface of errors.Is.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// unknown says which words of a kind there are. It repeats 40 bytes at most of
// what came from outside.
func unknown[T ~string](kind string, word T, valid []T) error {
	names := make([]string, len(valid))
	for i, v := range valid {
		names[i] = string(v)
	}
	return choice.Unknown(kind, string(word[:min(len(word), 40)]), names)
}

func notFound(what, name string) error { return fmt.Errorf("%w: %s %q", ErrNotFound, what, name) }

package load

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ManifestSuffix ends the file name of a manifest: load NAME is described by
// NAME.load.
const ManifestSuffix = ".load"

// MaxNameLen bounds the name of a load or component, in bytes. The published
// tree adds a digest before it and a suffix after it (64 + 1 + 180 + 5 bytes),
// and file systems allow 255.
const MaxNameLen = 180

// ErrName says that a name cannot be the name of a load or component.
var ErrName = errors.New("bad name")

// nameAlphabet is what the names of loads and components are made of. None of it
// has a meaning in a URL's path, in XML, inside a shell word or on a file system.
const nameAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+,=@~"

// CheckName refuses what cannot be the name of a load or component: it is a
// CheckFileName of the letters A to Z and a to z, digits and . _ - + , = @ ~ that
// does not begin with a hyphen or tilde. Such a name means the same file in a
// URL, in a provisioning file, on a command line and on every disk. Errors match
// ErrName.
func CheckName(s string) error {
	if err := CheckFileName(s); err != nil {
		return err
	}
	if strings.Trim(s, nameAlphabet) != "" {
		return fmt.Errorf("%w %q: the name of a load or component has letters A to Z and a to z, digits and "+
			". _ - + , = @ ~ only", ErrName, s)
	}
	if s[0] == '-' || s[0] == '~' {
		return fmt.Errorf("%w %q: it begins with %c, which means something on a command line", ErrName, s, s[0])
	}
	return nil
}

// MaxDirectoryLen bounds the name of a file set's directory, in bytes.
const MaxDirectoryLen = 32

// CheckDirectory refuses what cannot be the name of a file set's directory: 1 to
// MaxDirectoryLen lower-case letters, digits and hyphens, the first a letter. Errors
// match ErrName.
func CheckDirectory(s string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	if s == "" || len(s) > MaxDirectoryLen || !strings.Contains(letters, s[:1]) ||
		strings.Trim(s, letters+"0123456789-") != "" {
		return fmt.Errorf("%w %.40q: the directory of a file set has 1 to %d lower-case letters, digits and hyphens and "+
			"begins with a letter, such as ring-tones", ErrName, s, MaxDirectoryLen)
	}
	return nil
}

// CheckFileName refuses every name that could leave its directory, hide in it,
// collide with a manifest, or mean another file on another system. It holds
// for a file that is fetched by itself: one file name, 1 to MaxNameLen bytes of valid
// UTF-8 without control characters, no separator of any system (/ \ :), no leading
// dot or space, no trailing dot or space, not ending in ".load". Errors match
// ErrName.
func CheckFileName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(s) > MaxNameLen:
		return fmt.Errorf("%w: %d bytes are more than %d", ErrName, len(s), MaxNameLen)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w %q: it is not valid UTF-8", ErrName, s)
	case s[0] == '.':
		return fmt.Errorf("%w %q: it begins with a dot", ErrName, s)
	case s[0] == ' ':
		return fmt.Errorf("%w %q: it begins with a space", ErrName, s)
	case s[len(s)-1] == '.' || s[len(s)-1] == ' ':
		return fmt.Errorf("%w %q: it ends with a dot or a space", ErrName, s)
	case strings.ContainsAny(s, `/\:`):
		return fmt.Errorf("%w %q: it contains a path separator", ErrName, s)
	case strings.HasSuffix(fold(s), ManifestSuffix):
		return fmt.Errorf("%w %q: names that end in %s belong to manifests", ErrName, s, ManifestSuffix)
	}
	for _, r := range s {
		// Format characters (Cf) turn the reading direction or show nothing:
		// two such names look alike to a person.
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("%w %q: it contains the character %U, which cannot be seen", ErrName, s, r)
		}
	}
	return nil
}

// fold maps names that are the same on some file system to the same string.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// checkText bounds a short text for people: version, model.
func checkText(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the %s is empty", what)
	case len(s) > MaxTextLen:
		return fmt.Errorf("the %s has %d bytes, more than %d", what, len(s), MaxTextLen)
	case !utf8.ValidString(s):
		return fmt.Errorf("the %s %q is not valid UTF-8", what, s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("the %s %q begins or ends with a space", what, s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the %s %q contains the character %U, which cannot be printed", what, s, r)
		}
	}
	return nil
}

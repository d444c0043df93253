// Package parse reads what people write: numbers of bytes and MAC addresses. It
// writes times as people type them.
//
// What lives here: forms of text that two sides of the product take and that
// must mean the same on both. What must not: which values a setting or a flag
// allows, and what is read by one package only.
package parse

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxSize is the largest number that Size takes, in bytes.
const MaxSize = 1 << 62

// units are the suffixes of Size, in lower case. A single letter is a power of
// 1,024, as curl has it.
var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
	"kb": 1e3, "mb": 1e6, "gb": 1e9,
}

// Size reads a number of bytes, 0 to MaxSize: decimal digits, if wanted with a
// fraction, and one of the units B, kB, MB and GB (powers of 1,000), KiB, MiB
// and GiB, or k, M and G (powers of 1,024), in any case. It is rounded to whole
// bytes; what would be rounded to 0, which often means no limit, is refused.
func Size(s string) (int64, error) {
	text := strings.TrimSpace(s)
	end := len(text) - len(strings.TrimLeft(text, "0123456789."))
	number := text[:end]
	unit, known := units[strings.ToLower(strings.TrimSpace(text[end:]))]
	if !known || number == "" {
		return 0, badSize(s)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n <= MaxSize/unit {
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	n := math.Round(f * float64(unit))
	if err != nil || n > MaxSize || n == 0 && f != 0 {
		return 0, badSize(s)
	}
	return int64(n), nil
}

func badSize(s string) error {
	return fmt.Errorf("%q is not a number of bytes such as 200k, 2M or 0", s)
}

// ErrNoDevice says that a MAC address is that of a group, or of nobody.
var ErrNoDevice = errors.New("no device has it")

// MAC reads the MAC address of a device, with or without the separators ":",
// "-" and ".", and returns its 12 upper-case hexadecimal digits. Errors match
// ErrNoDevice where it is an address that no device has.
func MAC(s string) (string, error) {
	d := strings.ToUpper(strings.Map(func(r rune) rune {
		if r == ':' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, s))
	if len(d) != 12 || strings.Trim(d, "0123456789ABCDEF") != "" {
		return "", fmt.Errorf("%.40q is not a MAC address of 12 hexadecimal digits", s)
	}
	// The lowest bit of the first byte marks groups (IEEE 802): nobody sends
	// from such an address, nor from the one of zeros.
	if strings.ContainsRune("13579BDF", rune(d[1])) || strings.Trim(d, "0") == "" {
		return "", fmt.Errorf("%q is a MAC address of a group, or of nobody: %w", s, ErrNoDevice)
	}
	return d, nil
}

// Duration writes a time as it is typed: 12h, where Go writes 12h0m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

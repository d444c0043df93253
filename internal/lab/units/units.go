// Package units reads and writes the units of the laboratory's command line:
// rates, sizes and fractions.
//
// What lives here: the three types, as flags and as text. What must not:
// anything that is measured in them.
package units

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

// Rate is a link's speed in bits per second.
type Rate int64

// Common rates.
const (
	Kbit Rate = 1000
	Mbit Rate = 1000 * Kbit
	Gbit Rate = 1000 * Mbit
)

// maxRate keeps every product of a rate and a buffer within 64 bits.
const maxRate = 100 * Gbit

// ParseRate reads a rate as tc writes it: a number and one of bit, kbit, mbit,
// gbit, in any case, with or without "/s" or "ps" behind it. Units are powers
// of 1000. The rate must lie between 8 kbit and 100 Gbit.
func ParseRate(s string) (Rate, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSuffix(strings.TrimSuffix(t, "/s"), "ps")
	n, err := parseUnit(t, map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9})
	if err != nil {
		return 0, fmt.Errorf("rate %q: %w; write it such as 20mbit", s, err)
	}
	r := Rate(math.Round(n))
	if r < 8*Kbit || r > maxRate {
		return 0, fmt.Errorf("a rate is 8kbit to 100gbit, not %q", s)
	}
	return r, nil
}

// String returns the rate in the largest unit that keeps it exact to three
// decimals, such as "20 Mbit/s".
func (r Rate) String() string {
	for _, u := range []struct {
		name string
		r    Rate
	}{{"Gbit/s", Gbit}, {"Mbit/s", Mbit}, {"kbit/s", Kbit}} {
		if r >= u.r {
			return strconv.FormatFloat(math.Round(float64(r)/float64(u.r)*1000)/1000, 'f', -1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(r), 10) + " bit/s"
}

// Time returns how long n bytes take at the rate.
func (r Rate) Time(n int64) time.Duration {
	return time.Duration(float64(n) * 8 / float64(r) * float64(time.Second))
}

// Bytes returns how many bytes the rate carries in d.
func (r Rate) Bytes(d time.Duration) int64 {
	return int64(float64(r) / 8 * d.Seconds())
}

// Set and Type make *Rate a flag of the command line.
func (r *Rate) Set(s string) error {
	v, err := ParseRate(s)
	if err == nil {
		*r = v
	}
	return err
}

// Type names the flag's value in the help text.
func (r *Rate) Type() string { return "RATE" }

// Size is a number of bytes.
type Size int64

// maxSize bounds the files of the lab (16 GiB, the largest file of a load).
const maxSize Size = 16 << 30

// parseSize reads a number of bytes as parse.Size does. It must lie between 1
// byte and 16 GiB.
func parseSize(s string) (Size, error) {
	n, err := parse.Size(s)
	if err != nil {
		return 0, fmt.Errorf("size %q: write for example 20MB or 64KiB", s)
	}
	v := Size(n)
	if v < 1 || v > maxSize {
		return 0, fmt.Errorf("a size is 1 byte to 16 GiB, not %q", s)
	}
	return v, nil
}

// String returns the size as people read it, such as 20.91 MB.
func (z Size) String() string { return terminal.Bytes(int64(z)) }

// Set makes *Size a flag of the command line.
func (z *Size) Set(s string) error {
	v, err := parseSize(s)
	if err == nil {
		*z = v
	}
	return err
}

// Type names the flag's value in the help text.
func (z *Size) Type() string { return "SIZE" }

// Fraction is a part of a whole, 0 to 1.
type Fraction float64

// parseFraction reads a percentage such as "0.5%" or "0.5": 0 to 100.
func parseFraction(s string) (Fraction, error) {
	n, err := parseUnit(strings.TrimSpace(s), map[string]float64{"": 1, "%": 1})
	if err != nil {
		return 0, fmt.Errorf("%q: %w; write for example 0.5%%", s, err)
	}
	if n > 100 {
		return 0, fmt.Errorf("a percentage is 0%% to 100%%, not %q", s)
	}
	return Fraction(n / 100), nil
}

// String returns the fraction in percent.
func (f Fraction) String() string {
	return strconv.FormatFloat(math.Round(float64(f)*1e8)/1e6, 'f', -1, 64) + "%"
}

// Set and Type make *Fraction a flag of the command line.
func (f *Fraction) Set(s string) error {
	v, err := parseFraction(s)
	if err == nil {
		*f = v
	}
	return err
}

// Type names the flag's value in the help text.
func (f *Fraction) Type() string { return "PERCENT" }

// parseUnit reads a decimal number followed by one of the units.
func parseUnit(s string, units map[string]float64) (float64, error) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, errors.New("not a number")
	}
	f, ok := units[strings.TrimSpace(s[i:])]
	if !ok {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(units)), func(name string) bool { return name == "" })
		return 0, choice.Unknown("unit", strings.TrimSpace(s[i:]), names)
	}
	return n * f, nil
}

// Seconds returns s seconds as a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

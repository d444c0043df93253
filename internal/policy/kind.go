package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/parse"
)

// Kind says how a setting's values are written.
type Kind string

// The kinds of settings.
const (
	// KindSwitch is on or off; 1, 0, true, false, yes, no, enabled and disabled
	// are read too.
	KindSwitch Kind = "switch"
	// KindChoice is one of a few words.
	KindChoice Kind = "choice"
	// KindAddress is HOST, HOST:PORT, HOST/PATH or a URL, "" for none.
	KindAddress Kind = "address"
	// KindHostPort is HOST or HOST:PORT, "" for none.
	KindHostPort Kind = "host-port"
	// KindSize is bytes, or bytes per second, as parse.Size reads them; 0 means
	// no limit.
	KindSize Kind = "size"
)

// The values of a switch.
const (
	On  = "on"
	Off = "off"
)

func normaliseSwitch(v string) string {
	switch strings.ToLower(v) {
	case On, "1", "true", "yes", "enabled":
		return On
	case Off, "0", "false", "no", "disabled":
		return Off
	}
	return v
}

// normaliseSize writes a size with the largest suffix that loses nothing.
func normaliseSize(v string) string {
	n, err := parse.Size(v)
	if err != nil {
		return v
	}
	for _, u := range []struct {
		suffix string
		of     int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"k", 1 << 10}} {
		if n > 0 && n%u.of == 0 {
			return strconv.FormatInt(n/u.of, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// maxAddress bounds the text of a server's address, in bytes.
const maxAddress = 1000

// checkAddress takes HOST, HOST:PORT, HOST/PATH or a URL that loads can be
// fetched from. It does not check whether a server answers there.
func checkAddress(v string) error {
	scheme, rest, ok := strings.Cut(v, "://")
	if !ok {
		scheme, rest = "http", v
	}
	if v != "" && scheme != "http" && scheme != "https" && scheme != "tftp" {
		return fmt.Errorf("%q: the scheme is http, https or tftp", withoutPassword(v))
	}
	host, _, _ := strings.Cut(rest, "/")
	if v != "" && host == "" {
		return fmt.Errorf("%q names no host", withoutPassword(v))
	}
	return checkLine(v)
}

// checkHostPort takes HOST or HOST:PORT.
func checkHostPort(v string) error {
	if strings.ContainsAny(v, "/@?#") {
		return fmt.Errorf("%q is not HOST or HOST:PORT", v)
	}
	if i := strings.LastIndexByte(v, ':'); i >= 0 && !strings.HasSuffix(v, "]") {
		if n, err := strconv.ParseUint(v[i+1:], 10, 16); i == 0 || err != nil || n == 0 {
			return fmt.Errorf("%q is not HOST or HOST:PORT", v)
		}
	}
	return checkLine(v)
}

func checkLine(v string) error {
	if len(v) > maxAddress {
		return fmt.Errorf("%d bytes are more than %d", len(v), maxAddress)
	}
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q holds a space or a control character", withoutPassword(v))
	}
	return nil
}

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The errors of addresses repeat nothing of them: there may be a password in one.
var (
	errPassword = errors.New("it holds a name or password, and anybody can read a provisioning file: leave it out, and " +
		"let the server know the devices by other means")
	errURL = errors.New("it is no address of a server: write HOST, HOST:PORT, HOST/PATH, or a URL such as " +
		"http://10.0.0.5/fw")
)

// pathChars are what a path has besides letters and digits (RFC 3986 section 3.3).
const pathChars = "/-._~!$&'()*+,;=:@%"

// cutAddress cuts an address into what is before its host, its host with what
// belongs to it, and its path.
func cutAddress(v string) (scheme, host, path string) {
	before, rest, ok := strings.Cut(v, "://")
	if ok {
		before += "://"
	} else {
		before, rest = "", v
	}
	i := strings.IndexByte(rest+"/", '/')
	return before, rest[:i], rest[i:]
}

// admitAddress takes HOST, HOST:PORT, HOST/PATH or a URL that files can be
// fetched below.
func admitAddress(v string) error {
	_, host, path := cutAddress(v)
	switch {
	case strings.Contains(host, "@"):
		return errPassword
	case strings.ContainsAny(v, "?#"):
		return fmt.Errorf("%w, without ? and #", errURL)
	}
	for i, r := range path {
		if r < 0x80 && !isAlphanumeric(r) && !strings.ContainsRune(pathChars, r) {
			return fmt.Errorf("%w; %q is not for paths", errURL, r)
		}
		if r == '%' {
			if _, err := strconv.ParseUint(path[i+1:min(len(path), i+3)], 16, 8); err != nil || i+3 > len(path) {
				return fmt.Errorf("%w; %% stands before two hexadecimal digits", errURL)
			}
		}
	}
	return admitHost(host)
}

// admitHostPort takes HOST or HOST:PORT.
func admitHostPort(v string) error { return admitHost(v) }

// admitHost takes a name, an IPv4 address, or an IPv6 address in brackets, with a
// port or without one.
func admitHost(v string) error {
	host, port := v, ""
	if i := strings.LastIndexByte(v, ':'); i >= 0 && !strings.HasSuffix(v, "]") {
		host, port = v[:i], v[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%w; a port is 1 to 65535", errURL)
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(strings.Replace(inner, "%25", "%", 1)); !ok || err != nil || a.Is4() {
			return fmt.Errorf("%w; an IPv6 address stands in brackets, [2001:db8::1]", errURL)
		}
		return nil
	}
	if len(host) > 253 {
		return fmt.Errorf("%w; a host's name has 253 bytes at most", errURL)
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label,
			func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }) {
			return fmt.Errorf("%w; a host's name has letters, digits, dots and hyphens", errURL)
		}
	}
	return nil
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// withoutPassword puts xxxxx in the place of a name and password in an address,
// also if it is none.
func withoutPassword(v string) string {
	scheme, host, path := cutAddress(v)
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		return scheme + "xxxxx" + host[i:] + path
	}
	if i := strings.LastIndexByte(path, '@'); i >= 0 && admitHost(host) != nil {
		return scheme + "xxxxx" + path[i:] // nobody can say where the password ends
	}
	return v
}

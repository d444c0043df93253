package tftp

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Names of the options.
const (
	optBlockSize  = "blksize"
	optTimeout    = "timeout"
	optSize       = "tsize"
	optWindowSize = "windowsize"
	optOffset     = "offset"
	optSlide      = "slide"
)

// Ranges of the options (RFC 2348, 2349, 7440) and their defaults.
const (
	defaultBlock = 512
	minBlock     = 8
	maxBlock     = 65464
	// maxWindow is below half the block numbers, so that old and new blocks
	// cannot be confused; RFC 7440 allows 65535.
	maxWindow = 4096
	// maxWindowBytes bounds the bytes that one transfer has in flight.
	maxWindowBytes = 4 << 20
	maxTimeout     = 255 // seconds
)

// params are what both sides agreed on.
type params struct {
	blockSize int
	window    int
	slide     int           // 0: not agreed
	timeout   time.Duration // 0: not agreed
	size      int64         // -1: not told
	offset    int64
}

func defaultParams() params { return params{blockSize: defaultBlock, window: 1, size: -1} }

// number reads a decimal number without sign. It refuses what does not fit.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 19 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func formatOption(name string, n int64) option {
	return option{name, strconv.FormatInt(n, 10)}
}

// slideWindow is the window that is granted with slide, in blocks. It is also
// the least that is in flight, before and after a loss: with more, a slow link
// whose queue holds only a few packets would lose part of every window.
const slideWindow = 4

// limits are the most that a server grants.
type limits struct{ block, window, slide int }

// negotiate is the server's part: it reads the options of a read request and
// returns the agreed parameters and the OACK's options. A value that is too
// large is lowered if its RFC allows that; an option with an invalid value is
// ignored like an unknown one. size is that of the whole file, -1 if it is not
// known.
func negotiate(req *packet, size int64, octet bool, limit limits) (params, []option) {
	p, granted := defaultParams(), []option(nil)
	for _, o := range req.options {
		n, ok := number(o.value)
		if !ok {
			continue
		}
		switch strings.ToLower(o.name) {
		case optBlockSize:
			if n < minBlock {
				continue
			}
			p.blockSize = int(min(n, int64(limit.block)))
			n = int64(p.blockSize)
		case optTimeout:
			if n < 1 || n > maxTimeout {
				continue
			}
			p.timeout = time.Duration(n) * time.Second
		case optSize:
			if size < 0 {
				continue
			}
			p.size, n = size, size
		case optWindowSize:
			if n < 1 {
				continue
			}
			p.window = int(min(n, int64(limit.window)))
			n = int64(p.window)
		case optOffset:
			if !octet || size < 0 || n > size {
				continue
			}
			p.offset = n
		default:
			continue
		}
		granted = append(granted, formatOption(strings.ToLower(o.name), n))
	}
	boundWindow(&p, granted)
	// slide has a meaning only together with a smaller window.
	text, _ := req.option(optSlide)
	if n, ok := number(text); ok && octet && p.window > 1 {
		n = min(n, int64(limit.slide), int64(maxWindowBytes/p.blockSize))
		if n > int64(p.window) {
			p.slide = int(n)
			lowerWindow(&p, granted, slideWindow)
			granted = append(granted, formatOption(optSlide, n))
		}
	}
	return p, granted
}

// boundWindow lowers the window of large blocks to maxWindowBytes.
func boundWindow(p *params, granted []option) {
	lowerWindow(p, granted, max(1, maxWindowBytes/p.blockSize))
}

// lowerWindow grants a window of at most that many blocks.
func lowerWindow(p *params, granted []option, most int) {
	if p.window <= most {
		return
	}
	p.window = most
	for i := range granted {
		if granted[i].name == optWindowSize {
			granted[i] = formatOption(optWindowSize, int64(most))
		}
	}
}

// accept is the client's part: it reads an OACK to the request req. A server
// may grant less than was asked, never more. What it says beside that changes
// nothing for the client, so it is passed over.
func accept(req, oack *packet) (params, error) {
	p := defaultParams()
	for _, o := range oack.options {
		asked, ok := req.option(o.name)
		want, _ := number(asked)
		n, isNumber := number(o.value)
		switch name := strings.ToLower(o.name); {
		case name == optSize:
			if ok && isNumber {
				p.size = n
			}
		case name == optTimeout:
			if ok && isNumber && n == want {
				p.timeout = time.Duration(n) * time.Second
			}
		case name != optBlockSize && name != optWindowSize && name != optSlide && name != optOffset:
		case !ok:
			return p, fmt.Errorf("%w: option %q was not asked for", errProtocol, o.name)
		case !isNumber:
			return p, fmt.Errorf("%w: option %q has the value %q", errProtocol, o.name, o.value)
		case name == optBlockSize && n >= minBlock && n <= want:
			p.blockSize = int(n)
		case name == optWindowSize && n >= 1 && n <= want:
			p.window = int(n)
		case name == optSlide && n <= want:
			p.slide = int(n)
		case name == optOffset && n == want:
			p.offset = n
		default:
			return p, fmt.Errorf("%w: option %q was granted as %d where %s was asked", errProtocol, name, n, asked)
		}
	}
	if p.slide != 0 && p.slide <= p.window {
		return p, fmt.Errorf("%w: slide %d beside a window of %d", errProtocol, p.slide, p.window)
	}
	if p.size >= 0 && p.offset > p.size {
		p.size = -1 // it cannot be: the body tells
	}
	return p, nil
}

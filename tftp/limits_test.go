package tftp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestRanges: every value that a client or a server cannot work with is
// refused, and the least and the most are not.
func TestRanges(t *testing.T) {
	for _, good := range []Client{{}, {BlockSize: minBlock, WindowSize: maxWindow, Slide: maxWindow}, {Slide: -1},
		{BlockSize: maxBlock, WindowSize: 1}, {BlockSize: 1024, WindowSize: maxWindow}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Client{{Timeout: -1}, {Retries: -1}, {Idle: -1}, {MaxSize: -1}, {BlockSize: minBlock - 1},
		{BlockSize: maxBlock + 1}, {BlockSize: -512}, {WindowSize: -1}, {BlockSize: minBlock, WindowSize: maxWindow + 1},
		{Slide: maxWindow + 1}, {BlockSize: 1025, WindowSize: maxWindow}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
		if _, err := bad.Get(context.Background(), "127.0.0.1:1", "f", 0); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%+v asked: %v", bad, err)
		}
	}
	files := Dir(nil)
	for _, good := range []*Server{{Files: files}, {Files: files, MaxBlockSize: maxBlock, MaxSlide: -1},
		{Files: files, MaxBlockSize: 512, MaxWindow: maxWindow, MaxSlide: maxWindow}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good.limits(), err)
		}
	}
	for n, bad := range []*Server{{}, {Files: files, MaxBlockSize: 511}, {Files: files, MaxBlockSize: maxBlock + 1},
		{Files: files, MaxWindow: -1}, {Files: files, MaxWindow: maxWindow + 1}, {Files: files, MaxSlide: maxWindow + 1},
		{Files: files, MaxTransfers: -1}, {Files: files, Timeout: -1}, {Files: files, Retries: -1}, {Files: files, Idle: -1},
		{Files: files, Rate: -1}} {
		if bad.Validate() == nil {
			t.Errorf("server %d is valid", n)
		}
		if bad.Serve(context.Background(), nil) == nil {
			t.Errorf("server %d served", n)
		}
	}
	for _, server := range []string{"127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:tftp"} {
		if _, err := (&Client{}).Get(context.Background(), server, "f", 0); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", server, err)
		}
	}
	if _, err := (&Client{}).Get(context.Background(), "127.0.0.1:1", "f", -1); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("offset -1: %v", err)
	}
}

// TestAccept: a server grants no more than was asked, and nothing that
// contradicts itself.
func TestAccept(t *testing.T) {
	asked := packet{options: []option{{"blksize", "1428"}, {"windowsize", "16"}, {"slide", "100"}, {"timeout", "3"},
		{"tsize", "0"}, {"offset", "50"}}}
	for _, x := range []struct {
		granted []option
		ok      bool
	}{
		{nil, true},
		{[]option{{"blksize", "8"}, {"windowsize", "1"}, {"slide", "2"}, {"timeout", "3"}}, true},
		{[]option{{"tsize", "50"}, {"offset", "50"}}, true},
		{[]option{{"BLKSIZE", "1428"}, {"windowsize", "16"}, {"slide", "100"}}, true},
		{[]option{{"blksize", "7"}}, false}, {[]option{{"blksize", "1429"}}, false},
		{[]option{{"windowsize", "0"}}, false}, {[]option{{"windowsize", "17"}}, false},
		{[]option{{"windowsize", "4"}, {"slide", "101"}}, false}, {[]option{{"windowsize", "4"}, {"slide", "4"}}, false},
		{[]option{{"slide", "1"}}, false}, {[]option{{"offset", "49"}}, false}, {[]option{{"windowsize", "x"}}, false},
		// What makes no difference to the client is passed over.
		{[]option{{"offset", "50"}, {"tsize", "49"}}, true}, {[]option{{"tsize", "-1"}}, true},
		{[]option{{"timeout", "4"}}, true}, {[]option{{"other", "1"}}, true}, {[]option{{"utimeout", ""}}, true},
	} {
		p, err := accept(&asked, &packet{options: x.granted})
		if (err == nil) != x.ok || err != nil && !errors.Is(err, errProtocol) {
			t.Errorf("%v: %+v, %v", x.granted, p, err)
		}
	}
}

// TestPacketLimits: each bound of a packet from outside.
func TestPacketLimits(t *testing.T) {
	option := func(n int) string { return strings.Repeat("o", n) + "\x00" + "1\x00" }
	request := func(tail string) []byte { return []byte("\x00\x01f\x00octet\x00" + tail) }
	many := func(n int) (s string) {
		for i := range n {
			s += fmt.Sprintf("o%d\x001\x00", i)
		}
		return s
	}
	for what, x := range map[string]struct {
		packet []byte
		ok     bool
	}{
		"the longest name":       {[]byte("\x00\x01" + strings.Repeat("n", maxName) + "\x00octet\x00"), true},
		"a longer name":          {[]byte("\x00\x01" + strings.Repeat("n", maxName+1) + "\x00octet\x00"), false},
		"the longest mode":       {[]byte("\x00\x01f\x00" + strings.Repeat("m", maxMode) + "\x00"), true},
		"a longer mode":          {[]byte("\x00\x01f\x00" + strings.Repeat("m", maxMode+1) + "\x00"), false},
		"the longest option":     {request(option(maxOptionText)), true},
		"a longer option":        {request(option(maxOptionText + 1)), false},
		"a longer value":         {request("o\x00" + strings.Repeat("1", maxOptionText+1) + "\x00"), false},
		"the most options":       {request(many(maxOptions)), true},
		"more options":           {request(many(maxOptions + 1)), false},
		"a long OACK":            {append([]byte("\x00\x06"), make([]byte, maxRequest)...), false},
		"a long request":         {request(strings.Repeat("\x00", maxRequest)), false},
		"no mode":                {[]byte("\x00\x01f\x00\x00"), false},
		"DATA without a number":  {[]byte("\x00\x03\x00"), false},
		"an ACK without one":     {[]byte("\x00\x04\x00"), false},
		"an ERROR without one":   {[]byte("\x00\x05\x00"), false},
		"an operation of nobody": {[]byte("\x00\x07\x00\x00"), false},
		"DATA without bytes":     {[]byte("\x00\x03\x00\x01"), true},
	} {
		if _, err := parse(x.packet); (err == nil) != x.ok || err != nil && !errors.Is(err, errProtocol) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

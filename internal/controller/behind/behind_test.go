package behind

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
)

// TestListen: a balancer's word counts, and that of nobody else; a balancer that says
// nothing gets no further.
func TestListen(t *testing.T) {
	for _, c := range []struct {
		balancers, says, want string
	}{
		{"127.0.0.1/32", "PROXY TCP4 10.1.2.3 10.0.0.1 4711 443\r\n", "10.1.2.3:4711 hello"},
		{"127.0.0.1/32", "", ""},
		{"127.9.0.0/16", "PROXY TCP4 10.1.2.3 10.0.0.1 4711 443\r\n", "127.0.0.1 PROXY"},
		{"127.9.0.0/16", "", "127.0.0.1 hello"},
	} {
		plain, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln := Listen(plain, []netip.Prefix{netip.MustParsePrefix(c.balancers)})
		got := make(chan string, 1)
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				got <- err.Error()
				return
			}
			defer conn.Close()
			b := make([]byte, 5)
			if _, err := io.ReadFull(conn, b); err != nil {
				got <- ""
				return
			}
			from := conn.RemoteAddr().String()
			if at, err := netip.ParseAddrPort(from); err == nil && at.Addr().IsLoopback() {
				from = at.Addr().String()
			}
			got <- fmt.Sprintf("%s %s", from, b)
		}()
		conn, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.says+"hello hello hello"); err != nil {
			t.Fatal(err)
		}
		if is := <-got; is != c.want {
			t.Errorf("%+v: %q", c, is)
		}
		conn.Close()
		ln.Close()
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if Listen(plain, nil) != plain {
		t.Error("without balancers it is another listener")
	}
}

// TestNoAddress: a connection without an address of the Internet ends, and the server
// does not.
func TestNoAddress(t *testing.T) {
	at := filepath.Join(t.TempDir(), "s")
	plain, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	ln := Listen(plain, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	ended := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		ended <- err
	}()
	conn, err := net.Dial("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("the connection is taken")
	}
	ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the server ends with %v", err)
	}
}

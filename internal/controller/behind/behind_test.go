package behind

import (
	"fmt"
	"io"
	"net"
	"net/netip"
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

package tinyhttp

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// TestRequests: whatever is sent, it is answered, and so is the next.
func TestRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	handle := Handler(func(q Request) Response {
		if q.Path != "/" {
			return Response{Status: 404, ContentType: "text/plain"}
		}
		return Response{Status: 200, ContentType: "text/plain", Body: []byte(q.Query.Get("lang") + " " + q.AcceptLanguage)}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(t.Context(), c)
			c.Close()
		}
	}()
	for send, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                "200",
		"HEAD / HTTP/1.0\r\n\r\n":                                          "200",
		"POST / HTTP/1.1\r\n\r\n":                                          "405",
		"GET /../etc/passwd HTTP/1.1\r\n\r\n":                              "404",
		"GET /?lang=<script> HTTP/1.1\r\n\r\n":                             "200",
		"\r\n\r\n":                                                         "400",
		"GET / SIP/2.0\r\n\r\n":                                            "400",
		"GET http://[::1 HTTP/1.1\r\n\r\n":                                 "400",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", MaxRequest) + "\r\n": "400",
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(send))
		line, _ := bufio.NewReader(c).ReadString('\n')
		c.Close()
		// What is more than fits may be answered by a reset.
		if !strings.HasPrefix(line, "HTTP/1.1 "+want) && len(send) < MaxRequest {
			t.Errorf("%.40q: %q, want %s", send, line, want)
		}
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("GET /?lang=ja HTTP/1.1\r\nACCEPT-LANGUAGE: fr \r\n\r\n"))
	all, err := io.ReadAll(c)
	if head, body, _ := strings.Cut(string(all), "\r\n\r\n"); err != nil || body != "ja fr" ||
		!strings.Contains(head, "Content-Length: 5") {
		t.Errorf("%q, %v", all, err)
	}
}

// Package tinyhttp answers one HTTP request per connection, GET and HEAD only: a
// whole HTTP server would make the device's program half a megabyte larger for
// two pages.
//
// What lives here: reading a request's head within bounds, and the head of the
// answer. What must not: listening, and the content of pages.
package tinyhttp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Request asks for a page.
type Request struct {
	Path           string
	Query          url.Values
	AcceptLanguage string
}

// Response is what is answered: status 200, 400, 404 or 405, the media type
// without a charset, and the text in UTF-8.
type Response struct {
	Status      int
	ContentType string
	Body        []byte
}

// MaxRequest bounds the head of a request, in bytes.
const MaxRequest = 8 << 10

// requestTime bounds reading a request and writing its answer.
const requestTime = 5 * time.Second

// Handler answers one request on a connection with what show returns; the
// caller closes the connection.
func Handler(show func(Request) Response) func(context.Context, net.Conn) {
	return func(_ context.Context, c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(requestTime))
		method, q, ok := readRequest(bufio.NewReaderSize(c, MaxRequest))
		p := Response{400, "text/plain", []byte("bad request\n")}
		if ok {
			if p = show(q); method != "GET" && method != "HEAD" {
				p = Response{405, "text/plain", []byte("GET only\n")}
			}
		}
		head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\n"+
			"Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"+
			"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n",
			p.Status, map[int]string{200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}[p.Status],
			p.ContentType, len(p.Body))
		if _, err := c.Write([]byte(head)); err == nil && method != "HEAD" {
			_, _ = c.Write(p.Body)
		}
	}
}

// readRequest reads the head of a request. It must fit the reader's buffer.
func readRequest(r *bufio.Reader) (method string, q Request, ok bool) {
	left := MaxRequest
	line := func() (string, bool) {
		b, err := r.ReadSlice('\n')
		left -= len(b)
		return strings.TrimRight(string(b), "\r\n"), err == nil && left >= 0
	}
	first, ok := line()
	f := strings.Fields(first)
	if !ok || len(f) != 3 || !strings.HasPrefix(f[2], "HTTP/1.") {
		return "", q, false
	}
	u, err := url.ParseRequestURI(f[1])
	if err != nil {
		return "", q, false
	}
	q.Path, q.Query = u.Path, u.Query()
	for {
		h, ok := line()
		if !ok {
			return "", q, false
		}
		if h == "" {
			return f[0], q, true
		}
		if name, value, _ := strings.Cut(h, ":"); strings.EqualFold(name, "Accept-Language") {
			q.AcceptLanguage = strings.TrimSpace(value)
		}
	}
}

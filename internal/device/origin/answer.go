package origin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/peerload/peerload/load"
)

// uselessError is an answer to a request with Range that cannot be used; what
// the server has may be had without it.
type uselessError struct{ error }

func (e *uselessError) Unwrap() error { return e.error }

// answer reads a response's status and headers. An answer to a Range request of
// which nothing can be used is a uselessError, unless the server asks to be asked
// later.
func answer(r Request, resp *http.Response) (*Body, error) {
	b, err := usable(r, resp)
	if err != nil && r.ranged() && !errors.Is(err, ErrBusy) {
		return nil, &uselessError{err}
	}
	return b, err
}

func usable(r Request, resp *http.Response) (*Body, error) {
	if err := coding(r, resp.Header.Get("Content-Encoding")); err != nil {
		return nil, err
	}
	b := &Body{
		Size: load.UnknownSize, Scheme: resp.Request.URL.Scheme, content: resp.Body,
		Validator: strongValidator(resp.Header.Get("ETag")),
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNonAuthoritativeInfo:
		if resp.Header.Get("Content-Range") != "" {
			// Never the whole file by its status alone.
			return b, b.place(r, resp)
		}
		if resp.ContentLength >= 0 {
			b.Size, b.end = resp.ContentLength, resp.ContentLength
		}
		return b, nil
	case http.StatusPartialContent:
		return b, b.place(r, resp)
	case http.StatusRequestedRangeNotSatisfiable:
		return b, b.nothingLeft(r, resp)
	}
	return nil, statusError(resp)
}

// coding refuses a content coding, which was not asked for, unless a digest
// tells whether the bytes are right as they come: many servers name one after
// the file's name, and send the file.
func coding(r Request, name string) error {
	if name == "" || strings.EqualFold(name, "identity") || r.Verified {
		return nil
	}
	return fmt.Errorf("%w: the server sends the content coding %q though identity was asked for: turn it off at the "+
		"server, or give the digest (--sha256) of the bytes as they are sent", ErrAnswer, name)
}

// place puts an answer with Content-Range where it says. What begins before the
// offset is used from there on, and the whole file as that.
func (b *Body) place(r Request, resp *http.Response) error {
	text, length := resp.Header.Get("Content-Range"), resp.ContentLength
	if boundary := multipart(resp.Header.Get("Content-Type")); boundary != "" {
		head, content, err := firstPart(resp.Body, boundary)
		if err != nil {
			return err
		}
		b.content, text, length = content, head.Get("Content-Range"), -1
	}
	s, ok := contentRange(text)
	if ok && s.size < 0 {
		s.size = r.Size
	}
	switch {
	case !ok || s.first > r.Offset:
		return fmt.Errorf("the server answers Content-Range %q to bytes=%d-", text, r.Offset)
	case length >= 0 && length != s.bytes():
		return fmt.Errorf("the server answers Content-Range %q with %d bytes", text, length)
	case r.Offset > 0 && r.Size >= 0 && s.size != r.Size:
		return fmt.Errorf("the server answers Content-Range %q of a file of %d bytes", text, r.Size)
	case s.size < 0 && (r.Offset == 0 || s.first != r.Offset):
		return fmt.Errorf("the server answers Content-Range %q, which does not tell the file's size", text)
	case s.last < r.Offset:
		return fmt.Errorf("the server answers Content-Range %q, which ends before byte %d", text, r.Offset)
	case r.Validator != "" && b.Validator != "" && b.Validator != r.Validator:
		return fmt.Errorf("the server resumes %s where %s was asked", b.Validator, r.Validator)
	}
	b.Size, b.end = s.size, s.last+1
	b.partial = b.end <= r.End
	if s.first > 0 {
		b.Offset, b.skip = r.Offset, r.Offset-s.first
	}
	b.content = io.LimitReader(b.content, s.bytes())
	return nil
}

// nothingLeft reads a 416 with "bytes */SIZE": all of the file is here already.
// Otherwise the file is shorter now.
func (b *Body) nothingLeft(r Request, resp *http.Response) error {
	size, err := strconv.ParseUint(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes */"), 10, 62)
	if r.Offset == 0 || err != nil || int64(size) != r.Offset ||
		r.Validator != "" && b.Validator != "" && b.Validator != r.Validator {
		return statusError(resp)
	}
	resp.Body.Close()
	resp.Body = http.NoBody
	b.Offset, b.Size, b.end, b.content = r.Offset, int64(size), int64(size), http.NoBody
	return nil
}

// span is what Content-Range tells: the bytes from first to last of a file of
// that size, load.UnknownSize if the server does not know it.
type span struct{ first, last, size int64 }

func (s span) bytes() int64 { return s.last - s.first + 1 }

// contentRange reads "bytes FIRST-LAST/SIZE", in any case, with "=" or ":" as
// some servers have it, and with * for a size that is not known.
func contentRange(text string) (span, bool) {
	const unit = "bytes"
	text = strings.TrimSpace(text)
	if len(text) >= len(unit) && strings.EqualFold(text[:len(unit)], unit) {
		text = strings.TrimLeft(text[len(unit):], " \t=:")
	}
	part, total, _ := strings.Cut(text, "/")
	from, to, _ := strings.Cut(strings.TrimSpace(part), "-")
	first, err1 := strconv.ParseUint(from, 10, 62)
	last, err2 := strconv.ParseUint(to, 10, 62)
	s := span{int64(first), int64(last), load.UnknownSize}
	if total = strings.TrimSpace(total); total != "*" {
		size, err := strconv.ParseUint(total, 10, 62)
		if err != nil || last >= size {
			return span{}, false
		}
		s.size = int64(size)
	}
	return s, err1 == nil && err2 == nil && first <= last
}

// multipart returns the boundary of a body of parts, "" of any other.
func multipart(contentType string) string {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/byteranges" {
		return ""
	}
	return params["boundary"]
}

// Limits of what stands before the content of a part.
const (
	maxPartLine  = 4096
	maxPartLines = 64
)

// firstPart reads up to the content of the first part. One range was asked for:
// what follows is not wanted.
func firstPart(body io.Reader, boundary string) (textproto.MIMEHeader, io.Reader, error) {
	r := bufio.NewReaderSize(body, maxPartLine)
	head, begun := textproto.MIMEHeader{}, false
	for range maxPartLines {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, nil, fmt.Errorf("%w: a multipart answer without a part: %w", ErrTruncated, err)
		}
		line = bytes.TrimSpace(line)
		switch {
		case !begun:
			begun = string(line) == "--"+boundary
		case len(line) == 0:
			return head, r, nil
		default:
			name, value, _ := strings.Cut(string(line), ":")
			head.Add(name, strings.TrimSpace(value))
		}
	}
	return nil, nil, fmt.Errorf("%w: a multipart answer with more than %d lines before its content", ErrTooMuch,
		maxPartLines)
}

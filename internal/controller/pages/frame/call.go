package frame

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
)

// Call calls the API where package client has no method: operations of a session, and
// one page of a list. token is "" for the session of the visit. An error of the API is
// a *client.Error.
func (v *Visit) Call(ctx context.Context, method, path, token string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://controller/api/v1"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := v.door.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return problemOf(resp)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// problemOf reads an answer that is an error.
func problemOf(resp *http.Response) error {
	e := &client.Error{Status: resp.StatusCode}
	p := struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
		Errors any    `json:"errors"`
	}{Errors: &e.Fields}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return err
	}
	e.Kind, e.Detail = client.Kind(p.Type[strings.LastIndexByte(p.Type, ':')+1:]), p.Detail
	return e
}

// Rows are one page of a list.
type Rows[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
	Total int    `json:"total"`
	// Limit is how many rows a page has, First says that this is the first page.
	Limit int  `json:"-"`
	First bool `json:"-"`
}

// PageRows is how many rows a page of a list has.
const PageRows = 50

// Read reads a page of a list of the API; the parameter "after" of the address says
// which. 0 for limit is PageRows.
func Read[T any](v *Visit, path string, q url.Values, limit int) (rows Rows[T], err error) {
	if limit == 0 {
		limit = PageRows
	}
	if q == nil {
		q = url.Values{}
	}
	q.Set("limit", strconv.Itoa(limit))
	if after := v.Query("after"); after != "" {
		q.Set("after", after)
	}
	err = v.Call(v.Context(), http.MethodGet, path+"?"+q.Encode(), "", nil, &rows)
	rows.Limit, rows.First = limit, v.Query("after") == ""
	return rows, err
}

// All reads a list of package client whole, up to its limit.
func All[T any](v *Visit, l client.Lister[T], f client.Filter) (all []T, err error) {
	for t, err := range l.List(v.Context(), f) {
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// Int is a whole number in a form or an address; ok is false for any other text.
func Int(text string) (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// Moment is a date, or a date and a time, in UTC, as forms send them; ok is false for any
// other text.
func Moment(text string) (at time.Time, ok bool) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04"} {
		if at, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// Packed are bytes that a page has given to a browser, as they come back; ok is false
// for any other text.
func Packed(text string) (b []byte, ok bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	return b, err == nil
}

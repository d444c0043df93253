package inprocess_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/peerload/peerload/internal/controller/inprocess"
)

// TestAnswer: an answer is 200 unless it says otherwise, and says it once.
func TestAnswer(t *testing.T) {
	r := &http.Request{}
	if got := inprocess.NewAnswer(http.Header{}).Response(r); got.StatusCode != http.StatusOK || got.Request != r {
		t.Errorf("nothing written: %d", got.StatusCode)
	}
	a := inprocess.NewAnswer(http.Header{"A": {"b"}})
	_, _ = a.Write([]byte("text"))
	a.WriteHeader(http.StatusNotFound)
	got := a.Response(r)
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != "text" || got.ContentLength != 4 ||
		got.StatusCode != http.StatusOK || got.Header.Get("A") != "b" {
		t.Errorf("%d %v %q, %v", got.StatusCode, got.Header, body, err)
	}
}

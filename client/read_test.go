package client

import (
	"strings"
	"testing"
)

// TestAnswersAreBounded: an answer that has no end is not read to its end.
func TestAnswersAreBounded(t *testing.T) {
	var out []int
	text := "[" + strings.Repeat("7,", 100) + "7]"
	if err := read(strings.NewReader(text), int64(len(text)), &out); err != nil || len(out) != 101 {
		t.Errorf("an answer as long as it may be: %d things, %v", len(out), err)
	}
	err := read(strings.NewReader(text), int64(len(text))-1, &out)
	if err == nil || !strings.Contains(err.Error(), "more than 202 bytes") {
		t.Errorf("an answer that is longer: %v", err)
	}
}

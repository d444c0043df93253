package files

import (
	"net/http"
	"strconv"
	"strings"
)

// setRange makes the header Range of a request one that net/http answers as RFC
// 9110 demands: it takes the unit for a matter of case, answers an unknown one
// with 416, and sends an empty part for the last 0 bytes.
func setRange(h http.Header, size int64) {
	text := h.Get("Range")
	if text == "" {
		return
	}
	const unit = "bytes"
	name, set, ok := strings.Cut(text, "=")
	if name = strings.TrimSpace(name); !ok || !strings.EqualFold(name, unit) {
		h.Del("Range") // a unit that is not known is ignored (section 14.2)
		return
	}
	var specs []string
	nothing := false
	for spec := range strings.SplitSeq(set, ",") {
		n, suffix := strings.CutPrefix(strings.TrimSpace(spec), "-")
		if last, err := strconv.ParseUint(n, 10, 63); suffix && err == nil && last == 0 {
			nothing = true // no byte: not satisfiable (section 14.1.2)
			continue
		}
		specs = append(specs, spec)
	}
	if nothing && len(specs) == 0 {
		specs = []string{strconv.FormatInt(size, 10) + "-"} // nor is this
	}
	h.Set("Range", unit+"="+strings.Join(specs, ","))
}

// unsatisfied names the size of the file in every 416 (section 15.5.17).
func unsatisfied(h http.Header, status int, size int64) {
	if status == http.StatusRequestedRangeNotSatisfiable && h.Get("Content-Range") == "" {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
	}
}

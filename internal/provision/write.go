package provision

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// escaper escapes text for an element or an attribute.
var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// Escape escapes text for an element or a quoted attribute.
func Escape(s string) string { return escaper.Replace(s) }

// Marshal returns the file as XML, with the elements that phones read. Others
// are not written. The same file gives the same bytes, and Parse reads them
// back. Errors match ErrFile.
func (f *File) Marshal() ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	root := rootDevice
	if f.Default {
		root = rootDefault
	}
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s>\n", root)
	for _, a := range f.Loads {
		name, model := loadElement+a.Type, ""
		if a.Model != "" {
			model = ` model="` + Escape(a.Model) + `"`
		}
		fmt.Fprintf(&b, "  <%s%s>%s</%s>\n", name, model, Escape(a.Load), name)
	}
	if by, told := f.FileSets.Told(); told {
		fmt.Fprintf(&b, "  <%s>\n", setsElement)
		for _, dir := range slices.Sorted(maps.Keys(by)) {
			fmt.Fprintf(&b, "    <%s directory=\"%s\">%s</%s>\n", setElement, Escape(dir), Escape(by[dir]), setElement)
		}
		fmt.Fprintf(&b, "  </%s>\n", setsElement)
	}
	for _, s := range Written(f) {
		fmt.Fprintf(&b, "  <%s>\n", s.Element)
		for _, e := range s.Settings {
			fmt.Fprintf(&b, "    <%s>%s</%s>\n", e.Element, Escape(e.Text), e.Element)
		}
		fmt.Fprintf(&b, "  </%s>\n", s.Element)
	}
	fmt.Fprintf(&b, "</%s>\n", root)
	if b.Len() > MaxSize {
		return nil, badLine(0, "its text has %d bytes, more than %d", b.Len(), MaxSize)
	}
	return b.Bytes(), nil
}
